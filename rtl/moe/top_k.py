"""The ``k`` largest of a sequence, kept sorted while it passes."""

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl.record import Record


class TopK(wiring.Component):
    """Insert some values a cycle into a sorted list.

    A value goes before the first entry that it exceeds strictly, so of equal values the one that
    came first ranks first. :func:`deltamoe.golden.arithmetic.gate.top_k_experts` is its reference.

    Parameters
    ----------
    depth : int
        Entries kept.
    width : int
        Bits of a signed value.
    lanes : int
        Values a cycle, inserted one behind the other.

    Members
    -------
    clear : ``In(1)``
        Forget all.
    enable, value, index : ``In(1)``, ``In(signed(width))``, ``In(8)``, each ``.array(lanes)``
        Insert the value; what to remember it by.
    indices, largest : ``Out(8).array(depth)``, ``Out(signed(width))``
        Indices in descending order of their values; the first one's value.

    Timing
    ------
    ``lanes`` values a cycle, listed in the next.
    """

    record = Record(twin="arithmetic.gate")

    def __init__(self, depth: int, width: int, lanes: int) -> None:
        self.depth = depth
        self.width = width
        self.lanes = lanes
        super().__init__({
            "clear": In(1), "enable": In(1).array(lanes),
            "value": In(signed(width)).array(lanes), "index": In(8).array(lanes),
            "indices": Out(8).array(depth), "largest": Out(signed(width)),
        })

    def elaborate(self, platform):
        m = Module()
        values = [Signal(signed(self.width), name=f"value_{n}") for n in range(self.depth)]
        used = Signal(self.depth)
        m.d.comb += self.largest.eq(values[0])

        entries = [(used[n], values[n], self.indices[n], self.exceeded(values[n]) | Mux(
            used[n], 0, (1 << self.lanes) - 1)) for n in range(self.depth)]
        for lane in range(self.lanes):
            entries = self.insert(m, lane, entries)
        for n, (is_used, value, index, _) in enumerate(entries):
            m.d.sync += [used[n].eq(is_used & ~self.clear), values[n].eq(value),
                         self.indices[n].eq(index)]

        return m

    def exceeded(self, value):
        """Tell which lanes' values are greater."""
        return Cat(held > value for held in self.value)

    def insert(self, m: Module, lane: int, entries):
        """Return the list with the value of ``lane`` in its place.

        Each entry carries which lanes it goes behind, so no comparison waits for another lane.
        """
        enable, value, index = self.enable[lane], self.value[lane], self.index[lane]
        before = [enable & behind[lane] for *_, behind in entries]
        inserted = []
        for n, kept in enumerate(entries):
            pushed = before[n - 1] if n else 0
            above = entries[n - 1] if n else kept
            fresh = (1, value, index, self.exceeded(value))
            parts = []
            for name, shape, old, upper, new in zip(
                    ("used", "value", "index", "behind"),
                    (1, signed(self.width), 8, self.lanes), kept, above, fresh, strict=True):
                part = Signal(shape, name=f"{name}_{lane}_{n}")
                m.d.comb += part.eq(Mux(before[n], Mux(pushed, upper, new), old))
                parts.append(part)
            inserted.append(tuple(parts))
        return inserted
