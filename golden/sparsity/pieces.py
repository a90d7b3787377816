"""The matrices that a product with a parameter of several consists of."""

from collections.abc import Iterator

from torch import Tensor

from deltamoe.golden.sparsity.names import Named
from deltamoe.golden.sparsity.origins import Origin

Piece = tuple[Named, Tensor, Tensor, Tensor]


def pieces(origin: Origin, x: Tensor, weight: Tensor, outcome: Tensor) -> Iterator[Piece]:
    """Return the product, rows (R, K), weights (N, K) and results (R, N) of each matrix.

    Parameters
    ----------
    origin : Origin
        The parameter, and which of its slices each weight (B, K, N) is of.
    x, weight, outcome : Tensor
        Operands (B, M, K) and (B, K, N), and their products (B, M, N).
    """
    slices = origin.slices
    if slices is None and (len(x) == 1 or not weight.stride(0)):
        yield origin.product, x.flatten(0, 1), weight[0].mT, outcome.flatten(0, 1)
        return
    for index, (rows, columns, results) in enumerate(zip(x, weight, outcome, strict=True)):
        if slices is None:
            yield origin.product.numbered(index), rows, columns.mT, results
            continue
        for number in slices[index].unique().tolist():
            mine = slices[index] == number
            depth, width = mine.any(1), mine.any(0)
            if not origin.experts and len(mine.unique()) > 1:
                yield origin.product, rows, columns.mT, results
                break
            yield (origin.of_slice(number), rows[:, depth], columns[depth][:, width].mT,
                   results[:, width])
