"""Which operands are sent to the multipliers, and as which difference."""

from torch import Tensor

MODES = ("dense", "zero_skip", "delta")


def encode(
    row: Tensor, mode: str, *, zero_point: int = 0, reference: Tensor | None = None, theta: int = 0
) -> list[tuple[int, int]]:
    """Events ``(index, delta)`` of one row of operands, in index order.

    ``dense`` sends every element with ``delta = row``. ``zero_skip`` sends
    ``delta = row - zero_point`` where it is not 0. ``delta`` sends ``row - reference`` where its
    magnitude exceeds ``theta``; see :func:`advance` for the next reference.

    Parameters
    ----------
    row : Tensor
        (K,) integers, int8 or uint8 codes.
    mode : str
        ``dense``, ``zero_skip`` or ``delta``.
    zero_point : int
        Code of zero, for ``zero_skip``.
    reference : Tensor, optional
        (K,) codes sent so far, for ``delta``.
    theta : int
        Largest difference that ``delta`` leaves out.

    Raises
    ------
    ValueError
        Unknown mode, or ``delta`` without a reference.
    """
    if mode not in MODES:
        raise ValueError(f"mode={mode!r} is not one of {', '.join(MODES)}")
    if mode == "dense":
        return list(enumerate(row.tolist()))
    if mode == "zero_skip":
        return [(k, value - zero_point) for k, value in enumerate(row.tolist())
                if value != zero_point]
    if reference is None:
        raise ValueError("mode='delta' needs a reference row")
    differences = (row - reference).tolist()
    return [(k, delta) for k, delta in enumerate(differences) if abs(delta) > theta]


def advance(reference: Tensor, events: list[tuple[int, int]]) -> Tensor:
    """Reference after ``events``: what the accumulators hold, so errors never add up."""
    updated = reference.clone()
    for k, delta in events:
        updated[k] += delta
    return updated
