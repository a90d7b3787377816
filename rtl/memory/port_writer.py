"""One of several ports that write memory: words to bursts, each begun when it is whole.

::

    word ──┬──► queue ──► beats of a word ──► W      B
           └──► queue of whole bursts ──────► AW
"""

from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.interfaces import Master
from deltamoe.rtl.memory.axi import AxiWrite
from deltamoe.rtl.memory.bursts import BURST
from deltamoe.rtl.memory.dma_writer import write_bursts
from deltamoe.rtl.record import Record
from deltamoe.rtl.stream.fifo import Fifo


def burst_word(hw: HwConfig) -> data.StructLayout:
    """A word, a data beat of all ports, and its burst, in words; whether it is its burst's last."""
    return data.StructLayout({"data": 8 * hw.bus_bytes, "burst": BURST, "ends": 1})


def waiting_words(hw: HwConfig) -> int:
    """Words that wait in a port to be written: one burst is gathered while another is written."""
    return 2 * hw.block_words


class PortWriter(wiring.Component):
    """Write bursts through a port that is narrower than a word.

    A burst begins when all of its words are there, so that memory never waits for its beats.

    Members
    -------
    i : ``In(stream.Signature(burst_word(hw)))``
        Words.
    axi : ``Out(AxiWrite(hw.port_bytes, qos=True))``
        Memory.
    empty : ``Out(1)``
        All bursts that have ended have been answered.
    error : ``Out(1)``
        A response of the cycle before was an error.
    bus : ``In(Master())``
        As in :class:`deltamoe.rtl.memory.dma_writer.DmaWriter`.

    Timing
    ------
    The last word of a burst in cycle ``t`` raises ``awvalid`` in ``t + 1`` and sends a beat in ``t
    + 2`` at the earliest; from burst to burst it is as in ``DmaWriter``.
    """

    record = Record(moves="writes beats of a word", combinational={
        "axi.awvalid": ("bus.drain",),
        "bus.progress": ("axi.bvalid", "axi.wready"),
    })

    i: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "i": In(stream.Signature(burst_word(hw))),
            "axi": Out(AxiWrite(hw.port_bytes, qos=True)),
            "empty": Out(1), "error": Out(1), "bus": In(Master()),
        })

    def elaborate(self, platform):
        m = Module()
        hw, size = self.hw, 8 * self.hw.port_bytes
        m.submodules.words = words = Fifo(8 * hw.bus_bytes, waiting_words(hw))
        m.submodules.bursts = bursts = Fifo(BURST, waiting_words(hw))
        beats = stream.Signature(size).create(path=("beat",))
        part, taken = Signal(range(hw.memory_ports)), Signal()

        write_bursts(m, bursts.o, beats, self.axi, self.bus, Signal(), self.error)
        # A burst that waits has a word that does, so that there is room for it.
        m.d.comb += [
            words.i.valid.eq(self.i.valid), words.i.payload.eq(self.i.p.data),
            self.i.ready.eq(words.i.ready),
            bursts.i.valid.eq(self.i.valid & self.i.ready & self.i.p.ends),
            bursts.i.payload.eq(self.i.p.burst),
            bursts.i.p.beats.eq(self.i.p.burst.beats * hw.memory_ports),
            beats.valid.eq(words.o.valid),
            beats.payload.eq(words.o.payload.word_select(part, size)),
            taken.eq(beats.valid & beats.ready),
            words.o.ready.eq(beats.ready & (part == hw.memory_ports - 1)),
            self.empty.eq(self.bus.idle & ~bursts.o.valid),
        ]
        with m.If(taken):
            m.d.sync += part.eq(part + 1)

        return m
