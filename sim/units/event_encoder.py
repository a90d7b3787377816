"""The event encoder: which elements of a word are sent."""

import numpy as np

from deltamoe.rtl.program import Linear, Mode


def word_events(operand: np.ndarray | None, rows: int, depth: int, word: int, parts: int,
                skipped: float | None, together: int = 1) -> list[tuple[tuple[int, ...], ...]]:
    """Events of every part of every read of ``together`` words, of every row.

    Elements of ``operand`` that are ``skipped`` are not sent; all are if none is.
    """
    reads = -(-depth // (together * word))
    if skipped is None:
        sent = np.ones((1, depth), bool)
    elif operand is None:
        raise ValueError("skipping needs the operands of a golden run")
    else:
        sent = operand.reshape(-1, depth) != skipped
    padded, inner = np.pad(sent, ((0, 0), (0, reads * together * word - depth))), parts // together
    counted = padded.reshape(len(sent), reads, together, inner, word // inner).sum(-1)
    counted = counted.transpose(0, 3, 2, 1).reshape(len(sent), parts, reads)
    runs = [tuple(map(tuple, row)) for row in counted.tolist()]
    same = [(row[0],) if len(set(row)) == 1 else row for row in runs]
    return same * rows if len(same) == 1 else same


def steady_events(events: tuple[tuple[int, ...], ...]) -> int:
    """Return the events of a part if all parts have equally many and no word has none."""
    return sum(events[0]) if len(events) == 1 and all(events[0]) else 0


def skipped_of(layer: Linear) -> int | None:
    """Return which elements of an operand are not sent; of a delta layer, which are not marked."""
    if layer.mode == Mode.ZERO_SKIP:
        return layer.zero_point
    return 0 if layer.mode == Mode.DELTA and not layer.fresh else None
