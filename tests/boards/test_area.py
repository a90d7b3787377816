"""The area model: exact or an upper bound where geometry decides, else within stated errors."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import pytest
from amaranth.lib.memory import Memory

from deltamoe.api.synthesis import synthesize
from deltamoe.boards import PRESETS
from deltamoe.boards.area.geometry import areas, block_rams, blocks, luts, multipliers
from deltamoe.boards.area.model import (
    CAPACITY,
    area,
    counted,
    designs,
    errors,
    fit,
    hardware,
    memory,
    row,
)
from deltamoe.boards.synthesis.units import UNITS, split
from deltamoe.rtl.record import Ram
from tests.scripts import test_cli

MOST = {"lut": 0.08, "ff": 0.05}
"""Greatest error of a design that the fit has not seen."""

BLOCKS_HIGH = 0.01
"""Part of a design's block memories that Yosys may do without."""

PARAMETERS = ("groups", "lanes", "packed", "banks", "queue_words", "weight_rows", "kv_rows",
              "act_words", "read_words", "state_words", "max_experts", "max_top_k", "outstanding")


def test_designs_differ_in_what_sweeps_vary() -> None:
    assert len(designs()) >= 8
    for name in PARAMETERS:
        assert len({getattr(hardware(design), name) for design in designs()}) > 1, name


@pytest.mark.parametrize("number", range(len(designs())))
def test_geometry_is_known(number: int) -> None:
    """Of every unit, by its own record, and so of all of them; of block memories, an upper bound.

    Yosys takes a narrower shape for the bits beyond whole primitives, and none for bits that nobody
    reads.
    """
    design = designs()[number]
    hw, true, units = hardware(design), counted(design), design["units"]
    assert {name: count for name, count, _ in areas(hw)} == {
        name: found["instances"] for name, found in units.items()}
    for name, _, own in areas(hw):
        assert 0 <= sum(map(blocks, own.block(hw))) - units[name]["bram"] <= 2, name
        assert own.multipliers(hw) == units[name]["dsp"], name
        if own.distributed(hw):
            assert sum(map(luts, own.distributed(hw))) == units[name]["lutram"], name
    assert true["bram"] <= block_rams(hw) <= (1 + BLOCKS_HIGH) * true["bram"]
    assert multipliers(hw) == true["dsp"]


def spread(rams: Iterable[Ram]) -> Counter:
    """Width and depth of memories that have rows, one for each copy."""
    return sum((Counter({(ram.width, ram.depth): ram.copies}) for ram in rams if ram.depth),
               Counter())


@pytest.mark.parametrize("changes", [
    {}, {"state_words": 0, "reference_words": 0, "groups": 16, "read_words": 4},
    {"memory_ports": 2, "outstanding": 8}], ids=str)
def test_a_record_declares_the_memories_that_its_unit_makes(
        changes: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of those in block RAM, and of the distributed ones those that it counts."""
    hw, memories = replace(PRESETS["nano"], **changes), []
    original = Memory.elaborate

    def elaborate(memory: Memory, platform: object) -> object:
        memories.append((memory.attrs.get("ram_style"), Ram(
            memory.shape, memory.depth, len(memory.read_ports))))
        return original(memory, platform)

    monkeypatch.setattr(Memory, "elaborate", elaborate)
    for unit in split(hw, box_pairs=False):
        area = UNITS[unit.name].record.area
        block, distributed = (spread(ram for style, ram in memories if style == wanted)
                              for wanted in ("block", "distributed"))
        assert spread(area.block(hw)) == block, unit.name
        assert spread(area.distributed(hw)) <= distributed, unit.name
        memories.clear()


def test_logic_of_a_design_that_the_fit_has_not_seen() -> None:
    for name, most in MOST.items():
        assert max(abs(error[name]) for error in errors()) <= most


def test_no_estimate_of_what_was_never_counted() -> None:
    hw = replace(PRESETS["nano"], memory_ports=2)
    with pytest.raises(ValueError, match=r"^nano: the area of InterleavedReader and "
                                         r"InterleavedWriter is not estimated, since "):
        area(hw)


def test_fit_recovers_a_model_of_its_own_form() -> None:
    """Counts that are sums of the terms come back, whatever their weights."""
    exact = []
    for design in designs():
        units = {}
        for unit, found in design["units"].items():
            hw = hardware(design)
            total = sum((3 + number) * term for number, term in enumerate(row(unit, hw)))
            units[unit] = {**found, "lut": total + memory(unit, hw), "ff": 2 * total}
        exact.append({**design, "units": units})
    weights = fit(exact)
    for design in exact:
        found = area(hardware(design), weights)
        for name in ("lut", "ff"):
            assert found[name] == pytest.approx(counted(design)[name], rel=1e-3, abs=2)


def test_more_hardware_is_more_area() -> None:
    base = PRESETS["zcu102"]
    for change in ({"groups": 32}, {"weight_rows": 2048}, {"queue_words": 256}, {"lanes": 64},
                   {"packed": False}, {"state_words": 16384}):
        larger, smaller = area(replace(base, **change)), area(base)
        assert all(larger[name] >= smaller[name] for name in CAPACITY)
        assert larger != smaller or change == {"lanes": 64}


def test_block_shapes() -> None:
    """AMD UG573: 18 Kibit blocks are 512 x 36 to 16384 x 1, 36 Kibit ones twice that."""
    assert blocks(Ram(36, 512)) == 0.5
    assert blocks(Ram(36, 513)) == blocks(Ram(72, 512)) == blocks(Ram(37, 512)) == 1
    assert blocks(Ram(1, 16384)) == 0.5
    assert blocks(Ram(8, 4096)) == 1
    assert blocks(Ram(800, 4096)) == 89
    assert blocks(Ram(800, 4096, copies=2)) == 178
    assert blocks(Ram(64, 512, parts=8)) == blocks(Ram(72, 512)) == 1


@pytest.mark.parametrize("names", [
    ("Registers", "DmaReader", "Combine"),
    pytest.param(tuple(UNITS), marks=pytest.mark.slow)])  # minutes of Yosys unless cached
def test_counts_are_of_these_sources(names: tuple[str, ...]) -> None:
    """Else ``python -m deltamoe.make.areas`` makes them so."""
    synthesis = synthesize(PRESETS["nano"], "xcup", names)
    first = designs()[0]
    assert (first["preset"], first["changes"]) == ("nano", {})
    for unit in synthesis.units:
        assert {"instances": unit["instances"], **unit["each"]} == first["units"][unit["name"]]


def test_estimate_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    code, out, _ = test_cli.run(monkeypatch, capsys, "synth", "--estimate", "--hardware", "zcu102",
                                "--json", "-")
    assert code == 0
    figures = json.loads(out)
    assert figures["total"] == area(PRESETS["zcu102"])
    assert len(figures["designs"]) == len(designs())
    code, _, err = test_cli.run(monkeypatch, capsys, "synth", "--estimate", "--target", "ecp5")
    assert code == 2
    assert err.count("\n") == 1
