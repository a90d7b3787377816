"""What a point gives: figures of one image."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from deltamoe.experiments.points.evaluate import Run
from deltamoe.experiments.points.point import Point
from deltamoe.sim.energy.estimate import energy
from deltamoe.sim.energy.table import Interval, find_table
from deltamoe.sim.report.spans import Layer

KINDS = {"weights": "weights", "sums": "state", "references": "state", "inputs": "data",
         "outputs": "data", "parameters": "parameters", "program": "program"}
"""What the bytes of an operand of :mod:`deltamoe.sim.energy.ledger` are."""


@dataclass(frozen=True)
class Outcome:
    """Figures of one image, means over the frames that count.

    ``executes`` is ``rtl`` or ``model``; ``known`` what is known of the data; ``losses`` the cycles
    that all multipliers lost, by cause; ``layers`` those of the last frame; ``agreement`` the share
    of frames with the class of dense inference; ``traffic`` the bytes that pass the memory port, by
    what they are; ``idle`` that the policy saved nothing of dense inference; ``speedup`` and
    ``energy_ratio`` are against the ``baseline``, by label. ``frames_per_s`` and ``energy`` are at
    the point's clock.
    """

    point: Point
    label: str
    executes: str
    known: str
    cycles: float
    frames_per_s: float
    energy: Mapping[str, Interval]
    counters: Mapping[str, float]
    losses: Mapping[str, float]
    layers: Sequence[Layer]
    sqnr_db: float | None
    agreement: float | None
    traffic: Mapping[str, float]
    idle: bool
    baseline: str = ""
    speedup: float = 1.0
    energy_ratio: float = 1.0

    @property
    def differs(self) -> str:
        """How the policy differs from its source, in a few words; empty if it does not."""
        return self.point.policy.mechanism.differs

    @property
    def mac_units(self) -> int:
        """Multiplications a cycle, at most."""
        return self.point.hardware.config.mac_units

    @property
    def multipliers(self) -> int:
        """Wide multipliers, of which each makes two products if they are packed."""
        hw = self.point.hardware.config
        return hw.mac_units // (2 if hw.packed else 1)

    @property
    def utilization(self) -> float:
        """Share of the multiplications that the hardware could have made."""
        return self.counters["macs"] / (self.cycles * self.mac_units)

    @property
    def bytes(self) -> float:
        """Bytes that pass the memory port."""
        return self.counters["bytes_read"] + self.counters["bytes_written"]

    @property
    def intensity(self) -> float:
        """Multiplications for each byte of the memory port."""
        return self.counters["macs"] / self.bytes

    @property
    def bound_by(self) -> str:
        """What takes the largest share of all multipliers' cycles.

        ``multipliers`` if that is products; ``memory: `` with the kind of most bytes if it is the
        wait for what is loaded; else the cause of :data:`deltamoe.sim.report.losses.CAUSES`.
        """
        shares = {"multipliers": self.utilization * self.cycles, **self.losses}
        most = max(shares, key=lambda name: shares[name])
        if most != "weights":
            return most
        return f"memory: {max(self.traffic, key=lambda kind: self.traffic[kind])}"

    @property
    def seeded(self) -> bool:
        """Whether the network's weights were drawn, so that its output means little."""
        return "seeded weights" in self.known

    @property
    def quality(self) -> str:
        """The output against that of dense inference, for people."""
        if self.sqnr_db is None:
            return ""
        if not isfinite(self.sqnr_db):
            return "same"
        classes = "" if self.agreement is None else f", {self.agreement:.0%} of classes"
        return f"{self.sqnr_db:.1f} dB{classes}{', seeded' if self.seeded else ''}"

    def row(self) -> dict[str, object]:
        """Return all figures, flat."""
        intervals = {f"energy_pj_{name}_{bound}": value for name, part in self.energy.items()
                     for bound, value in part.bounds.items()}
        best = self.point.clocks[0]
        return {
            **self.point.labels, "executes": self.executes, "differs": self.differs,
            "operands": self.known,
            "cycles": self.cycles, "frames_per_s": self.frames_per_s,
            "clock_mhz": self.point.clock.mhz, "clock_evidence": self.point.clock.evidence.KIND,
            "supported_mhz": best.mhz, "supported_evidence": best.evidence.KIND,
            "speedup": self.speedup,
            "energy_ratio": self.energy_ratio, "baseline": self.baseline,
            "bound_by": self.bound_by, "skipped_nothing": self.idle,
            "utilization": self.utilization, "mac_units": self.mac_units,
            "multipliers": self.multipliers,
            "bytes_read": self.counters["bytes_read"],
            "bytes_written": self.counters["bytes_written"], "macs": self.counters["macs"],
            **{f"bytes_of_{kind}": size for kind, size in self.traffic.items()},
            "seeded_weights": self.seeded,
            "sqnr_db": self.sqnr_db if self.sqnr_db is None or isfinite(self.sqnr_db) else None,
            "same_bits": self.sqnr_db == float("inf"), "same_class": self.agreement, **intervals}


def measured(point: Point, run: Run, energy_table: str, label: str = "") -> Outcome:
    """Return a point's figures, not yet compared; ``label`` is what the point is called."""
    hw, count = point.hardware.config, len(run.results) * point.batch
    table, clock = find_table(energy_table), point.clock
    total, lost = Counter[str](), Counter[str]()
    spent: dict[str, Interval] = {}
    traffic = dict.fromkeys(dict.fromkeys(KINDS.values()), 0.0)
    for result in run.results:
        for act, size in result.acts.items():
            if act.component == "dram":
                traffic[KINDS[act.operand]] += size / count
        total.update(result.counters)
        lost.update(result.losses.by_cause())
        parts = energy(result, hw, table, clock.mhz)
        for name, part in {**parts.by_component(), "total": parts.total}.items():
            spent[name] = spent.get(name, table.price("")) + part * (1 / count)
    counters = {name: value / count for name, value in total.items()}
    return Outcome(
        point, label, run.executes, run.known, counters["cycles"],
        clock.frames_per_s(counters["cycles"]), spent, counters,
        {name: value / count for name, value in lost.items()}, run.results[-1].layers, run.quality,
        run.agreement, traffic, run.idle)
