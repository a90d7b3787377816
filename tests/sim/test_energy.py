"""Energy: every constant can be traced, every joule adds up, no two tables mix."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltamoe.boards import PRESETS
from deltamoe.rtl.control.counters import COUNTERS
from deltamoe.sim.energy import table as module
from deltamoe.sim.energy.estimate import KINDS, Part, energy
from deltamoe.sim.energy.ledger import Act
from deltamoe.sim.energy.table import ENTRIES, FIELDS, Interval, Table, entry_of, find_table, tables
from deltamoe.sim.report.losses import Losses
from deltamoe.sim.report.spans import Result

HW = PRESETS["nano"]
BOUNDS = ("low", "typical", "high")


def made(acts: dict[Act, int], shares: dict[str, dict[str, int]] | None = None) -> Result:
    """Return a run of 1000 cycles."""
    return Result(dict.fromkeys(COUNTERS, 0) | {"cycles": 1000}, (), (), Losses(HW), shares or {},
                  acts)


@pytest.mark.parametrize("table", tables())
def test_every_constant_names_its_source(table: str) -> None:
    found = tables()[table]
    assert found.entries.keys() | found.gaps.keys() >= ENTRIES.keys()
    assert not found.entries.keys() & found.gaps.keys()
    for name, entry in found.entries.items():
        assert entry.keys() == set(FIELDS)
        assert 0 <= entry["low"] <= entry["value"] <= entry["high"]
        assert entry["unit"].startswith(f"{ENTRIES[name]} ")
        assert len(entry["node"]) > 4
        assert entry["voltage"] > 0
        assert len(entry["source"]) > 20
    assert all(len(reason) > 20 for reason in found.gaps.values())


def test_fpga_table_says_that_it_is_uncalibrated() -> None:
    assert "UNCALIBRATED" in tables()["fpga"].meaning
    assert {name: table.kind for name, table in tables().items()} == {
        "asic_28nm": "asic", "fpga": "fpga"}


PRICED = {
    ("multipliers", "random_compute"): "mac", ("multipliers", "gated_compute"): "idle_lane",
    ("multipliers", "skipped_compute"): None, ("weight_memory", "skipped_read"): None,
    ("weight_memory", "random_read"): "sram", ("state_memory", "random_update"): "sram",
    ("accumulators", "random_update"): "accumulator", ("dram", "random_read"): "dram_read",
    ("dram", "random_update"): "dram_write",
}


@pytest.mark.parametrize(("component", "action"), PRICED)
def test_counts_times_costs(component: str, action: str) -> None:
    act, entry = Act("fc1", component, "weights", action), PRICED[component, action]
    assert entry_of(act) == entry
    spent = energy(made({act: 1000}), HW, tables()["asic_28nm"], 100)
    if entry is None:
        assert spent.total.high == 0
        return
    cost = tables()["asic_28nm"].entries[entry]
    assert tuple(spent.total.bounds.values()) == pytest.approx(
        tuple(1000 * cost[bound] for bound in ("low", "value", "high")))
    assert {part for part, interval in spent.parts.items() if interval.high} == {
        Part("fc1", component, "weights", "dynamic")}


def test_power_times_time() -> None:
    """1000 cycles at 100 MHz are 10 us; at 20 000 frames a second, 40 us are idle."""
    table = tables()["asic_28nm"]
    shares = {"fc1": {"cycles": 600}, "program": {"cycles": 400}}
    spent = energy(made({}, shares), HW, table, 100, 20_000)
    leak = table.entries["multiplier_static"]["value"] * HW.mac_units
    background, refresh = (table.entries[f"dram_{name}"]["value"]
                           for name in ("background", "refresh"))
    assert spent.by_kind()["static"].typical == pytest.approx(10_000 * (leak + background))
    assert spent.by_kind()["refresh"].typical == pytest.approx(10_000 * refresh)
    assert spent.by_kind()["idle"].typical == pytest.approx(
        40_000 * (leak + background + refresh))
    assert spent.by_layer()["fc1"].typical == pytest.approx(
        6_000 * (leak + background + refresh))
    still = energy(made({}, shares), HW, table, 100)
    assert still.by_kind()["idle"].high == 0
    faster = energy(made({}, shares), HW, table, 200)
    assert faster.total.typical == pytest.approx(still.total.typical / 2)


ACTS = st.builds(
    Act, st.sampled_from(["0.fc1", "0.fc2", "program"]),
    st.sampled_from(["multipliers", "dram", "accumulators", "weight_memory", "state_memory"]),
    st.sampled_from(["weights", "inputs", "outputs", "sums"]),
    st.sampled_from(["random_read", "random_update", "random_compute", "gated_compute",
                     "skipped_read"]))


@given(acts=st.dictionaries(ACTS, st.integers(1, 10**9)),
       cycles=st.dictionaries(st.sampled_from(["0.fc1", "0.fc2", "program"]),
                              st.integers(1, 10**7)),
       table=st.sampled_from(list(tables())), fps=st.sampled_from([0, 1, 97]))
def test_every_way_to_add_gives_the_total(acts: dict, cycles: dict, table: str, fps: int) -> None:
    shares = {name: {"cycles": count} for name, count in cycles.items()}
    spent = energy(made(acts, shares), HW, tables()[table], 123.0, fps)
    keys: list[Callable[[Part], object]] = [
        lambda part: part, lambda part: part.layer, lambda part: part.component,
        lambda part: part.operand, lambda part: part.kind,
        lambda part: (part.layer, part.component), lambda part: (part.component, part.operand)]
    for key in keys:
        for bound in BOUNDS:
            assert sum(getattr(interval, bound) for interval in spent.by(key).values()) == (
                pytest.approx(getattr(spent.total, bound), rel=1e-9))
    by_hand = sum(count * spent.table.entries[entry_of(act)]["value"]
                  for act, count in acts.items() if entry_of(act))
    assert spent.by_kind()["dynamic"].typical == pytest.approx(by_hand, rel=1e-9)
    assert tuple(spent.by_kind()) == KINDS
    assert spent.total.low <= spent.total.typical <= spent.total.high


def test_tables_do_not_mix() -> None:
    chip, board = (energy(made({}, {"a": {"cycles": 9}}), HW, table, 100).total
                   for table in tables().values())
    with pytest.raises(ValueError, match="asic_28nm and fpga do not add up"):
        chip + board
    with pytest.raises(ValueError, match="do not add up"):
        sum([chip, board], start=chip * 0)


def test_intervals_add_bound_by_bound() -> None:
    assert Interval(1, 2, 4, "t") + Interval(10, 20, 40, "t") == Interval(11, 22, 44, "t")
    assert Interval(1, 2, 4, "t") * 3 == Interval(3, 6, 12, "t")


@pytest.mark.parametrize(("clock", "fps", "message"), [
    (0, 0, "clock 0 MHz"), (float("nan"), 0, "clock nan MHz"), (100, -1, "fps -1"),
    (100, float("nan"), "fps nan"), (100, 100_001, "more than the 100000.0"),
])
def test_impossible_times(clock: float, fps: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        energy(made({}), HW, tables()["fpga"], clock, fps)


def body(**change: object) -> dict:
    """Return a valid table, but for what ``change`` says of its entry mac."""
    table: Table = tables()["asic_28nm"]
    entries = json.loads(json.dumps(dict(table.entries)))
    entries["mac"] = {name: value for name, value in (entries["mac"] | change).items()
                      if value is not None}
    return {"kind": "asic", "meaning": "a test", "gaps": dict(table.gaps), "entries": entries}


FAULTS = {
    **{f"lacks {field}": body(**{field: None}) for field in FIELDS},
    "entry mac: 0.152 is not in 0.2..0.304": body(low=0.2),
    "entry mac: 0.152 is not in 0.118..0.15": body(high=0.15),
    "entry mac: value nan is not a number": body(value=float("nan")),
    "entry mac: low -1 is not a number": body(low=-1),
    "entry mac: value '1' is not a number": body(value="1"),
    "entry mac: unit 'mW' is not in pJ": body(unit="mW"),
    "kind 'gpu' is not one of asic, fpga": body() | {"kind": "gpu"},
    "lacks meaning": {name: value for name, value in body().items() if name != "meaning"},
    "entry sram: neither priced nor a gap": body() | {"entries": {}},
    "entry sram: priced and a gap": body() | {"gaps": {"sram": "a test"}},
    "gaps 5 is not a mapping": body() | {"gaps": 5},
    "entries None is not a mapping": body() | {"entries": None},
    "meaning 5 is not text": body() | {"meaning": 5},
    "entry mac: 5 is not a mapping": body() | {"entries": body()["entries"] | {"mac": 5}},
    "entry mac: source '' is not text": body(source=""),
    "entry mac: source 5 is not text": body(source=5),
    "entry wire: unknown": body() | {"entries": body()["entries"] | {"wire": {}}},
}


@pytest.mark.parametrize("message", FAULTS)
def test_faulty_table(message: str, tmp_path) -> None:
    fault = FAULTS[message]
    if "neither" in message:
        entries = body()["entries"]
        del entries["sram"]
        fault["entries"] = entries
    path = tmp_path / "t.json"
    path.write_text(json.dumps(fault))
    with pytest.raises(ValueError, match=message.replace("..", r"\.\.")):
        find_table(str(path))


def test_tables_of_files(tmp_path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(body()))
    assert find_table(str(path)).name == "mine"
    path.write_text("{")
    with pytest.raises(ValueError, match="not JSON"):
        find_table(str(path))
    with pytest.raises(ValueError, match="'none' is not one of asic_28nm, fpga, nor a file"):
        find_table("none")


def test_faulty_tables_of_the_simulator_do_not_load(tmp_path, monkeypatch) -> None:
    (tmp_path / "tables.json").write_text(json.dumps({"t": body(source=None)}))
    monkeypatch.setattr(module, "__file__", str(tmp_path / "table.py"))
    with pytest.raises(ValueError, match="table t, entry mac: lacks source"):
        module.tables.__wrapped__()
