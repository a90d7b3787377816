"""Traces of other networks: what any PyTorch module multiplies, for studies to simulate."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.text import Text

from deltamoe.api.result import Result
from deltamoe.terminal import Table

if TYPE_CHECKING:
    from deltamoe.golden.sparsity.names import Product
    from deltamoe.golden.sparsity.record import Record


@dataclass(frozen=True)
class Trace(Result):
    """Products that a network made of some frames.

    Attributes
    ----------
    record : deltamoe.golden.sparsity.record.Record
        Operands (R, K) as int8 codes of each frame, and real weights (N, K), by product.
    """

    record: "Record"

    def figures(self) -> dict:
        record = self.record
        return {"frames": len(record.frames), "macs": record.macs, "unseen": dict(record.unseen),
                "unrecognized": record.unrecognized,
                "products": list(map(self.product, record.products))}

    def product(self, product: "Product") -> dict:
        """Return rows of all frames, depth and columns of a product, and its share of non-zeros.

        Columns are None for a product of two activations, which has no weights.
        """
        rows, weights = self.record.values(product), self.record.weights.get(product)
        return {"name": str(product), "rows": len(rows), "depth": rows.shape[-1],
                "columns": None if weights is None else len(weights),
                "density": float((rows != 0).double().mean())}

    def table(self) -> Group:
        table = Table("product", "rows", "depth", "columns", "density")
        for row in self.figures()["products"]:
            columns = "" if row["columns"] is None else f"{row['columns']:,}"
            table.add_row(row["name"], f"{row['rows']:,}", f"{row['depth']:,}", columns,
                          f"{row['density']:.1%}")
        return Group(table, Text(self.record.seen))

    def save(self, path: str | Path) -> None:
        """Write the trace, whole or not at all; a study's ``models`` take ``{trace: PATH}``."""
        from deltamoe.golden.sparsity.trace_file import save

        save(self.record, Path(path))


def trace(model: Any, inputs: Any, routers: Mapping[str, int] | None = None) -> Trace:
    """Run a PyTorch module and record what it multiplies.

    Parameters
    ----------
    model : torch.nn.Module
        Runs in evaluation mode without gradients, and is left as it was.
    inputs : Tensor, mapping or iterable
        One frame that is a tensor or a dictionary of arguments, or frames in a list: each a tensor,
        a tuple of arguments or a dictionary of them.
    routers : mapping of str to int, optional
        By name the layers that choose experts, and how many of them a token gets.

    Raises
    ------
    ValueError
        An argument is of another kind, there is nothing to record, a router is none of the
        products, or an operand holds NaN or infinity; as
        :func:`deltamoe.golden.sparsity.hooks.trace` says.
    """
    from deltamoe.golden.sparsity.hooks import trace as recorded

    return Trace(recorded(model, inputs, routers))
