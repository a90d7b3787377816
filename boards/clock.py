"""Clocks, and the evidence that the accelerator would run at them: frames/s are cycles at a clock.

Three kinds of evidence, the strongest first: *routed*, a tool placed and routed all of the
accelerator at that clock; *levels*, its deepest logic in LUT levels, turned into time by a rule;
*assumed*, neither.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Assumed:
    """Nothing that was measured; ``because`` says why this clock and no other."""

    KIND: ClassVar[str] = "assumed"

    because: str


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How long LUT levels take on a part.

    Attributes
    ----------
    part : str
        Which part, with its speed grade.
    level_ns : float
        A LUT and the wire behind it.
    register_ns : float
        From the clock to the output of the flip-flop where a path begins.
    source : str
        Where both come from.
    """

    part: str
    level_ns: float
    register_ns: float
    source: str

    def mhz(self, levels: float) -> float:
        """Return the clock that logic of so many levels supports."""
        return 1000 / (self.register_ns + levels * self.level_ns)


ECP5 = Rule(part="LFE5U-85F, speed grade 6", level_ns=1.74, register_ns=0.52, source=(
    "the critical path of all of nano, 8.2 levels in 14.8 ns, routed by nextpnr-ecp5 0.11.1 at "
    "c331720"))
"""More than half of that path is wires. Eight units of nano, each routed alone, have 1.27 ns a
level, as their wires are shorter; the weights of :mod:`deltamoe.boards.synthesis.levels` are of the
paths of these."""

ULTRASCALE_PLUS = Rule(part="XCZU9EG", level_ns=0.5, register_ns=0, source=(
    "assumed: half a nanosecond for a LUT and its wire, a round number; no tool here routes the "
    "part, and no data sheet gives a wire's delay"))


@dataclass(frozen=True, kw_only=True)
class Levels:
    """The deepest logic between two registers of all the accelerator.

    Attributes
    ----------
    levels : float
        LUT levels, as ``deltamoe synth --depth`` counts them.
    rule : Rule
        What turns them into time, on which part.
    commit : str
        Where they were counted.
    """

    KIND: ClassVar[str] = "levels"

    levels: float
    rule: Rule
    commit: str

    @property
    def because(self) -> str:
        return (f"{self.levels:.1f} LUT levels on {self.rule.part} (at {self.commit}) of "
                f"{self.rule.level_ns:g} ns each, and {self.rule.register_ns:g} ns of a register; "
                f"{self.rule.source}")


@dataclass(frozen=True, kw_only=True)
class Routed:
    """All of the accelerator, placed and routed.

    Attributes
    ----------
    tool, part : str
        Which tool, with its version, on what.
    date, commit : str
        When it was routed, and what.
    seed : int
        Where the placer began.
    """

    KIND: ClassVar[str] = "routed"

    tool: str
    part: str
    date: str
    commit: str
    seed: int

    @property
    def because(self) -> str:
        return (f"routed by {self.tool} on {self.part}, {self.date}, commit {self.commit}, seed "
                f"{self.seed}")


Evidence = Assumed | Levels | Routed
"""What a clock rests on; ``because`` says it in words."""


@dataclass(frozen=True)
class Clock:
    """A clock, and what it rests on."""

    mhz: float
    evidence: Evidence

    def __str__(self) -> str:
        return f"{self.mhz:.4g} MHz ({self.evidence.KIND})"

    def frames_per_s(self, cycles: float) -> float:
        """Return the frames of so many cycles in a second."""
        return self.mhz * 1e6 / cycles

    def figures(self) -> dict[str, float | str]:
        """Return the clock as JSON has it."""
        return {"mhz": self.mhz, "evidence": self.evidence.KIND, "because": self.evidence.because}


def by_levels(levels: float, rule: Rule, commit: str) -> Clock:
    """Return the clock that the deepest logic supports."""
    return Clock(rule.mhz(levels), Levels(levels=levels, rule=rule, commit=commit))


def rates(cycles: float, clocks: Iterable[Clock]) -> list[dict[str, float | str]]:
    """Return the frames/s at each clock, as JSON has them."""
    return [{"frames_per_s": clock.frames_per_s(cycles), **clock.figures()} for clock in clocks]


def speed(cycles: float, clocks: Iterable[Clock]) -> str:
    """Return the frames/s at each clock, for people."""
    return ", ".join(f"{clock.frames_per_s(cycles):,.4g} frames/s at {clock}" for clock in clocks)
