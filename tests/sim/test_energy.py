"""Energy: every constant can be traced, every joule adds up."""

import json

import pytest

from rtl.config import PRESETS
from rtl.counters import COUNTERS
from sim import energy as module
from sim.energy import FIELDS, Interval, components, energy, tables

HW = PRESETS["nano"]
NOTHING = dict.fromkeys(COUNTERS, 0)


@pytest.mark.parametrize("table", tables())
def test_every_constant_names_its_source(table: str) -> None:
    entries = tables()[table]["entries"]
    assert entries.keys() == {entry for entry, _ in components(NOTHING, HW).values()}
    for entry in entries.values():
        assert entry.keys() == set(FIELDS)
        assert 0 <= entry["low"] <= entry["value"] <= entry["high"]
        assert entry["unit"].startswith("pJ per ")
        assert len(entry["source"]) > 20


def test_fpga_table_says_that_it_is_uncalibrated() -> None:
    assert "UNCALIBRATED" in tables()["fpga"]["meaning"]


@pytest.mark.parametrize(("counter", "component", "entry", "per_count"), [
    ("macs", "multipliers", "mac", 1),
    ("worker_busy", "weights", "sram", 8),       # a weight of one byte for each of 8 lanes
    ("source_busy", "operands", "sram", 4),      # a word of 4 bytes
    ("drain_busy", "results", "sram", 16),       # a word of 4 accumulators, 4 bytes each
    ("norm_words", "normalization", "sram", 12),  # 4 elements, 2 bytes read and 1 written
    ("softmax_words", "softmax", "sram", 12),    # the same
    ("bytes_read", "memory", "dram", 1),
    ("bytes_written", "memory", "dram", 1),
])
def test_counts_times_costs(counter: str, component: str, entry: str, per_count: int) -> None:
    made = energy(NOTHING | {counter: 1000}, HW, "asic_28nm")
    cost = tables()["asic_28nm"]["entries"][entry]
    expected = (1000 * per_count * cost[bound] for bound in ("low", "value", "high"))
    assert (made[component].low, made[component].typical, made[component].high) == pytest.approx(
        tuple(expected))
    assert made["total"] == made[component]


def test_total_is_the_sum() -> None:
    made = energy({name: number for number, name in enumerate(COUNTERS, 1)}, HW, "asic_28nm")
    total = made.pop("total")
    assert min(part.typical for part in made.values()) > 0
    for bound in ("low", "typical", "high"):
        assert getattr(total, bound) == pytest.approx(
            sum(getattr(part, bound) for part in made.values()))


def test_unknown_table() -> None:
    with pytest.raises(ValueError, match="'none' is not one of asic_28nm, fpga"):
        energy(NOTHING, HW, "none")


@pytest.mark.parametrize(("change", "message"), [
    ({"source": None}, "table t, entry mac: lacks source"),
    ({"low": 2.0}, "table t, entry mac: 1.0 is not in 2.0..1.5"),
    ({"high": 0.9}, "table t, entry mac: 1.0 is not in 0.5..0.9"),
])
def test_faulty_table(change: dict, message: str, tmp_path, monkeypatch) -> None:
    entry = {"value": 1.0, "low": 0.5, "high": 1.5, "unit": "pJ per mac", "node_nm": 28,
             "voltage": 0.9, "source": "a test"} | change
    entry = {name: value for name, value in entry.items() if value is not None}
    (tmp_path / "energy_tables.json").write_text(json.dumps({"t": {"entries": {"mac": entry}}}))
    monkeypatch.setattr(module, "__file__", str(tmp_path / "energy.py"))
    with pytest.raises(ValueError, match=message):
        tables()


def test_intervals_add_bound_by_bound() -> None:
    assert Interval(1, 2, 4) + Interval(10, 20, 40) == Interval(11, 22, 44)
