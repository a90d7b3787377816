"""Networks that are not of this family: their matrix products, one behind the other."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from deltamoe.experiments.points.values import PolicySpec
from deltamoe.golden.operators import Part
from deltamoe.golden.sparsity.names import Product
from deltamoe.golden.sparsity.record import Moment
from deltamoe.golden.sparsity.trace_file import load
from deltamoe.golden.sparsity.work import Frame
from deltamoe.rtl.compiler.assembler import Program
from deltamoe.rtl.compiler.linker import link
from deltamoe.rtl.compiler.matrices import Matrices
from deltamoe.rtl.compiler.placement import pieces_of
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.program import Dest, Linear, Load, Mode, Source, Store, Target
from deltamoe.sim.machine import simulate
from deltamoe.sim.memory import MemoryModel
from deltamoe.sim.report.spans import Result
from deltamoe.sim.work import Weights, worked

ASSUMED = (
    "A network given as a trace is its matrix products in the order in which they ran; what is "
    "between them costs nothing, nor does what the trace does not see. Operands and results have "
    "room on the chip, a product begins when the one before is complete, and weights are loaded "
    "ahead as far as they have room. An attention is two products, with keys and then with values, "
    "of all heads' queries one after the other; keys and values are on the chip, but where there "
    "are more than queries, the first ones are read, once for the heads that share them."
)


class Foreign:
    """The network of a trace, whose products are all that is known of it.

    Raises
    ------
    ValueError
        There is no such trace, or it is of a network of this family.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.frames = path, {}
        self.record = load(path)
        if self.record.config is not None:
            raise ValueError(f"{path}: the trace is of {self.record.config.name}; it is an input "
                             "of that model")
        self.first = max(0, min(1, len(self.record.frames) - 1))

    @property
    def known(self) -> str:
        """What is known of the data."""
        return "; ".join(filter(None, (f"trace {self.path}", self.record.seen)))

    def shapes(self, frame: Frame, moment: Moment,
               ) -> dict[Product, tuple[int, int, int]]:
        """Return rows, depth and columns of the products of a frame, as they are without a policy.

        Of an attention they are those of all heads.
        """
        shapes = {}
        for product, work in frame.works.items():
            if product in self.record.weights:
                columns, depth = self.record.weights[product].shape
                shapes[product] = work.rows, depth, columns
                continue
            keys = moment.keys[product.owner].shape
            shapes[product] = (work.rows, keys[2], keys[1]) if product.part == Part.SCORES else (
                work.rows, keys[1], self.record.widths.get(product, keys[2]))
        return shapes

    def left(self, policy: PolicySpec) -> list[Frame]:
        """Return the work that a policy leaves of each frame that counts."""
        if policy.label not in self.frames:
            self.frames[policy.label] = list(policy.mechanism.frames(
                self.record, **policy.parameters))
        return self.frames[policy.label][self.first:]

    def run(self, policy: PolicySpec, hw: HwConfig, memory: MemoryModel, sparse: set[Product],
            ) -> list[Result]:
        """Simulate the work of each frame; ``sparse`` products are placed for few events."""
        results = []
        for frame, moment in zip(self.left(policy), self.record.frames[self.first:], strict=True):
            shapes = self.shapes(frame, moment)
            weights = {product: Weights(columns, depth * columns)
                       for product, (_, depth, columns) in shapes.items()}
            program = chained(hw, shapes, sparse)
            results.append(simulate(*worked(program, [frame], weights), memory))
        return results


def chained(hw: HwConfig, products: Mapping[Product, tuple[int, int, int]],
            sparse: set[Product]) -> Program:
    """Return a program of ``products``, of each the rows, depth and columns.

    It tells the simulator what is done in which order. Its addresses mean nothing, so it cannot
    run.
    """
    c = Matrices(hw)
    rows, depth, columns = next(iter(products.values()))
    image = -(-rows * depth // hw.bus_bytes)
    c.load("image", Load(target=Target.IMAGE, beats=image), np.zeros(0, np.uint8))
    for product, (rows, depth, columns) in products.items():
        before = c.computes
        mode = Mode.ZERO_SKIP if product in sparse else Mode.DENSE
        for piece in pieces_of(depth, columns, hw):
            c.linear(product, Linear(rows=rows, mode=mode, source=Source.ACT, dest=Dest.ACT,
                                     operand_signed=True, wait_computes=before),
                     np.broadcast_to(np.int8(0), (len(piece), depth)),
                     biases=np.zeros(len(piece), np.int64),
                     multipliers=np.full(len(piece), 1 << 14))
    beats = -(-rows * columns // hw.word)
    c.compute("store", Store(target=Target.RESIDUAL, beats=beats))
    c.halt()
    return link("trace", c, 1, image, beats)
