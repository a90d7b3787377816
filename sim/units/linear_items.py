"""The items of a ``LINEAR``: all passes of a row, and then those of the next.

With ``start`` @ ``s`` the first is offered in ``s + ItemGenerator.LATENCY``: ``primed``, which
leaves the queue's memory a cycle, ``running`` and the item itself are registers. The source holds
it ``OperandSource.HELD`` cycles later. Then one is there whenever it is asked for.
"""

from collections.abc import Iterator, Sequence

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.program import Dest, Linear, Mode
from deltamoe.sim.items import Item, Place
from deltamoe.sim.units.event_encoder import skipped_of, steady_events, word_events


def linear_items(layer: Linear, operand, remembered: Sequence[bool], hw: HwConfig,
                 place: Place) -> Iterator[Item]:
    """Return the items in issue order; ``remembered`` rows have a state to start from."""
    depth, words, rows = layer.depth, layer.columns // hw.word, len(remembered)
    together = hw.read_words if layer.wide else 1
    is_gate, reads = layer.dest == Dest.GATE, -(-depth // (together * hw.word))
    if layer.mode == Mode.REPLAY:
        reads, depth = 1, depth % hw.word or hw.word
    waits = layer.norm or layer.by_row
    events = [((0,),)] * rows if layer.mode == Mode.REPLAY else word_events(
        operand, rows, depth, hw.word, place.parts, skipped_of(layer), together)
    passes = [(column, min(2 * place.gang, words - column))
              for column in range(0, words, 2 * place.gang)]
    known: dict[int, tuple[int, int]] = {}
    for row, known_row in enumerate(remembered):
        own = events[row]
        sent, steady = known.setdefault(id(own), (
            sum(map(sum, own)) * place.parts // len(own), steady_events(own)))
        for column, width in passes:
            yield Item(own, reads, sent, steady, depth, width * hw.word, width,
                       row if waits else None, 0, is_gate and column == 0, column + width == words,
                       known_row)
