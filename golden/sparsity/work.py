"""What the matrix products of one frame still do under a sparsity mechanism; no torch, no cycles.

Multiplications, weight bytes and state bytes are three separate axes: a weight row that one token
of the frame needs is read, however many others skip it. What no token needs is known only when the
operand has been computed; hardware that loads a layer's weights ahead of that reads it all the
same, so it is counted by itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from deltamoe.golden.sparsity.names import Product


@dataclass(frozen=True, kw_only=True)
class Work:
    """One matrix product (R, K) x (K, N) of one frame.

    Attributes
    ----------
    rows, depth, columns : int
        R, K and N of the product with the mechanism; a dropped token is no row.
    events : ndarray, optional
        (R, K) bool: elements of the operand that are multiplied. All if left out.
    computed : ndarray, optional
        (R, N) bool: results that are computed; the others are known to be unused or zero. All if
        left out.
    weight_density : float
        Share of the weights that are no static zero, in 0..1.
    weight_bytes, index_bytes : int
        Bytes of the weights that some row needs, and of their indices.
    unused_bytes : int
        Bytes of the other weights that are stored: no row of this frame needs them.
    state_read_bytes, state_written_bytes : int
        Bytes read and written for what is remembered from one frame to the next.
    predictor_macs, predictor_bytes : int
        Multiplications and weight bytes of what decides, which run densely.

    Raises
    ------
    ValueError
        A mask has another shape, or a number is negative or above its maximum.
    """

    rows: int
    depth: int
    columns: int
    events: np.ndarray | None = None
    computed: np.ndarray | None = None
    weight_density: float = 1.0
    weight_bytes: int
    unused_bytes: int = 0
    index_bytes: int = 0
    state_read_bytes: int = 0
    state_written_bytes: int = 0
    predictor_macs: int = 0
    predictor_bytes: int = 0

    def __post_init__(self) -> None:
        for name, shape in (("events", (self.rows, self.depth)),
                            ("computed", (self.rows, self.columns))):
            mask = getattr(self, name)
            if mask is not None and (mask.shape != shape or mask.dtype != bool):
                raise ValueError(f"{name} is {mask.dtype} {mask.shape}, not bool {shape}")
        if not 0 <= self.weight_density <= 1:
            raise ValueError(f"weight_density={self.weight_density} is not in 0..1")
        for name in ("rows", "depth", "columns", "weight_bytes", "unused_bytes", "index_bytes",
                     "state_read_bytes", "state_written_bytes", "predictor_macs",
                     "predictor_bytes"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} is negative")

    @property
    def loaded_bytes(self) -> int:
        """Bytes of weights that hardware reads which loads them before the operand is known."""
        return self.weight_bytes + self.unused_bytes

    @property
    def state_bytes(self) -> int:
        """Bytes read and written for what is remembered."""
        return self.state_read_bytes + self.state_written_bytes

    @property
    def macs(self) -> int:
        """Multiplications, those of the predictor not counted."""
        row_events = (np.full(self.rows, self.depth) if self.events is None else self.events.sum(1))
        row_columns = (np.full(self.rows, self.columns) if self.computed is None
                       else self.computed.sum(1))
        products = int(row_events.astype(np.int64) @ row_columns.astype(np.int64))
        return round(products * self.weight_density)


@dataclass(frozen=True)
class Frame:
    """All matrix products of one frame under a mechanism.

    Attributes
    ----------
    works : Mapping of Product to Work
        By product, of the networks of :mod:`deltamoe.golden.model` as
        :class:`deltamoe.golden.integer.Trace` has them. A product that does not run at all is left
        out. The attention's products
        have one row for each head and token, head by head.
    routed : Mapping of int to ndarray
        By layer with experts the tokens of each expert (E,).
    existing : Mapping of int to ndarray
        By layer with experts which of them exist (E,) bool, where that is known before the frame
        and they are not all; the others have no tokens and their weights are never loaded.
    sqnr_db : float, optional
        Of the network's output with the mechanism against the output without, where it was run;
        infinite if they are equal.
    predicted : int, optional
        Class with the highest score, where it was run and the network has classes.
    """

    works: Mapping[Product, Work]
    routed: Mapping[int, np.ndarray] = field(default_factory=lambda: MappingProxyType({}))
    existing: Mapping[int, np.ndarray] = field(default_factory=lambda: MappingProxyType({}))
    sqnr_db: float | None = None
    predicted: int | None = None

    @property
    def macs(self) -> int:
        """Multiplications of all products, predictors included."""
        return sum(work.macs + work.predictor_macs for work in self.works.values())

    @property
    def loaded_bytes(self) -> int:
        """Bytes of weights that hardware reads which loads them before operands are known."""
        return sum(work.loaded_bytes for work in self.works.values())

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights, indices and predictors."""
        return sum(work.weight_bytes + work.index_bytes + work.predictor_bytes
                   for work in self.works.values())
