"""Synthesis: multipliers and memories are those meant, and the largest preset fits its part."""

import json
import random
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from deltamoe.api.synthesis import synthesize
from deltamoe.boards import PRESETS
from deltamoe.boards.synthesis.parts import PARTS
from deltamoe.boards.synthesis.units import UNITS, split
from deltamoe.boards.synthesis.yosys import run
from deltamoe.boards.verilator.build import verilate
from deltamoe.rtl.generate import to_verilog
from deltamoe.rtl.linear.mac_pair import MacPair
from tests.scripts import test_cli

NANO = PRESETS["nano"]

WRAPPER = """
module mapped(input clk, input [7:0] w0, input [7:0] w1, input [8:0] delta, input first,
              input valid, output [19:0] low, output [19:0] high);
  MacPair pair(.clk(clk), .rst(1'b0), .w0(w0), .w1(w1), .delta(delta), .\\begin (first),
               .valid(valid), .low(low), .high(high));
endmodule
"""

BENCH = """
module bench(input clk);
  reg [26:0] words [0:%(count)d - 1];
  wire [7:0] w0, w1;
  wire [8:0] delta;
  wire first, valid;
  wire [19:0] low, high, mapped_low, mapped_high;
  integer n = 0;
  assign {first, valid, delta, w1, w0} = words[n];

  reference reference(.clk(clk), .rst(1'b0), .w0(w0), .w1(w1), .delta(delta), .\\begin (first),
                      .valid(valid), .low(low), .high(high));
  mapped mapped(.clk(clk), .w0(w0), .w1(w1), .delta(delta), .first(first), .valid(valid),
                .low(mapped_low), .high(mapped_high));

  initial $readmemh("stimulus.hex", words);
  always @(posedge clk) n <= n + 1;
  always @(negedge clk) begin
    $display("sums %%0d %%0d %%0d %%0d", low, high, mapped_low, mapped_high);
    if (n == %(count)d) $finish;
  end
endmodule
"""

MAIN = """
#include "Vbench.h"
int main() {
  VerilatedContext context;
  Vbench bench{&context};
  bench.eval();
  while (!context.gotFinish()) {
    bench.clk = !bench.clk;
    bench.eval();
  }
}
"""


def stimulus(rng: random.Random) -> tuple[list[int], list[tuple[int, int] | None]]:
    """Words for the bench, and the sums after each cycle from the first run's first event on."""
    events = []
    for _ in range(400):
        extreme = rng.random() < 0.5
        signs = [rng.choice((-1, 1)) for _ in range(3)]
        for position in range(rng.randint(1, 8)):
            weights = [127 * sign if extreme else rng.randint(-127, 127) for sign in signs[:2]]
            delta = 255 * signs[2] if extreme else rng.randint(-255, 255)
            events += [None] * rng.choice((0, 0, 0, 1, 5))
            events.append((weights, delta, position == 0))
    words = [rng.getrandbits(25) | rng.getrandbits(1) << 26 for _ in range(len(events) + 2)]
    expected: list[tuple[int, int] | None] = [None] * len(words)
    sums = None
    for cycle, event in enumerate(events):
        if event:
            weights, delta, first = event
            old = (0, 0) if first else sums
            sums = tuple(total + delta * weight
                         for total, weight in zip(old, weights, strict=True))
            words[cycle] = (words[cycle] >> 25 << 25 | (delta & 511) << 16
                            | (weights[1] & 255) << 8 | weights[0] & 255)
            words[cycle + 2] = words[cycle + 2] & (1 << 25) - 1 | first << 26 | 1 << 25
        expected[cycle + 2] = sums
    return words, expected


def signed20(word: str) -> int:
    """A sum as printed; Verilator 5.48 prints a carry above bit 19 of a computed net."""
    return (int(word) + (1 << 19)) % (1 << 20) - (1 << 19)


def test_mapped_pair_is_bit_exact(tmp_path: Path, seed: int) -> None:
    part = PARTS["xcup"]
    netlist = run("read_verilog top.v; techmap -map pairs.v; write_verilog -noattr out.v",
                  {"top.v": WRAPPER, "pairs.v": part.pair_map.read_text()}, "out.v")
    assert netlist.count("DSP48E2") == 1
    assert "MacPair " not in netlist
    words, expected = stimulus(random.Random(seed))
    model = Path(__file__).parents[1] / "support" / "dsp48e2.v"
    reference = to_verilog(MacPair(packed=True), "reference")
    bench = reference + netlist + model.read_text() + BENCH % {"count": len(words)}
    verilate(tmp_path, {"bench.v": bench, "main.cpp": MAIN},
             ["--top-module", "bench", "-Wno-fatal", "-Wno-lint"])
    (tmp_path / "stimulus.hex").write_text("".join(f"{word:x}\n" for word in words))
    done = subprocess.run([tmp_path / "model"], cwd=tmp_path, check=True, text=True,
                          capture_output=True)
    lines = [tuple(map(signed20, line.split()[1:])) for line in done.stdout.splitlines()
             if line.startswith("sums ")]
    assert len(lines) == len(words)
    for line, sums in zip(lines, expected, strict=True):
        assert sums is None or line == (*sums, *sums)


@pytest.mark.parametrize(("target", "packed"), [("xcup", True), ("xcup", False), ("ecp5", False)])
def test_lane_group_is_multipliers_and_memory_blocks(target: str, packed: bool) -> None:
    hw = replace(NANO, packed=packed)
    synthesis = synthesize(hw, target, ["LaneGroup"])
    each = synthesis.units[0]["each"]
    assert synthesis.units[0]["instances"] == hw.groups
    assert each["dsp"] == (hw.lanes // 2 if packed else hw.lanes)
    assert each["bram"] > 0
    sums = 2 * hw.banks * hw.word * hw.acc_width
    assert each["lutram"] <= sums, "weights are in distributed memory"
    assert each["lut"] <= 200 * hw.lanes


def test_every_unit_is_in_one_other() -> None:
    """All of the accelerator is counted, and the multiplicities are those of its geometry."""
    units, others = ({unit.name: unit for unit in split(hw, box_pairs=False)} for hw in (
        NANO, replace(NANO, memory_ports=2, last_key=True)))
    assert units.keys() | others.keys() == UNITS.keys()
    assert others.keys() - units.keys() == {"InterleavedReader", "InterleavedWriter", "LastKey"}
    assert units["LaneGroup"].instances == units["Worker"].instances == NANO.groups
    assert units["NormalizeLane"].instances == NANO.word // 2
    for design in (units, others):
        inside = [name for unit in design.values() for name in unit.inside]
        assert sorted([*inside, "Accelerator"]) == sorted(design)
        for unit in design.values():
            for name in unit.inside:
                assert f"module {name}(" in unit.boxes
                assert f"module \\{name} " not in unit.text


def test_synth_json_adds_up(monkeypatch: pytest.MonkeyPatch,
                            capsys: pytest.CaptureFixture) -> None:
    code, out, _ = test_cli.run(monkeypatch, capsys, "synth", "--unit", "Registers", "--unit",
                                "DmaReader", "--json", "-")
    assert code == 0
    figures = json.loads(out)
    assert [unit["name"] for unit in figures["units"]] == ["Registers", "DmaReader"]
    for name, total in figures["total"].items():
        assert total == sum(unit["instances"] * unit["each"][name] for unit in figures["units"])
        assert figures["share"][name] == total / figures["capacity"][name]


@pytest.mark.slow  # minutes of Yosys unless its results are cached
def test_zcu102_fits() -> None:
    total = synthesize(PRESETS["zcu102"], "xcup").total
    assert total["dsp"] <= 1000
    assert total["lut"] <= 155_000
    assert total["bram"] <= 870


@pytest.mark.slow  # minutes of Yosys unless its results are cached
def test_ulx3s_fits() -> None:
    synthesis = synthesize(PRESETS["ulx3s"], "ecp5")
    for name, most in synthesis.part.capacity.items():
        assert synthesis.total[name] <= most, name
