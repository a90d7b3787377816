"""LayerNorm or RMSNorm of one token's row, int16 to int8.

A row is kept while its sums are taken. Up to four are held, each at another step::

    i ──┬──►│──► rows (4) ─────────────────────────►│──► D·x − Sx ──► × m ──► >> ──► × gain + bias
        └──► x, x² ──►│──► Sx, Q ──► V ──► rsqrt ──► m ─┘                                    └──► o
"""

from itertools import pairwise

from amaranth import Array, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from deltamoe.rtl import cycles
from deltamoe.rtl.arith.rsqrt import RECIPROCAL, Rsqrt
from deltamoe.rtl.arith.trees import total
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.formats import beat
from deltamoe.rtl.interfaces import Write, attach, parameters_of
from deltamoe.rtl.norm.normalize_lane import NormalizeLane
from deltamoe.rtl.record import Area, Record


class NormSettings(wiring.Signature):
    """What is the same for all rows of an operator.

    Members
    -------
    dim, rms, epsilon : ``Out(range(hw.max_embed + 1))``, ``Out(1)``, ``Out(32)``
        Elements of a row; whether no mean is subtracted; ``round(dim**2 * eps * 2**16)``.
    gain_shift, param_base : ``Out(4)``, ``Out(range(hw.norm_words))``
        Fraction bits of the gain; first word of the parameters.
    """

    def __init__(self, hw: HwConfig) -> None:
        super().__init__({
            "dim": Out(range(hw.max_embed + 1)), "rms": Out(1), "epsilon": Out(32),
            "gain_shift": Out(4), "param_base": Out(range(hw.norm_words)),
        })


class LayerNorm(cycles.LayerNorm, wiring.Component):
    """Normalize rows of ``dim`` elements, scale and shift each channel, round to int8.

    ``Sx = sum x``; ``Q = sum x**2``; ``V = dim * Q - Sx**2 + epsilon``; ``m, e/2 = rsqrt(V)``;
    ``z = rhu((dim * x - Sx) * m, 4 + e/2)``; ``y = sat8(rhu(z * gain + bias, gain_shift + 12))``,
    where ``rhu(v, s) = floor(v / 2**s + 1/2)``. The sums are exact, so one pass loses nothing.
    :func:`deltamoe.golden.arithmetic.layer_norm.layer_norm` is its reference. With ``rms``,
    ``Sx = 0``: that is RMSNorm, :func:`deltamoe.golden.arithmetic.rms_norm.rms_norm`.

    Members
    -------
    i : ``In(stream.Signature(beat(signed(16), hw.word)))``
        Rows; refused only while ``ROWS`` are held.
    o : ``Out(stream.Signature(beat(signed(8), hw.word)))``
        Normalized rows.
    settings : ``In(NormSettings(hw))``
        Stable while rows are in flight.
    parameters : ``In(Write(hw.norm_words, parameters_of(hw)))``
        A word of parameters; ``multiplier`` is the signed gain.

    Timing
    ------
    A row of ``n`` words whose last word came in cycle ``t`` is summed in ``t + summed(hw)``:
    registers for the word's squares, their sum and the row's. It leaves in cycles
    ``t + latency(hw)`` to ``t + latency(hw) + 2 * n - 2``, one in two cycles. Rows follow each
    other ``max(2 * n, SCALAR + 1)`` cycles apart: the scale of one is computed while the one before
    is read. Half a word at a time keeps up with the compute unit, which takes 24 cycles for a row
    of 192 elements, and saves half the lanes.
    """

    record = Record(twin="arithmetic.layer_norm", area=Area(
        multipliers=lambda hw: hw.word + 7,
        grows=lambda hw: (hw.word,)))

    i: stream.Interface
    o: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "i": In(stream.Signature(beat(signed(16), hw.word))),
            "o": Out(stream.Signature(beat(signed(8), hw.word))),
            "settings": In(NormSettings(hw)),
            "parameters": In(Write(hw.norm_words, parameters_of(hw))),
        })

    def elaborate(self, platform):
        m = Module()
        hw = self.hw
        m.submodules.rows = rows = Memory(
            shape=data.ArrayLayout(signed(16), hw.word), depth=self.ROWS * hw.embed_words, init=[],
            attrs={"ram_style": "distributed"}
        )
        taken = Array(Signal(name=f"taken_{n}") for n in range(self.ROWS))
        full = Array(Signal(name=f"full_{n}") for n in range(self.ROWS))
        sums = Array(Signal(signed(27), name=f"sum_{n}") for n in range(self.ROWS))
        squares = Array(Signal(41, name=f"squares_{n}") for n in range(self.ROWS))

        self.collect(m, rows.write_port(), taken, full, sums, squares)
        self.emit(m, rows.read_port(), taken, full, sums, squares)

        return m

    def collect(self, m: Module, write, taken, full, sums, squares):
        """Store a row and take its sums: it is ``taken`` with its last word, ``full`` with them."""
        given, takes, registers = self.i.p, Signal(), self.summed(self.hw) - 1
        bank, position = Signal(range(self.ROWS)), Signal(range(self.hw.embed_words))
        valid, last = Signal(registers), Signal(registers)
        banks = [Signal(range(self.ROWS), name=f"bank_{stage}") for stage in range(registers)]
        word_total = Signal(signed(27))
        row_total, row_square = Signal(signed(27)), Signal(41)
        next_total, next_square = Signal(signed(27)), Signal(41)
        x = [given.data[n] for n in range(self.hw.word)]
        powers = [Signal(31, name=f"square_of_{n}", reset_less=True) for n in range(self.hw.word)]
        m.d.comb += [
            self.i.ready.eq(~taken[bank]), takes.eq(self.i.valid & self.i.ready),
            next_total.eq(row_total + word_total),
            next_square.eq(row_square + total(m, powers, "word_square")),
        ]
        m.d.sync += [power.eq(e * e) for power, e in zip(powers, x, strict=True)]
        m.d.sync += [
            valid.eq((valid << 1) | takes), last.eq((last << 1) | given.last),
            *(later.eq(earlier) for earlier, later in pairwise([bank, *banks])),
            write.en.eq(takes), write.addr.eq(bank * self.hw.embed_words + position),
            write.data.eq(given.data),
            word_total.eq(total(m, x, "word_total")),
        ]
        with m.If(takes):
            m.d.sync += position.eq(position + 1)
            with m.If(given.last):
                m.d.sync += [position.eq(0), bank.eq(bank + 1), taken[bank].eq(1)]
        with m.If(valid[-1]):
            m.d.sync += [row_total.eq(next_total), row_square.eq(next_square)]
            with m.If(last[-1]):
                m.d.sync += [row_total.eq(0), row_square.eq(0), full[banks[-1]].eq(1),
                             sums[banks[-1]].eq(next_total), squares[banks[-1]].eq(next_square)]

    def scale(self, m: Module, rsqrt: Rsqrt, free, full, sums, squares):
        """Compute the next row's scale; hand it on once the row before has been read.

        Return the row's sum, the reciprocal of its deviation, and whether they change now.
        """
        bank, step = Signal(range(self.ROWS)), Signal(range(self.SCALAR + 1))
        row_sum, square = Signal(signed(27)), Signal(41)
        scaled, squared = Signal(52), Signal(52)
        current_sum, current = Signal(signed(27)), Signal(RECIPROCAL)
        taken = Signal()
        m.d.comb += taken.eq((step == self.SCALAR) & free)
        m.d.sync += [
            row_sum.eq(sums[bank]), square.eq(squares[bank]),
            scaled.eq(self.settings.dim * square), squared.eq(row_sum * row_sum),
            rsqrt.value.eq(scaled - squared + self.settings.epsilon),
        ]
        with m.If(self.settings.rms):
            m.d.sync += row_sum.eq(0)
        with m.If(taken):
            m.d.sync += [step.eq(0), bank.eq(bank + 1), current_sum.eq(row_sum),
                         current.eq(rsqrt.reciprocal)]
        with m.Elif(full[bank] & (step != self.SCALAR)):
            m.d.sync += step.eq(step + 1)
        return current_sum, current, taken

    def emit(self, m: Module, read, taken, full, sums, squares):
        """Read each row back through the lanes."""
        hw = self.hw
        m.submodules.rsqrt = rsqrt = Rsqrt()
        m.submodules.parameters = parameters = Memory(
            shape=parameters_of(hw), depth=hw.norm_words, init=[],
            attrs={"ram_style": "distributed"}
        )
        attach(m, self.parameters, parameters.write_port())
        params = parameters.read_port()
        bank, position = Signal(range(self.ROWS)), Signal(range(hw.embed_words))
        reading, final, enable = Signal(), Signal(), Signal()
        upper, second = Signal(), Signal()
        lower = Signal(data.ArrayLayout(signed(8), hw.word // 2))
        row_sum, reciprocal, scaled = self.scale(
            m, rsqrt, ~reading | (final & enable), full, sums, squares)
        valid, last = Signal(NormalizeLane.LATENCY + 1), Signal(NormalizeLane.LATENCY + 1)

        m.d.comb += [
            enable.eq(self.o.ready | ~self.o.valid),
            final.eq(upper & ((position + 1) * hw.word == self.settings.dim)),
            read.en.eq(enable), read.addr.eq(bank * hw.embed_words + position),
            params.en.eq(enable), params.addr.eq(self.settings.param_base + position),
            self.o.valid.eq(valid[-1]), self.o.p.last.eq(last[-1]),
        ]
        with m.If(enable):
            m.d.sync += [valid.eq((valid << 1) | (reading & upper)), last.eq((last << 1) | final),
                         second.eq(upper)]
        with m.If(reading & enable):
            m.d.sync += [position.eq(position + upper), upper.eq(~upper)]
            with m.If(final):
                m.d.sync += [position.eq(0), bank.eq(bank + 1), full[bank].eq(0), taken[bank].eq(0),
                             reading.eq(0)]
        with m.If(scaled):
            m.d.sync += reading.eq(1)
        row_sum = self.later(m, row_sum, "sum", 2, enable)
        multiplier = self.later(m, reciprocal.multiplier, "multiplier", 3, enable)
        half_exponent = self.later(m, reciprocal.half_exponent, "half_exponent", 4, enable)
        half = hw.word // 2
        for n in range(half):
            m.submodules[f"lane_{n}"] = lane = NormalizeLane()
            low, high = params.data[n], params.data[half + n]
            m.d.comb += [
                lane.enable.eq(enable), lane.row.dim.eq(self.settings.dim),
                lane.row.gain_shift.eq(self.settings.gain_shift),
                lane.element.x.eq(Mux(second, read.data[half + n], read.data[n])),
                lane.element.gain.eq(Mux(second, high.multiplier, low.multiplier)),
                lane.element.bias.eq(Mux(second, high.bias, low.bias)),
                lane.row.sum.eq(row_sum), lane.row.multiplier.eq(multiplier),
                lane.row.half_exponent.eq(half_exponent),
                self.o.p.data[n].eq(lower[n]), self.o.p.data[half + n].eq(lane.y),
            ]
            with m.If(enable):
                m.d.sync += lower[n].eq(lane.y)

    @staticmethod
    def later(m: Module, value: Value, name: str, cycles: int, enable: Value) -> Value:
        """Return ``value`` some enabled cycles later."""
        for number in range(cycles):
            earlier, value = value, Signal.like(value, name=f"{name}_{number}")
            with m.If(enable):
                m.d.sync += value.eq(earlier)
        return value
