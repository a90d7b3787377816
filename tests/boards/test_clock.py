"""Clocks: each says what it rests on, and everything that states frames/s says at which."""

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from deltamoe.boards import BOARDS, clocks
from deltamoe.boards.clock import Assumed, Clock, Levels, Routed, Rule, by_levels, rates, speed
from deltamoe.boards.synthesis.parts import PARTS
from deltamoe.experiments.benchmark import clock_table
from tests.scripts import test_cli

ROUTED = Clock(61.4, Routed(tool="nextpnr-ecp5 0.11", part="LFE5U-85F", date="2026-11-29",
                            commit="0123456", seed=2))


def test_levels_become_a_clock_by_the_rule_of_their_part() -> None:
    """4 levels of 2 ns behind 2 ns are 10 ns."""
    clock = by_levels(4, Rule(part="P", level_ns=2, register_ns=2, source="S"), "abc")
    assert clock.mhz == 100
    assert clock.evidence.because == (
        "4.0 LUT levels on P (at abc) of 2 ns each, and 2 ns of a register; S")


def test_frames_per_second_are_said_with_clock_and_evidence() -> None:
    stated = (ROUTED, Clock(300, Assumed("a wish")))
    assert speed(1e6, stated) == (
        "61.4 frames/s at 61.4 MHz (routed), 300 frames/s at 300 MHz (assumed)")
    assert rates(1e6, stated) == [
        {"frames_per_s": 61.4, "mhz": 61.4, "evidence": "routed", "because":
         "routed by nextpnr-ecp5 0.11 on LFE5U-85F, 2026-11-29, commit 0123456, seed 2"},
        {"frames_per_s": 300, "mhz": 300, "evidence": "assumed", "because": "a wish"}]


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_states_a_clock_with_evidence_before_the_one_it_is_for(name: str) -> None:
    board = BOARDS[name]
    assert not isinstance(board.supported.evidence, Assumed)
    assert board.clocks == (board.supported, board.clock)


@pytest.mark.parametrize("name", BOARDS)
def test_levels_are_of_the_part_of_the_board(name: str) -> None:
    """``nano`` is for none: its levels are those of the only part that can be routed here."""
    board = BOARDS[name]
    if isinstance(board.supported.evidence, Levels):
        assert board.supported.evidence.rule == PARTS[board.part or "ecp5"].rule


def test_evidence_of_a_board_is_none_of_another_geometry() -> None:
    hw = BOARDS["zcu102"].hardware
    assert clocks(hw) == BOARDS["zcu102"].clocks
    assert clocks(replace(hw, weight_rows=1024)) == (BOARDS["zcu102"].clock,)
    assert clocks(replace(hw, name="mine")) == (BOARDS["nano"].clock,)


def test_a_clock_that_is_asked_for_is_assumed() -> None:
    only, = clocks(BOARDS["zcu102"].hardware, 200)
    assert (only.mhz, only.evidence.KIND) == (200, "assumed")


def test_bench_has_a_row_for_each_board_with_levels_and_routed_clocks() -> None:
    """A part that no tool routes says so."""
    run = {"fmax_mhz": 61.43, "path": {"ns": 16.0, "routing_ns": 12.0}}
    rows = [{"hardware": name, "part": "P", "levels": 9.0, "levels_mhz": 83.5, "rule": "R",
             "routed": [run, run] if routed else []} for name, routed in (("a", 1), ("b", 0))]
    console = Console(width=200, file=io.StringIO())
    console.print(clock_table(rows))
    cells = [[cell.strip() for cell in line.strip("│").split("│")]
             for line in console.file.getvalue().splitlines() if line.startswith("│")]
    assert cells == [["a", "P", "9.0", "83.5", "61.4", "61.4", "75%, 75%"],
                     ["b", "P", "9.0", "83.5", "no tool", "no tool", ""]]


def test_simulate_prints_frames_per_second_at_each_clock(monkeypatch, capsys) -> None:
    code, out, _ = test_cli.run(monkeypatch, capsys, "simulate", "digits", "--json", "-")
    assert code == 0
    figures = json.loads(out)
    assert figures["rates"] == rates(figures["cycles"], BOARDS["nano"].clocks)
    assert figures["energy_pj"]["clock_mhz"] == BOARDS["nano"].clock.mhz
    code, out, _ = test_cli.run(monkeypatch, capsys, "simulate", "digits")
    assert code == 0
    assert speed(figures["cycles"], BOARDS["nano"].clocks) in out
