"""Payload layouts that cross unit boundaries."""

from amaranth import ShapeLike, signed, unsigned
from amaranth.lib import data

from deltamoe.golden.numerics import ACTIVATION, EXPERT, HIDDEN, SCORE, UPDATE, WEIGHT
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.cycles import PARAMETER_BYTES
from deltamoe.rtl.descriptor import DESCRIPTOR, Dest, Source, Target

RESULTS = (ACTIVATION, HIDDEN, SCORE, EXPERT, UPDATE, WEIGHT)
"""What a requantized element saturates to, each by its code in hardware."""


def if_kept(hw: HwConfig, members: dict[str, ShapeLike]) -> dict[str, ShapeLike]:
    """Return members about what is kept from frame to frame: of no bits where nothing is."""
    return members if hw.temporal else dict.fromkeys(members, 0)


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

assert PARAMETER.size == 8 * PARAMETER_BYTES

NORMALIZER = data.StructLayout({"multiplier": unsigned(16), "shift": 2})
"""Reciprocal of a row's sum of exponentials; the shift is that of
:data:`deltamoe.golden.numerics.SHIFTS` at ``shift``."""

def route(hw: HwConfig) -> data.StructLayout:
    """One of a token's ``top_k`` experts and its weight in units of 2**-16.

    What is kept of it is in this ``slot`` of the token's, and ``known`` if it was kept before.
    """
    return data.StructLayout({"expert": 8, "weight": unsigned(16), "last": 1,
                              **if_kept(hw, {"slot": 4, "known": 1})})


COMMAND = data.StructLayout({"address": 40, "beats": 24})
"""A transfer between memory and the chip: byte address, data beats."""

STORING = data.StructLayout({
    "target": Target, "base": 16, "address": 32, "beats": 24, "position": 16})
"""A ``STORE``: the memory and its first word, byte address, beats, place in the program."""

TRANSFER = data.StructLayout({
    "descriptor": DESCRIPTOR, "position": 16, "program": 1, "skip": 1, "into": len(Target)})
"""A load on its way to the loader: skipped, or of the program itself. ``into`` has the bit of its
:class:`Target`, so that the loader need not decode one in the cycle of a beat; none of the
program's."""


def place(hw: HwConfig) -> dict:
    """Which groups work together: from ``leader`` on a ``span`` of gangs, one for each part."""
    return {"leader": range(hw.groups), "span": 4, "gang": 4, "split": 3}


def kept(hw: HwConfig) -> dict[str, ShapeLike]:
    """Where a sum is kept from frame to frame; whether it is added to, and kept, again."""
    return if_kept(hw, {"state": range(hw.state_words), "accumulates": 1, "stores": 1})


def traced(hw: HwConfig) -> dict[str, ShapeLike]:
    """How an operand is compared with its reference.

    ``tracks``: with the word at ``reference_address``, which ``updates`` moves by what is sent:
    differences above ``theta``. ``silent`` sends nothing; ``probe`` tells only whether anything
    would be sent.
    """
    return if_kept(hw, {
        "reference_address": range(hw.reference_words), "tracks": 1, "updates": 1, "theta": 8,
        "silent": 1, "probe": 1})


def wide(hw: HwConfig) -> dict:
    """Whether ``read_words`` words are read, encoded and sent together."""
    return {"wide": 1} if hw.read_words > 1 else {}


def extra(hw: HwConfig) -> dict:
    """Whether the score of the last key is made of the item's operands, beside the groups."""
    return {"extra": 1} if hw.last_key else {}


def words_beside(hw: HwConfig) -> data.ArrayLayout:
    """The other words of those that are read together."""
    return data.ArrayLayout(data.ArrayLayout(8, hw.word), hw.read_words - 1)


def drained(hw: HwConfig) -> data.StructLayout:
    """What the drain must know of one item: where its columns come from and where they go.

    ``words`` column words of the gang; the last holds ``count`` valid elements. ``op`` numbers the
    operator. ``param`` is the first parameter word, advanced only if ``advance``; ``normalize``
    takes the multiplier of row slot ``slot`` instead. ``first`` and ``last`` delimit a row,
    ``flush`` marks the operator's last row, ``final`` its last item.
    """
    return data.StructLayout({
        **place(hw), **kept(hw), "op": 3, "words": range(hw.item_words + 1),
        "count": range(hw.word + 1), "dest": Dest, "address": range(hw.dest_words),
        "param": range(hw.param_words), "advance": 1, "normalize": 1,
        "slot": range(hw.attention_lag + 1), "weight": 16, "shift": 2, "bank": 1,
        "first": 1, "last": 1, "flush": 1, "final": 1,
    })


def item(hw: HwConfig) -> data.StructLayout:
    """One unit of work: a row of operands against one pass of columns.

    ``need`` rows of the normalization, the softmax or the operator before must be complete
    before it may start. Its span begins at one of the groups in the mask ``leads``, which are
    ``few``: one or two.
    """
    return data.StructLayout({
        "source": Source, "address": range(hw.operand_words), "words": range(hw.depth_words + 1),
        "tail": range(hw.word + 1), "operand_signed": 1, "reference": signed(9), "dense": 1,
        "row": hw.row_bits, "kv": 1, "norm": 1, "need": range(hw.score_rows + 1),
        "columns": range(hw.mac_units + 1 + hw.last_key), "leads": hw.groups, "few": 1,
        **traced(hw), **wide(hw), **extra(hw), "drained": drained(hw),
    })


def operands(hw: HwConfig) -> data.StructLayout:
    """A word of operands, on the way into the event encoder.

    ``complement`` is that of its reference. With ``wide``, ``beside[upper]`` are the words that
    follow, signed if it is, of the same reference.
    """
    beside = {"operand_signed": 1, "upper": 1,
              "beside": data.ArrayLayout(words_beside(hw), 2)} if hw.read_words > 1 else {}
    return data.StructLayout({
        **place(hw), **traced(hw), **wide(hw), **extra(hw), **beside, "dense": 1,
        "operand": data.ArrayLayout(signed(9), hw.word),
        "complement": data.ArrayLayout(signed(9), hw.word),
        "count": range(hw.word + 1), "row": hw.row_bits, "kv": 1, "last": 1,
        "columns": range(hw.mac_units + 1 + hw.last_key),
    })


def event_word(hw: HwConfig) -> data.StructLayout:
    """The events of one word: element ``n`` is sent if bit ``n`` of ``mask`` is set.

    ``row`` is the weight row of element 0; ``kv`` selects the keys and values. On the way to a
    group, ``empty`` tells that there is no event for it.
    """
    return data.StructLayout({
        "delta": data.ArrayLayout(signed(9), hw.word), "mask": hw.word,
        "row": hw.row_bits, "kv": 1, "last": 1, "empty": 1,
    })


def destination(hw: HwConfig) -> data.StructLayout:
    """Which groups get the events of a word, and whether those of words that came together."""
    return data.StructLayout({**place(hw), **wide(hw)})


def broadcast(hw: HwConfig) -> data.StructLayout:
    """The events of one word on the way to the groups of its item.

    Those in ``beside`` are of the words that were read with it if ``wide``, else the same ones.
    """
    beside = {"beside": data.ArrayLayout(data.StructLayout({
        "delta": data.ArrayLayout(signed(9), hw.word), "mask": hw.word}),
        hw.read_words - 1)} if hw.read_words > 1 else {}
    return data.StructLayout({"word": event_word(hw), **beside, **wide(hw)})


def queued(hw: HwConfig) -> data.StructLayout:
    """An entry of an expert's queue.

    ``place`` is the token's slot behind all of the tokens before, ``known`` whether what is kept
    there is of this expert.
    """
    return data.StructLayout({"token": range(hw.queue_depth), "weight": 16, **if_kept(hw, {
        "place": range(hw.queue_depth * hw.max_top_k), "known": 1})})


def probed(hw: HwConfig) -> data.StructLayout:
    """Whether a token has ``changed``; with ``routes`` it goes to a queue of expert 0 as well."""
    return data.StructLayout({"row": range(hw.max_tokens), "changed": 1, "routes": 1})


def event(hw: HwConfig) -> data.StructLayout:
    """One multiplication for every lane of a group.

    A run of events is summed in the multipliers, from ``begin`` to ``flush``, then added to the
    accumulators of ``bank``, or written there if ``fresh``.
    """
    return data.StructLayout({
        "delta": signed(9), "row": hw.row_bits, "kv": 1, "begin": 1, "flush": 1, "fresh": 1,
        "last": 1, "bank": range(hw.banks),
    })


def run(hw: HwConfig) -> data.StructLayout:
    """Sums of a run of events, of half a group, and the run's last event."""
    return data.StructLayout({
        "sums": data.ArrayLayout(signed(20), hw.word), "event": event(hw)})


def tag(hw: HwConfig) -> data.StructLayout:
    """What travels beside a word from the drain to its destination."""
    return data.StructLayout({
        "dest": Dest, "address": range(hw.dest_words), "weight": 16, "count": range(hw.word + 1),
        "bank": 1, "first": 1, "last": 1, "flush": 1, "final": 1,
    })


def scaled(hw: HwConfig) -> data.StructLayout:
    """A word of accumulators with its bias and the fixed point it is scaled by."""
    return data.StructLayout({
        "acc": data.ArrayLayout(signed(hw.acc_width), hw.word),
        "bias": data.ArrayLayout(signed(32), hw.word),
        "multiplier": data.ArrayLayout(unsigned(16), hw.word),
        "shift": 2, "width": range(len(RESULTS)), "tag": tag(hw),
    })


def requantized(hw: HwConfig) -> data.StructLayout:
    """A word of requantized elements, sign-extended to the widest result."""
    return data.StructLayout({
        "data": data.ArrayLayout(signed(UPDATE.bits), hw.word), "tag": tag(hw)})
