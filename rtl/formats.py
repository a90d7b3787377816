"""Payload layouts that cross unit boundaries."""

from amaranth import ShapeLike, signed, unsigned
from amaranth.lib import data


def beat(element: ShapeLike, lanes: int) -> data.StructLayout:
    """One transfer of a row: ``lanes`` elements, ``last`` set on the row's final transfer."""
    return data.StructLayout({"data": data.ArrayLayout(element, lanes), "last": 1})


def scores(lanes: int) -> data.StructLayout:
    """One transfer of a row of logits: the first ``count`` of ``lanes`` elements are valid."""
    return data.StructLayout({
        "data": data.ArrayLayout(signed(16), lanes),
        "count": range(lanes + 1),
        "last": 1,
    })


def tokens(lanes: int) -> data.StructLayout:
    """One transfer of a token's row into the corner turn; ``flush`` marks the final token."""
    return data.StructLayout({
        "data": data.ArrayLayout(signed(8), lanes), "last": 1, "flush": 1,
    })


PARAMETER = data.StructLayout({"bias": signed(32), "multiplier": unsigned(16), "spare": 16})
"""Eight bytes per output channel: bias and requantization multiplier, or LayerNorm's bias and
gain (which is signed)."""

NORMALIZER = data.StructLayout({"multiplier": unsigned(16), "shift": 2})
"""Reciprocal of a row's sum of exponentials; the shift is ``14 + 4 * shift``."""

ROUTE = data.StructLayout({"expert": 8, "weight": unsigned(16), "last": 1})
"""One of a token's ``top_k`` experts and its weight in units of 2**-16."""
