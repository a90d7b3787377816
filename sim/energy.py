"""Energy as an interval: counts times a cost table whose every entry names its source."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rtl.config import HwConfig

FIELDS = ("value", "low", "high", "unit", "node_nm", "voltage", "source")


@dataclass(frozen=True)
class Interval:
    """Energy in pJ: low, typical, high."""

    low: float
    typical: float
    high: float

    def __add__(self, other: "Interval") -> "Interval":
        return Interval(self.low + other.low, self.typical + other.typical,
                        self.high + other.high)


def tables() -> dict[str, dict]:
    """Return all cost tables.

    Raises
    ------
    ValueError
        An entry lacks a field, or its value is outside its interval.
    """
    read = json.loads(Path(__file__).with_name("energy_tables.json").read_text())
    for table, body in read.items():
        for name, entry in body["entries"].items():
            missing = [field for field in FIELDS if field not in entry]
            if missing:
                raise ValueError(f"energy table {table}, entry {name}: lacks {missing[0]}")
            if not entry["low"] <= entry["value"] <= entry["high"]:
                raise ValueError(f"energy table {table}, entry {name}: {entry['value']} is not in "
                                 f"{entry['low']}..{entry['high']}")
    return read


def components(counters: Mapping[str, int], hw: HwConfig) -> dict[str, tuple[str, float]]:
    """Return the entry and the count of every component.

    A popped event reads ``lanes`` weights; a word of operands, of drained accumulators (four
    bytes each), of normalized or exponentiated elements passes a memory once; kept sums and
    references are read and written.
    """
    word = hw.word
    return {
        "multipliers": ("mac", counters["macs"]),
        "weights": ("sram", counters["worker_busy"] * hw.lanes),
        "operands": ("sram", counters["source_busy"] * word),
        "results": ("sram", counters["drain_busy"] * word * 4),
        "normalization": ("sram", counters["norm_words"] * word * 3),
        "softmax": ("sram", counters["softmax_words"] * word * 3),
        "kept": ("sram", counters["kept_words"] * word * 8
                 + counters["reference_words"] * word * 2),
        "memory": ("dram", counters["bytes_read"] + counters["bytes_written"]),
    }


def energy(counters: Mapping[str, int], hw: HwConfig, table: str) -> dict[str, Interval]:
    """Return every component's energy by ``table``, and their sum as ``total``.

    Raises
    ------
    ValueError
        No such table.
    """
    known = tables()
    if table not in known:
        raise ValueError(f"energy table {table!r} is not one of {', '.join(known)}")
    costs = known[table]["entries"]
    made = {}
    for name, (entry, count) in components(counters, hw).items():
        cost = costs[entry]
        made[name] = Interval(cost["low"] * count, cost["value"] * count, cost["high"] * count)
    made["total"] = sum(made.values(), Interval(0, 0, 0))
    return made
