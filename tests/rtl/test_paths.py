"""Outputs of units come from registers, or the unit's record names the inputs they depend on."""

from dataclasses import replace

import pytest
from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from deltamoe.boards import PRESETS
from deltamoe.rtl.accelerator import Accelerator
from deltamoe.rtl.record import units
from tests.support.paths import Paths, combinational_paths, paths_of_units

KNOWN = {
    "low": {"a"}, "high": {"b"}, "sum_low": {"choice", "b"}, "sum_high": {"choice", "b"},
    "chosen": {"choice", "b"}, "equal": {"a", "b"}, "looked_up": {"a"}, "nested": {"a"},
    "nested_low": {"a"}}
"""What each output of :class:`Known` depends on."""


class Inner(wiring.Component):
    """Hands its input on."""

    i: In(4)
    o: Out(4)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(self.i)
        return m


class Known(wiring.Component):
    """One path, or none, of each kind."""

    a: In(4)
    b: In(4)
    choice: In(1)
    low: Out(1)
    high: Out(1)
    sum_low: Out(1)
    sum_high: Out(1)
    chosen: Out(4)
    equal: Out(1)
    registered: Out(4)
    looked_up: Out(4)
    fetched: Out(4)
    nested: Out(4)
    nested_low: Out(1)
    nested_high: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = inner = Inner()
        m.submodules.mixed = mixed = Inner()
        m.d.comb += mixed.i[:2].eq(self.a)
        m.submodules.memory = memory = Memory(shape=4, depth=16, init=range(16))
        now, later = memory.read_port(domain="comb"), memory.read_port()
        both, total = Signal(4), Signal(4)
        m.d.comb += [
            self.nested_low.eq(mixed.o[0]), self.nested_high.eq(mixed.o[3]),
            both[0].eq(self.a[0] & ~self.a[1]), both[3].eq(self.b[3]),
            self.low.eq(both[0]), self.high.eq(both[3]),
            total.eq(self.choice + self.b), self.sum_low.eq(total[0]), self.sum_high.eq(total[3]),
            self.equal.eq(self.a == self.b), inner.i.eq(self.a), self.nested.eq(inner.o),
            now.addr.eq(self.a), self.looked_up.eq(now.data),
            later.addr.eq(self.a), later.en.eq(self.choice), self.fetched.eq(later.data),
        ]
        with m.If(self.choice):
            m.d.comb += self.chosen.eq(self.b)
        m.d.sync += self.registered.eq(self.a)
        return m


def test_the_walker_finds_each_kind_of_path_and_no_other() -> None:
    assert combinational_paths(Known()) == KNOWN


def test_the_walker_goes_through_boxes_bit_by_bit() -> None:
    assert paths_of_units(Known(), (Inner,)) == {"Known": KNOWN, "Inner": {"o": {"i"}}}


@pytest.fixture(scope="module")
def found() -> dict[str, Paths]:
    """Paths of all units of ``nano``, with one port of memory and with two."""
    hw = replace(PRESETS["nano"], last_key=True)
    paths = paths_of_units(Accelerator(hw), units().values())
    several = replace(hw, memory_ports=2)
    for unit, more in paths_of_units(Accelerator(several), units().values()).items():
        of = paths.setdefault(unit, {})
        for output, inputs in more.items():
            of[output] = of.get(output, set()) | inputs
    return paths


def test_every_unit_is_in_the_accelerator(found) -> None:
    assert found.keys() == units().keys()


def test_no_output_of_the_accelerator_depends_on_an_input_in_the_same_cycle(found) -> None:
    assert found["Accelerator"] == {}


@pytest.mark.parametrize("unit", sorted(units()))
def test_outputs_come_from_registers_or_the_record_says_what_they_depend_on(found, unit: str
                                                                            ) -> None:
    declared = {output: set(inputs)
                for output, inputs in units()[unit].record.combinational.items()}
    assert found[unit] == declared
