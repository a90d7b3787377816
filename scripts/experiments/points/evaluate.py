"""Points: each simulated, exactly as the hardware runs it or as a mechanism would."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, log10
from pathlib import Path
from typing import TYPE_CHECKING

from deltamoe.experiments.points.point import DENSE as INFERENCE
from deltamoe.experiments.points.point import Point
from deltamoe.experiments.points.setting import Setting
from deltamoe.experiments.points.subject import Subject
from deltamoe.golden.operators import Part
from deltamoe.golden.sparsity.names import Product
from deltamoe.golden.sparsity.work import Frame
from deltamoe.golden.temporal.policy import Choice, Plan, Policy
from deltamoe.rtl.compiler.assembler import Program
from deltamoe.rtl.compiler.entry import DENSE
from deltamoe.rtl.compiler.tensors import Quantized
from deltamoe.sim.experts import Remaining, chosen, renamed
from deltamoe.sim.facts import Facts
from deltamoe.sim.machine import simulate
from deltamoe.sim.report.spans import Result
from deltamoe.sim.work import weights_of, worked

if TYPE_CHECKING:
    from deltamoe.experiments.points.foreign import Foreign

ENOUGH = 0.85
"""Density of an operand below which its weights are placed for few events."""


def few(densities: Mapping[Product, float]) -> set[Product]:
    """Return the operators whose operands have few events."""
    return {operator for operator, density in densities.items() if density < ENOUGH}


@dataclass(frozen=True)
class Run:
    """Simulations of a point, one for each frame that counts, of ``batch`` images each.

    ``sqnr_db`` and ``same_class`` compare with dense inference; ``executes`` is ``rtl`` if the
    hardware runs exactly this, else ``model``; ``known`` what is known of the data; ``idle`` that
    a policy other than dense saved no multiplication and no weight byte of any frame.
    """

    results: tuple[Result, ...]
    sqnr_db: tuple[float | None, ...]
    same_class: tuple[bool | None, ...]
    executes: str
    known: str
    idle: bool = False

    @property
    def quality(self) -> float | None:
        """The frames' mean noise-to-signal ratio in dB, inverted; infinite if none has noise."""
        known = [10 ** (-value / 10) for value in self.sqnr_db if value is not None]
        if len(known) < len(self.sqnr_db):
            return None
        return -10 * log10(sum(known) / len(known)) if any(known) else inf

    @property
    def agreement(self) -> float | None:
        """Share of the frames with the class of dense inference, if all are known."""
        known = [value for value in self.same_class if value is not None]
        return sum(known) / len(known) if len(known) == len(self.same_class) else None


def sparse(frames: Sequence[Frame]) -> set[Product]:
    """Return the operators that have few events: zero-skipping places them differently."""
    density: dict[Product, list[float]] = {}
    for frame in frames:
        for product, work in frame.works.items():
            share = 1.0 if work.events is None else float(work.events.mean() if work.rows else 1)
            density.setdefault(product.whole, []).append(share)
    return few({operator: sum(shares) / len(shares) for operator, shares in density.items()})


class Evaluator:
    """Runs points; keeps what they have in common.

    Without ``operands``, only the dimensions and the routing of networks are known.
    """

    def __init__(self, *, operands: bool) -> None:
        self.operands = operands
        self.subjects: dict[tuple[str, str], Subject] = {}
        self.foreign: dict[str, Foreign] = {}

    def subject(self, point: Point) -> Subject:
        """Return what a point shows; other models' data is given up, as points go by model."""
        key = point.labels["model"], point.labels["input"]
        if key not in self.subjects:
            self.subjects = {known: subject for known, subject in self.subjects.items()
                             if known[0] == key[0]}
            self.subjects[key] = Subject(point.model, point.input, operands=self.operands)
        return self.subjects[key]

    def run(self, point: Point) -> Run:
        """Simulate a point by what is known of it.

        Raises
        ------
        ValueError
            The network does not fit the hardware, or the mechanism the network.
        """
        if point.model.trace:
            return self.traced(point)
        subject = self.subject(point)
        if not self.operands:
            outline, routing = subject.outline()
            setting, later = setting_of(outline, point), (routing,) * (point.batch - 1)
            result = setting.simulated(setting.program(batch=point.batch),
                                       Facts(routing.routed, later=later))
            return Run((result,), (inf,), (None,), "rtl", subject.known)
        if point.policy.mechanism.executed and point.input.kind in {"image", "video"}:
            return exact(subject, point)
        return modeled(subject, point)

    def traced(self, point: Point) -> Run:
        """Simulate the work that is left of the layers of a trace."""
        from deltamoe.experiments.points.foreign import Foreign

        name, dense = point.model.trace, point.policy.name == Policy.DENSE
        if name not in self.foreign:
            self.foreign[name] = Foreign(Path(name))
        network = self.foreign[name]
        few = sparse(network.left(point.policy))
        results = network.run(point.policy, point.hardware.config, point.memory_model, few)
        idle = not dense and saves_nothing(network.left(point.policy),
                                           network.left(INFERENCE))
        quality = (inf if dense else None,) * len(results)
        return Run(tuple(results), quality, (None,) * len(results), "model", network.known, idle)


def setting_of(network: Quantized, point: Point) -> Setting:
    """Return where a point's network runs."""
    return Setting(network, point.hardware.config, point.memory_model, point.model.task)


def exact(subject: Subject, point: Point) -> Run:
    """Simulate what the hardware does, frame after frame."""
    network, plan, traces = subject.executed(point.policy, point.hardware.config)
    pairs = list(zip(traces, subject.ran(DENSE), strict=True))
    quality = tuple(noise(trace, dense) for trace, dense in pairs)
    agrees = tuple(same(trace.predicted, dense.predicted) for trace, dense in pairs)
    results = setting_of(network, point).ran(plan, counted(traces), point.batch,
                                             continues=len(traces) > 1)
    idle = point.policy.name != Policy.DENSE and all(
        result.counters["macs"] >= point.batch * frame.macs
        for result, frame in zip(results, counted(subject.dense), strict=True))
    return Run(results, *map(counted, (quality, agrees)), "rtl", subject.known, idle)


def modeled(subject: Subject, point: Point) -> Run:
    """Simulate the work that a mechanism leaves, frame by frame; all of it is dense inference."""
    frames = subject.left(point.policy)
    network = subject.network if subject.record.model else subject.outline()[0]
    plan = Plan(Choice(Policy.DENSE), dict.fromkeys(sparse(frames), Choice(Policy.ZERO_SKIP)))
    compiled, memory = Compiled(subject, point, plan, network), point.memory_model
    agrees = tuple(same(frame.predicted, moment.predicted) for frame, moment in zip(
        frames, subject.record.frames, strict=True))
    left, dense = counted(frames), point.policy.name == Policy.DENSE
    return Run(tuple(simulate(*compiled.left(frame), memory) for frame in left),
               tuple(inf if dense else frame.sqnr_db for frame in left), counted(agrees),
               "rtl" if dense else "model", subject.known,
               not dense and saves_nothing(left, counted(subject.dense)))


def counted(values: Sequence) -> tuple:
    """Return those of the frames that count: all behind the first, or the only one."""
    return tuple(values[1:] or values)


def saves_nothing(frames: Sequence[Frame], dense: Sequence[Frame]) -> bool:
    """Return whether no frame has fewer multiplications or weight bytes than dense inference."""
    return all(sum(work.macs for work in left.works.values()) >= whole.macs
               and left.loaded_bytes >= whole.loaded_bytes
               for left, whole in zip(frames, dense, strict=True))


class Compiled:
    """Programs of a network for a modeled point, one for each choice of its experts."""

    def __init__(self, subject: Subject, point: Point, plan: Plan, network: Quantized) -> None:
        self.subject, self.point, self.plan, self.network = subject, point, plan, network
        self.programs: dict[str, Program] = {}

    def left(self, frame: Frame) -> tuple[Program, Facts]:
        """Return a program of the experts that exist, and a batch of a frame's work in it."""
        experts, network, weights = chosen(frame), self.network, None
        if experts:
            gates = all(work.columns == 2 * len(experts[product.layer])
                        for product, work in frame.works.items() if product.part == Part.GATE)
            weights = weights_of(network.config) if not gates else None
            network = Remaining(network, experts, self.subject.usage(self.point.policy),
                                gates=gates)
        key = repr(experts)
        if key not in self.programs:
            self.programs[key] = setting_of(network, self.point).program(
                self.plan, self.point.batch)
        left = renamed(frame, experts) if experts else frame
        return worked(self.programs[key], [left] * self.point.batch, weights)


def same(one: int | None, other: int | None) -> bool | None:
    """Return whether two classes are the same, if both are known."""
    return None if one is None or other is None else one == other


def noise(trace, dense) -> float:
    """Return the signal-to-noise ratio of an output in dB; infinite if no bit differs."""
    from deltamoe.golden.quantization.report import sqnr

    return inf if bool((trace.x == dense.x).all()) else sqnr(trace.x, dense.x)
