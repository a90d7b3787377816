"""The ``k`` largest of a sequence, kept sorted while it passes."""

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class TopK(wiring.Component):
    """Insert one value a cycle into a sorted list.

    A value goes before the first entry that it exceeds strictly, so of equal values the one that
    came first ranks first. :func:`golden.gate.top_k_experts` is its reference.

    Parameters
    ----------
    depth : int
        Entries kept.
    width : int
        Bits of a signed value.

    Members
    -------
    clear, enable : ``In(1)``
        Forget all; insert ``value``.
    value, index : ``In(signed(width))``, ``In(8)``
        The next value and what to remember it by.
    indices : ``Out(8).array(depth)``
        Indices in descending order of their values.

    Timing
    ------
    One value a cycle, listed in the next.
    """

    def __init__(self, depth: int, width: int) -> None:
        self.depth = depth
        self.width = width
        super().__init__({
            "clear": In(1), "enable": In(1), "value": In(signed(width)), "index": In(8),
            "indices": Out(8).array(depth),
        })

    def elaborate(self, platform):
        m = Module()
        values = [Signal(signed(self.width), name=f"value_{n}") for n in range(self.depth)]
        used = Signal(self.depth)
        before = [~used[n] | (self.value > values[n]) for n in range(self.depth)]

        with m.If(self.clear):
            m.d.sync += used.eq(0)
        with m.Elif(self.enable):
            m.d.sync += used.eq((used << 1) | 1)
            for n in range(self.depth):
                pushed = before[n - 1] if n else 0
                with m.If(before[n]):
                    m.d.sync += [
                        values[n].eq(Mux(pushed, values[n - 1], self.value)),
                        self.indices[n].eq(Mux(pushed, self.indices[n - 1], self.index)),
                    ]

        return m
