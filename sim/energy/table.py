"""Cost tables: what each action costs, how much power stands by, and where every figure is from."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from deltamoe.sim.energy.ledger import SKIPPED, Act

FIELDS = ("value", "low", "high", "unit", "node", "voltage", "source")
"""What every entry states; ``unit`` begins with the one of :data:`ENTRIES`."""

ENTRIES = {
    "mac": "pJ", "idle_lane": "pJ", "sram": "pJ", "accumulator": "pJ", "dram_read": "pJ",
    "dram_write": "pJ", "multiplier_static": "mW", "device_static": "mW", "device_idle": "mW",
    "dram_background": "mW", "dram_refresh": "mW",
}
"""Entries of a table, each of them priced or named as a gap, and their units.

pJ are for each multiplication or byte. mW stand by: ``multiplier_static`` for each multiplier,
``device_static`` while the rest of the device computes, ``device_idle`` while it waits.
"""

KINDS = ("asic", "fpga")


@dataclass(frozen=True)
class Interval:
    """Energy in pJ or power in mW, by ``table``: low, typical, high."""

    low: float
    typical: float
    high: float
    table: str

    def __add__(self, other: "Interval") -> "Interval":
        """Add bound by bound.

        Raises
        ------
        ValueError
            The two are of different tables: a chip's and an FPGA's joules are no sum.
        """
        if self.table != other.table:
            raise ValueError(f"energies of tables {self.table} and {other.table} do not add up")
        return Interval(self.low + other.low, self.typical + other.typical,
                        self.high + other.high, self.table)

    def __mul__(self, count: float) -> "Interval":
        return Interval(self.low * count, self.typical * count, self.high * count, self.table)

    @property
    def bounds(self) -> dict[str, float]:
        """Low, typical and high by name."""
        return {"low": self.low, "typical": self.typical, "high": self.high}


@dataclass(frozen=True)
class Table:
    """A cost table; ``gaps`` name what it has no price for, and why."""

    name: str
    kind: str
    meaning: str
    gaps: Mapping[str, str]
    entries: Mapping[str, Mapping]

    def price(self, entry: str) -> Interval:
        """Return an entry's interval, zero for a gap."""
        if entry not in self.entries:
            return Interval(0.0, 0.0, 0.0, self.name)
        interval = self.entries[entry]
        return Interval(interval["low"], interval["value"], interval["high"], self.name)


def parse(name: str, body: Mapping) -> Table:
    """Return a table as it is in a file.

    Raises
    ------
    ValueError
        Something is missing, unknown, or not in its interval.
    """
    where = f"energy table {name}"
    for field in ("kind", "meaning", "gaps", "entries"):
        if not isinstance(body, Mapping) or field not in body:
            raise ValueError(f"{where}: lacks {field}")
    if body["kind"] not in KINDS:
        raise ValueError(f"{where}: kind {body['kind']!r} is not one of {', '.join(KINDS)}")
    if not isinstance(body["meaning"], str):
        raise ValueError(f"{where}: meaning {body['meaning']!r} is not text")
    gaps, entries = body["gaps"], body["entries"]
    for field in ("gaps", "entries"):
        if not isinstance(body[field], Mapping):
            raise ValueError(f"{where}: {field} {body[field]!r} is not a mapping")
    for entry in ENTRIES:
        if (entry in entries) == (entry in gaps):
            raise ValueError(f"{where}, entry {entry}: neither priced nor a gap" if
                             entry not in gaps else f"{where}, entry {entry}: priced and a gap")
    for entry, fields in entries.items():
        check_entry(f"{where}, entry {entry}", entry, fields)
    return Table(name, body["kind"], body["meaning"], gaps, entries)


def check_entry(where: str, entry: str, fields: Mapping) -> None:
    """Raise ValueError unless an entry is known, complete and inside its interval."""
    if entry not in ENTRIES:
        raise ValueError(f"{where}: unknown, the entries are {', '.join(ENTRIES)}")
    if not isinstance(fields, Mapping):
        raise ValueError(f"{where}: {fields!r} is not a mapping with {', '.join(FIELDS)}")
    missing = [field for field in FIELDS if field not in fields]
    if missing:
        raise ValueError(f"{where}: lacks {missing[0]}")
    if not str(fields["unit"]).startswith(ENTRIES[entry]):
        raise ValueError(f"{where}: unit {fields['unit']!r} is not in {ENTRIES[entry]}")
    if not isinstance(fields["source"], str) or not fields["source"]:
        raise ValueError(f"{where}: source {fields['source']!r} is not text")
    for field in ("value", "low", "high", "voltage"):
        number = fields[field]
        if type(number) not in (int, float) or not math.isfinite(number) or number < 0:
            raise ValueError(f"{where}: {field} {number!r} is not a number from 0 on")
    if not fields["low"] <= fields["value"] <= fields["high"]:
        raise ValueError(f"{where}: {fields['value']} is not in {fields['low']}..{fields['high']}")


@cache
def tables() -> dict[str, Table]:
    """Return the tables that come with the simulator."""
    path = Path(__file__).with_name("tables.json")
    return {name: parse(name, body) for name, body in json.loads(path.read_text("utf-8")).items()}


def find_table(name: str) -> Table:
    """Return a table by name, or from a file as ``deltamoe calibrate`` writes it.

    Raises
    ------
    ValueError
        There is no such table or file, or the file is not a table.
    """
    if name in tables():
        return tables()[name]
    path = Path(name)
    if not path.is_file():
        raise ValueError(f"energy table {name!r} is not one of {', '.join(tables())}, nor a file")
    try:
        body = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"energy table {name}: not JSON: {error}") from None
    return parse(path.stem, body)


def entry_of(act: Act) -> str | None:
    """Return the entry that prices an action, None if it costs nothing."""
    if act.action in SKIPPED:
        return None
    if act.component == "multipliers":
        return "mac" if act.action == "random_compute" else "idle_lane"
    if act.component == "dram":
        return "dram_write" if act.action == "random_update" else "dram_read"
    return "accumulator" if act.component == "accumulators" else "sram"
