"""Proofs by induction: for all commands, memories, processors and stalls, for any time.

What is proven is said in :mod:`tests.formal.bus`. Each proof must fail on units that are wrong.
"""

from pathlib import Path

import pytest
from amaranth import Const, Module
from amaranth.lib.wiring import flipped

from deltamoe.boards import PRESETS
from deltamoe.rtl.control.registers import Registers
from deltamoe.rtl.memory import bursts
from deltamoe.rtl.memory.dma_reader import DmaReader
from deltamoe.rtl.memory.dma_writer import DmaWriter
from tests.formal.bus import Accesses, Reading, Writing
from tests.formal.solver import holds, proven, smt

HW = PRESETS["nano"]


def test_reader(tmp_path: Path) -> None:
    unit = Reading(HW)
    assert proven(tmp_path, unit, unit.invariants)


def test_writer(tmp_path: Path) -> None:
    unit = Writing(HW)
    assert proven(tmp_path, unit, unit.invariants, 2)


def test_registers(tmp_path: Path) -> None:
    unit = Accesses(HW)
    assert proven(tmp_path, unit, unit.invariants)


class Endless:
    """Knows no drain."""

    def elaborate(self, platform) -> Module:
        self.bus.drain = Const(0)
        return super().elaborate(platform)


class ReadsOn(Endless, DmaReader):
    """Goes on with its command."""


class Withdraws(DmaReader):
    """Takes an address back when a beat comes."""

    def elaborate(self, platform) -> Module:
        m = super().elaborate(platform)
        with m.If(self.axi.rvalid):
            m.d.comb += self.axi.arvalid.eq(0)
        return m


class ReadsMore(DmaReader):
    """Always asks for the longest burst."""

    def elaborate(self, platform) -> Module:
        m = super().elaborate(platform)
        m.d.comb += self.axi.arlen.eq(self.hw.burst_beats - 1)
        return m


class WritesOn(Endless, DmaWriter):
    """Goes on with its command."""


class NeverLast(DmaWriter):
    """Ends no burst."""

    def elaborate(self, platform) -> Module:
        m = super().elaborate(platform)
        m.d.comb += self.axi.wlast.eq(0)
        return m


class Deaf(DmaWriter):
    """Takes answers only while it writes."""

    def elaborate(self, platform) -> Module:
        m = super().elaborate(platform)
        m.d.comb += self.axi.bready.eq(self.axi.wvalid)
        return m


class Forgets(Registers):
    """Misses an end in the cycle of an address."""

    def elaborate(self, platform) -> Module:
        self.commands.finished &= ~self.axi.awvalid
        return super().elaborate(platform)


class AnswersTwice(Registers):
    """Repeats an answer."""

    def elaborate(self, platform) -> Module:
        m, axi = super().elaborate(platform), flipped(self.axi)
        with m.If(axi.bvalid & axi.bready):
            m.d.sync += axi.bvalid.eq(1)
        return m


class Fickle(Registers):
    """Changes what it has answered."""

    def elaborate(self, platform) -> Module:
        m, axi = super().elaborate(platform), flipped(self.axi)
        with m.If(axi.rvalid & ~axi.rready):
            m.d.sync += axi.rdata.eq(axi.rdata + 1)
        return m


class ClearWins(Registers):
    """Lets a clear take the end of its own cycle."""

    def write(self, m, axi, written, clears) -> None:
        super().write(m, axi, written, clears)
        self.commands.finished &= ~clears["ended"]


class Strange(Registers):
    """Shows another geometry."""

    def elaborate(self, platform) -> Module:
        self.hw = PRESETS["zcu102"]
        return super().elaborate(platform)


@pytest.mark.parametrize("make", [
    lambda: Reading(HW, ReadsOn), lambda: Reading(HW, Withdraws), lambda: Reading(HW, ReadsMore),
    lambda: Writing(HW, WritesOn), lambda: Writing(HW, NeverLast), lambda: Writing(HW, Deaf),
    lambda: Accesses(HW, Forgets),
    lambda: Accesses(HW, AnswersTwice), lambda: Accesses(HW, Fickle),
    lambda: Accesses(HW, ClearWins), lambda: Accesses(HW, Strange)],
    ids=["reads on", "withdraws", "reads more", "writes on", "never last", "deaf", "forgets",
         "answers twice", "fickle", "clear wins", "strange"])
def test_a_wrong_unit_is_refuted(make, tmp_path: Path) -> None:
    """By a run from reset, which is found within a few cycles."""
    smt(tmp_path, make())
    assert not holds(tmp_path, "-t", "6")


@pytest.mark.parametrize("make", [Reading, Writing])
def test_a_page_of_another_size_is_refuted(make, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(bursts, "PAGE", 8192)
    smt(tmp_path, make(HW))
    assert not holds(tmp_path, "-t", "6")
