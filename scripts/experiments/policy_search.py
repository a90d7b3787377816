"""The plan ``auto``: for each layer what pays on the first frames of a video."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from deltamoe.experiments.points.evaluate import few
from deltamoe.experiments.points.setting import Setting
from deltamoe.golden.config import ModelConfig
from deltamoe.golden.data.video import Pixels
from deltamoe.golden.integer import Trace
from deltamoe.golden.operators import Operator
from deltamoe.golden.quantization.quantized import QuantizedModel
from deltamoe.golden.temporal.frames import Temporal
from deltamoe.golden.temporal.policy import Choice, Plan, Policy
from deltamoe.rtl.compiler.plans import Unit, delta_units, fill, gate_units
from deltamoe.rtl.config import HwConfig


def share(unit: Unit, traces: Sequence[Trace]) -> float:
    """Return the share of a unit's multiplications that later frames still need."""
    first = next(iter(unit.choices))
    if unit.choices[first].policy == Policy.TOKEN_GATE:
        masks = [trace.sent[first].any(-1) for trace in traces]
    else:
        masks = [mask for trace in traces for product, mask in trace.sent.items()
                 if product.whole in unit.choices]
    return sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)


def zero_skipping(model: QuantizedModel, task: int, frame: Pixels) -> dict[Operator, Choice]:
    """Return the operators with enough zeros in their operands."""
    skip, events, elements = Choice(Policy.ZERO_SKIP), Counter(), Counter()
    for product, mask in Temporal(model, Plan(skip)).run(frame, task).sent.items():
        events[product.whole] += int(mask.sum())
        elements[product.whole] += mask.numel()
    return dict.fromkeys(few({operator: count / elements[operator]
                              for operator, count in events.items()}), skip)


def savings(config: ModelConfig, hw: HwConfig, task: int, theta: int, traces: Sequence[Trace]
            ) -> list[Unit]:
    """Return the units that a plan chooses among, with what later frames save of their MACs."""
    units = (*delta_units(config, hw, theta), *gate_units(config, hw, task, theta))
    return [replace(unit, macs=round(unit.macs * (1 - share(unit, traces)))) for unit in units]


def kind(unit: Unit) -> tuple[tuple[Operator, Policy], ...]:
    """Return what a unit has in common with those of other blocks."""
    return tuple((replace(operator, layer=None), choice.policy)
                 for operator, choice in unit.choices.items())


class Screen:
    """Frames, and the cycles of the last one by plan.

    A plan without theta is judged by the differences of one run that follows every operand; one
    with a theta by its own run, since what a layer leaves out changes the others' differences. The
    first frame, which is whole, is common to all.
    """

    def __init__(self, setting: Setting, frames: Sequence[Pixels]) -> None:
        self.setting, self.frames = setting, frames
        whole = Temporal(setting.network, Plan(Choice(Policy.DELTA)))
        whole.run(frames[0], setting.task)
        self.states = whole.states
        self.exact = self.follow(Plan(Choice(Policy.DELTA)))

    def follow(self, plan: Plan) -> list[Trace]:
        """Return what a plan makes of the frames behind the first, or of the only one.

        It starts with the states of all operators; those that do not remember ignore them.
        """
        run, later = Temporal(self.setting.network, plan), self.frames[1:]
        if later:
            run.states = self.states
        return [run.run(frame, self.setting.task) for frame in later or self.frames]

    def own(self, plan: Plan) -> int:
        """Return the cycles by the plan's own run."""
        return self.cycles(plan, self.follow(plan)[-1])

    def judge(self, plan: Plan) -> int:
        """Return the cycles, by its own run only if that makes a difference."""
        if any(choice.theta for choice in plan.operators.values()):
            return self.own(plan)
        return self.cycles(plan, self.exact[-1])

    def cycles(self, plan: Plan, trace: Trace) -> int:
        """Return the cycles of a frame that made a trace."""
        result, = self.setting.ran(plan, [trace], continues=len(self.frames) > 1)
        return result.cycles


Parts = frozenset[int]
"""What a plan is made of, by number."""


class Search:
    """Hill climbing among plans by what they are made of.

    Part 0 is zero-skipping, in the operators in which no other part has a say; the others are
    units of :mod:`deltamoe.rtl.compiler.plans`, of which those that stream go with each other.
    Steps are a kind of layer in or out, the best of all, and at last one unit after the other: in,
    or out if it does not pay by itself. How long units take beside each other no sum of their own
    says, since their state shares windows and a memory.
    """

    MOST = 100
    """Plans that are tried."""

    def __init__(self, screen: Screen, skipping: Mapping[Operator, Choice], units: Sequence[Unit]
                 ) -> None:
        self.screen, self.units = screen, units
        self.choices = [skipping, *(unit.choices for unit in units)]
        self.costs: dict[Parts, int] = {}
        self.zeros = Parts({0} if skipping else ())
        self.streaming = [number for number, unit in enumerate(units, 1)
                          if unit.streams(screen.setting.hw)]
        self.free = self.zeros.union(self.streaming)
        kinds: dict[tuple, list[int]] = {}
        for number in self.streaming:
            kinds.setdefault(kind(units[number - 1]), []).append(number)
        self.groups = [*filter(None, [self.zeros]), *map(Parts, kinds.values())]

    def plan(self, parts: Parts) -> Plan:
        """Return the plan; zero-skipping gives way."""
        return Plan(Choice(Policy.DENSE), {
            operator: choice for part in sorted(parts)
            for operator, choice in self.choices[part].items()})

    def toggled(self, parts: Parts, group: Parts) -> Parts:
        """Return parts without a group that is in them, else with it instead of what it hits."""
        hit = {operator for part in group - {0} for operator in self.choices[part]}
        rest = Parts(part for part in parts - group
                     if not part or not hit & self.choices[part].keys())
        return rest if group <= parts else rest | group

    def pays(self, unit: Unit) -> bool:
        """Tell whether a unit saves more cycles than its state takes to be read."""
        hw, interval = self.screen.setting.hw, self.screen.setting.memory.interval
        return unit.macs / hw.mac_units > unit.beats() * interval

    def attempt(self, *around: Parts) -> Iterator[Plan]:
        """Yield plans when they have been tried, each once."""
        for parts in around:
            if parts not in self.costs and len(self.costs) < self.MOST:
                self.costs[parts] = self.screen.judge(self.plan(parts))
                yield self.plan(parts)

    def best(self, among: Parts | None = None) -> Parts:
        """Return the fastest, of those made of some parts only; of equal ones the first tried."""
        return min((parts for parts in self.costs if among is None or parts <= among),
                   key=self.costs.__getitem__)

    def run(self, start: Parts) -> Iterator[Plan]:
        """Yield plans when they have been tried: from dense, ``start``, or what fits on chip."""
        filled = fill((unit for unit in self.units if unit.macs),
                      self.screen.setting.hw)
        on_chip = Parts(number for number, choices in enumerate(self.choices)
                        if number and choices.items() <= filled.items())
        yield from self.attempt(Parts(), self.zeros, on_chip, on_chip | self.zeros, start)
        parts = None
        while parts != self.best(self.free):
            parts = self.best(self.free)
            yield from self.attempt(*(self.toggled(parts, group) for group in self.groups))
        for number in self.streaming:
            parts = self.best(self.free)
            if number not in parts or not self.pays(self.units[number - 1]):
                yield from self.attempt(self.toggled(parts, Parts({number})))


def automatic(setting: Setting, theta: int, frames: Sequence[Pixels]) -> Iterator[Plan | int]:
    """Yield the most plans that will be tried, each when it has been, and at last the fastest.

    A search with theta 0 comes first. One with ``theta`` goes on from what that found, which
    competes too, so a theta makes nothing slower. The best competes with dense by its own run, so
    it is slower on no video that goes on as it began.

    Raises
    ------
    ValueError
        ``theta`` is negative.
    """
    network, hw, task = setting.network, setting.hw, setting.task
    Plan(Choice(Policy.DELTA, theta)).resolve(network.config)
    screen, skipping = Screen(setting, frames), zero_skipping(network, task, frames[0])
    keeps = hw.temporal and len(frames) > 1
    thetas = sorted({0, theta}) if keeps else [0]
    yield len(thetas) * Search.MOST + 1
    start, fastest = Parts(), []
    for value in thetas:
        traces = screen.exact if not value else screen.follow(Plan(Choice(Policy.DELTA, value)))
        search = Search(screen, skipping, savings(network.config, hw, task, value, traces)
                        if keeps else [])
        yield from search.run(start)
        start = search.best()
        fastest.append((search.costs[start], search.plan(start)))
    best, dense = min(fastest, key=lambda candidate: candidate[0])[1], Plan(Choice(Policy.DENSE))
    yield best if screen.own(best) <= screen.judge(dense) else dense
