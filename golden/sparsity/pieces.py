"""The matrices that a product with a parameter of several consists of."""

from collections.abc import Iterator

from torch import Tensor

from deltamoe.golden.sparsity.origins import Origin

Piece = tuple[str, Tensor, Tensor, Tensor]


def pieces(origin: Origin, x: Tensor, weight: Tensor, made: Tensor) -> Iterator[Piece]:
    """Return the name, rows (R, K), weights (N, K) and results (R, N) of each matrix.

    Parameters
    ----------
    origin : Origin
        The parameter, and which of its slices each weight (B, K, N) is of.
    x, weight, made : Tensor
        Operands (B, M, K) and (B, K, N), and their products (B, M, N).
    """
    slices = origin.slices
    if slices is None and (len(x) == 1 or not weight.stride(0)):
        yield origin.name, x.flatten(0, 1), weight[0].mT, made.flatten(0, 1)
        return
    for index, (rows, columns, results) in enumerate(zip(x, weight, made, strict=True)):
        if slices is None:
            yield f"{origin.name}.{index}", rows, columns.mT, results
            continue
        for number in slices[index].unique().tolist():
            mine = slices[index] == number
            depth, width = mine.any(1), mine.any(0)
            name = origin.of_slice(number)
            if not origin.experts and len(mine.unique()) > 1:
                yield origin.name, rows, columns.mT, results
                break
            yield (name, rows[:, depth], columns[depth][:, width].mT, results[:, width])
