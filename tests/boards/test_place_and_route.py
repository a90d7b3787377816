"""Place and route: the frame is registers and nothing else, and the clock is the report's."""

import json
from dataclasses import replace
from itertools import groupby, pairwise

import pytest
from amaranth import ClockDomain, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from deltamoe.boards.synthesis import nextpnr, yosys
from deltamoe.boards.synthesis.frame import Frame
from deltamoe.boards.synthesis.parts import PARTS
from deltamoe.rtl.generate import to_verilog
from tests.scripts import test_cli
from tests.support.bench import simulate

ECP5 = PARTS["ecp5"]
JOB = nextpnr.Job(clock_mhz=60, seed=1)
WIDTH = 8


class Inner(wiring.Component):
    """Squares its input, one cycle later."""

    def __init__(self) -> None:
        super().__init__({"given": In(WIDTH), "made": Out(2 * WIDTH)})

    def elaborate(self, platform):
        m = Module()
        held = Signal(WIDTH)
        m.d.sync += held.eq(self.given)
        m.d.comb += self.made.eq(held * held)
        return m


class Outer(wiring.Component):
    """Has one in it, and adds its input without a register."""

    def __init__(self) -> None:
        super().__init__({"given": In(WIDTH), "sum": Out(2 * WIDTH + 1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = inner = Inner()
        m.d.comb += [inner.given.eq(self.given), self.sum.eq(inner.made + self.given)]
        return m


@pytest.fixture(scope="module")
def routed() -> tuple[dict, list[dict]]:
    """Report of the frame around ``Outer``, and what was told on the way to it."""
    told: list[dict] = []
    netlist = yosys.run(yosys.netlist_script(ECP5), {"top.v": to_verilog(Frame(Outer()), "top")},
                        "netlist.json")
    return nextpnr.route(ECP5, netlist, JOB, lambda **changed: told.append(changed)), told


def test_frame_is_one_cycle_at_each_port() -> None:
    dut, values = Frame(Outer()), [3, 200, 0, 255, 17, 0, 0, 0]

    async def bench(ctx):
        seen = []
        for value in values:
            ctx.set(dut.given, value)
            await ctx.tick()
            seen.append(ctx.get(dut.sum))
        # a cycle in, the register inside, a cycle out; the operand added skips the one inside
        assert seen[2:] == [a * a + b for a, b in pairwise(values)][:-1]

    simulate(dut, bench)


def test_rounds_of_placement_and_wires_are_told(routed) -> None:
    _, told = routed
    assert [changed for changed in told if changed.get("description", "").startswith(
        "refining the placement, round")]
    totals = [changed["total"] for changed in told if "total" in changed]
    assert len(totals) == 1
    assert [changed["completed"] for changed in told if "completed" in changed][-1] == totals[0]


class Clocked(wiring.Component):
    """Makes its domain from a port, as the accelerator does, and delays its input."""

    aclk: In(1)
    aresetn: In(1)
    given: In(WIDTH)
    late: Out(WIDTH)

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = domain = ClockDomain("sync")
        m.d.comb += [domain.clk.eq(self.aclk), domain.rst.eq(~self.aresetn)]
        m.d.sync += self.late.eq(self.given)
        return m


def test_a_unit_with_a_domain_of_its_own_has_the_clock_of_the_frame() -> None:
    """One clock, and a register at each port but the clock's."""
    text = to_verilog(Frame(Clocked()), "top")
    netlist = yosys.run(yosys.netlist_script(ECP5), {"top.v": text}, "netlist.json")
    timing = nextpnr.timing(nextpnr.route(ECP5, netlist, JOB, lambda **changed: None), "Clocked")
    assert timing["utilization"]["TRELLIS_FF"]["used"] == 3 * WIDTH + 1


def test_all_registers_and_multipliers_are_routed(routed) -> None:
    cells = nextpnr.timing(routed[0], "Outer")["utilization"]
    assert cells["MULT18X18D"]["used"] == 1
    assert cells["TRELLIS_FF"]["used"] == WIDTH + WIDTH + 2 * WIDTH + 1
    assert "DP16KD" not in cells


def test_clock_is_that_of_the_critical_path(routed) -> None:
    """Which goes from the register inside through multiplier and adder to the one at the port."""
    report, told = routed
    timing = nextpnr.timing(report, "Outer")
    path = timing["path"]
    stages = [changed["description"] for changed in told if "description" in changed]
    assert [stage for stage, _ in groupby(stages, lambda stage: stage.partition(",")[0])] == [
        "packing", "placing", "refining the placement", "routing"]
    assert 1000 / timing["fmax_mhz"] == pytest.approx(path["ns"], rel=1e-3)
    assert 0 < path["routing_ns"] < path["ns"]
    assert sum(step["ns"] for step in path["units"]) == pytest.approx(path["ns"])
    assert {step["unit"] for step in path["units"]} == {"inner", "Outer"}
    assert path["from"].startswith("unit.inner.held")
    assert path["to"].startswith("sum")


@pytest.mark.parametrize(("cell", "unit"), [
    ("unit.worker_3.queue.level_TRELLIS_FF_Q_2", "worker_3.queue"),
    ("unit.worker_3.queue.words.2.0_DO_LUT4_Z", "worker_3.queue"),
    ("unit.complete_LUT4_Z", "ComputeUnit"),
    ("i__valid_TRELLIS_FF_Q", "ComputeUnit"),
])
def test_cells_are_of_the_unit_they_are_named_after(cell: str, unit: str) -> None:
    assert nextpnr.unit_of(cell, "ComputeUnit") == unit


def test_part_that_is_too_small_is_one_error() -> None:
    """29 multipliers on a part of 28."""
    products = "".join(f"always @(posedge clk) p[{36 * n} +: 36] <= (a + {n}) * (b - {n});\n"
                       for n in range(29))
    text = f"module top(input clk, input [17:0] a, b, output reg [1043:0] p);\n{products}endmodule"
    netlist = yosys.run(yosys.netlist_script(ECP5), {"top.v": text}, "netlist.json")
    small = replace(ECP5, place=("--12k", "--package", "CABGA381"))
    with pytest.raises(ValueError, match=r"^nextpnr-ecp5 says: ERROR: .*MULT18X18D"):
        nextpnr.route(small, netlist, JOB, lambda **changed: None)


@pytest.mark.parametrize("cut", ["fmax", "critical_paths"])
def test_report_without_clock_or_path_is_refused(routed, cut: str) -> None:
    with pytest.raises(ValueError, match="not one"):
        nextpnr.timing(routed[0] | {cut: {}}, "Outer")


def test_route_prints_clock_and_path(monkeypatch: pytest.MonkeyPatch,
                                     capsys: pytest.CaptureFixture) -> None:
    words = ["place-and-route", "--hardware", "nano", "--unit", "EventEncoder", "--json", "-"]
    code, out, _ = test_cli.run(monkeypatch, capsys, *words)
    assert code == 0
    figures = json.loads(out)
    assert figures["part"] == ECP5.name
    assert 1000 / figures["fmax_mhz"] == pytest.approx(figures["path"]["ns"], rel=1e-3)
    code, out, _ = test_cli.run(monkeypatch, capsys, *words[:-2])
    assert code == 0
    assert f"{figures['fmax_mhz']:.1f} MHz" in " ".join(out.split())
