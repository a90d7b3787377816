"""``auto`` is never much slower than dense, not on what it saw nor on how that goes on."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import SimpleNamespace

import pytest

from deltamoe.api.video import places
from deltamoe.boards import PRESETS
from deltamoe.experiments.points.setting import Setting
from deltamoe.experiments.policy_search import Screen, Search, automatic
from deltamoe.golden.data.video import frames
from deltamoe.golden.integer import infer
from deltamoe.golden.library import find
from deltamoe.golden.operators import EVERY, Operator, Part
from deltamoe.golden.temporal.frames import Temporal
from deltamoe.golden.temporal.policy import Choice, Plan, Policy
from deltamoe.rtl.compiler.entry import DENSE, compile_program
from deltamoe.rtl.compiler.plans import Unit, named
from deltamoe.rtl.program import Store, Target
from deltamoe.sim.facts import from_trace
from deltamoe.sim.machine import simulate
from deltamoe.sim.memory import MemoryModel

SEEN, UNSEEN = 4, 3

NANO = PRESETS["nano"]
SMALL = replace(NANO, name="small", state_words=96, reference_words=128)
"""Too small for most of what layers keep, which then streams."""


def cycles(plan: Plan, trace, memory: MemoryModel, hw, *, later: bool) -> int:
    network = find("digits").quantized
    program = compile_program(network, hw, 0, plan, continues=later)
    return simulate(program, from_trace(trace, network.config, plan), memory).cycles


@pytest.mark.parametrize("video", ["fixed", "object", "pan"])
@pytest.mark.parametrize(("hw", "interval", "theta"), [
    (NANO, 1, 0), (NANO, 1, 3), (SMALL, 1, 0), (SMALL, 16, 0)],
    ids=["nano", "nano-theta", "small", "small-slow"])
def test_auto_loses_at_most_one_percent(video: str, hw, interval: int, theta: int) -> None:
    network, memory = find("digits").quantized, MemoryModel(20, interval)
    shown = list(frames(f"generator:{video}", network.config, SEEN + UNSEEN, 5))
    tried, *plans, plan = automatic(Setting(network, hw, memory), theta, shown[:SEEN])
    assert 1 < len(plans) < tried
    kept = Temporal(network, plan)
    for number, frame in enumerate(shown):
        mine, whole = kept.run(frame, 0), infer(network, frame, 0)
        if number >= SEEN - 1:
            most = cycles(DENSE, whole, memory, hw, later=True)
            assert cycles(plan, mine, memory, hw, later=True) <= 1.01 * most


def test_dense_wins_where_nothing_stays() -> None:
    """Frames of noise through a slow memory: all that could be kept changes."""
    network, memory = find("digits").quantized, MemoryModel(20, 64)
    shown = [next(iter(frames("generator:object", network.config, 1, seed))).flip(seed % 2)
             for seed in range(SEEN)]
    *_, plan = automatic(Setting(network, SMALL, memory), 0, shown)
    before = cycles(DENSE, infer(network, shown[-1], 0), memory, SMALL, later=True)
    own = Temporal(network, plan)
    *_, trace = [own.run(frame, 0) for frame in shown]
    assert cycles(plan, trace, memory, SMALL, later=True) <= before


@pytest.mark.parametrize("hw", [NANO, SMALL], ids=["nano", "small"])
def test_state_is_said_where_it_is(hw) -> None:
    """In memory is what the program stores there; each operator that remembers is named."""
    network = find("digits").quantized
    plan = named("delta", network.config, hw)
    program = compile_program(network, hw, 0, plan, continues=True)
    stored = {str(label.subject) for label, word in zip(
        program.labels, program.descriptors, strict=True)
        if isinstance(word, Store) and word.target == Target.STATE}
    said = places(plan, network.config, hw, 0)
    assert list(said) == list(map(str, plan.operators))
    assert stored == {name for name, where in said.items() if where == "memory"}
    assert bool(stored) == (hw is SMALL)


def test_it_is_said_where_token_gates_keep_what() -> None:
    """One block's is on chip, the others' in memory, sums and what is compared."""
    network, hw = find("digits").quantized, replace(
        NANO, name="medium", state_words=700, reference_words=512)
    plan = named("token-gate", network.config, hw)
    program = compile_program(network, hw, 0, plan, continues=True)
    said = places(plan, network.config, hw, 0)
    assert list(said) == list(map(str, plan.operators))
    for target in (Target.STATE, Target.REFERENCE):
        stored = {label.operator.layer for label, word in zip(
            program.labels, program.descriptors, strict=True)
            if isinstance(word, Store) and word.target == target}
        assert stored == {1, 2, 3}
        assert {str(operator): "memory" if operator.layer in stored else "on chip"
                for operator in plan.operators} == said


def test_auto_follows_experts_whose_operands_hardly_move() -> None:
    network = find("digits").quantized
    shown = list(frames("generator:fixed", network.config, SEEN, 5))
    *_, plan = automatic(Setting(network, NANO, MemoryModel()), 0, shown)
    assert {Operator(Part.FC2, layer, EVERY) for layer in (1, 3)} <= plan.operators.keys()


def own(plan: Plan, shown, memory: MemoryModel, hw) -> int:
    """Cycles of the last frame by the plan's own run."""
    run = Temporal(find("digits").quantized, plan)
    *_, trace = [run.run(frame, 0) for frame in shown]
    return cycles(plan, trace, memory, hw, later=True)


def test_with_theta_no_tried_plan_is_faster() -> None:
    """Each by its own run: what one layer leaves out changes what the next ones see."""
    network, memory, theta = find("digits").quantized, MemoryModel(20), 4
    shown = list(frames("generator:pan", network.config, SEEN, 2))
    _, *plans, chosen = automatic(Setting(network, NANO, memory), theta, shown)
    with_theta = [plan for plan in plans
                  if any(choice.theta for choice in plan.operators.values())]
    assert with_theta
    assert own(chosen, shown, memory, NANO) == min(
        own(plan, shown, memory, NANO) for plan in [*with_theta[::4], chosen, plans[0]])


@pytest.mark.parametrize(("hw", "interval"), [(NANO, 1), (SMALL, 4)],
                         ids=["nano", "small-slow"])
def test_theta_makes_nothing_slower(hw, interval: int) -> None:
    network, memory = find("digits").quantized, MemoryModel(20, interval)
    shown = list(frames("generator:fixed", network.config, 3, 5))
    setting = Setting(network, hw, memory)
    exact, close = ([*automatic(setting, theta, shown)][-1] for theta in (0, 2))
    assert own(close, shown, memory, hw) <= own(exact, shown, memory, hw)


def test_a_plan_without_theta_competes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a theta costs cycles it is left, and was tried where none was best."""
    def judge(screen: Screen, plan: Plan) -> int:
        thetas = any(choice.theta for choice in plan.operators.values())
        return 1000 - len(plan.operators) + 5000 * thetas

    network = find("digits").quantized
    shown = list(frames("generator:fixed", network.config, 2, 5))
    monkeypatch.setattr(Screen, "judge", judge)
    monkeypatch.setattr(Screen, "own", judge)
    _, *plans, chosen = automatic(Setting(network, NANO, MemoryModel()), 2, shown)
    assert len(chosen.operators) > 10
    assert not any(choice.theta for choice in chosen.operators.values())
    assert any(plan.operators.keys() == chosen.operators.keys() for plan in plans
               if all(choice.theta for choice in plan.operators.values()
                      if choice.policy == Policy.DELTA))


@pytest.mark.parametrize(
    "hw", [NANO, replace(NANO, name="still", state_words=0, reference_words=0)],
    ids=["keeps", "keeps-nothing"])
def test_a_negative_theta_is_refused(hw) -> None:
    network = find("digits").quantized
    shown = list(frames("generator:fixed", network.config, 1, 5))
    with pytest.raises(ValueError, match="theta=-1 of the default"):
        next(automatic(Setting(network, hw, MemoryModel()), -1, shown))


def test_dense_wins_over_what_its_own_run_refutes(monkeypatch: pytest.MonkeyPatch) -> None:
    network = find("digits").quantized
    shown = list(frames("generator:fixed", network.config, 2, 5))
    monkeypatch.setattr(Screen, "judge", lambda screen, plan: 1000 - len(plan.operators))
    monkeypatch.setattr(Screen, "own", lambda screen, plan: 1000 + len(plan.operators))
    *_, chosen = automatic(Setting(network, NANO, MemoryModel()), 0, shown)
    assert not chosen.operators
    assert chosen.default == Choice(Policy.DENSE)


@pytest.mark.parametrize("policy", ["delta", "token-gate"])
def test_all_plans_share_the_first_frame(policy: str) -> None:
    network, memory = find("digits").quantized, MemoryModel(20)
    shown = list(frames("generator:pan", network.config, 2, 2))
    plan = named(policy, network.config, NANO, theta=3)
    assert Screen(Setting(network, NANO, memory), shown).own(plan) == own(plan, shown, memory, NANO)


BLOCKS = 4


def unit(operators: Iterable[Operator], saved: int, beats: int,
         policy: Policy = Policy.DELTA) -> Unit:
    """A unit that streams, and saves and reads so many cycles."""
    return Unit(dict.fromkeys(operators, Choice(policy)), 0, beats, saved * NANO.mac_units, (0, 0))


def searched(units: Iterable[Unit], judge: Callable[[Plan], float],
             skipping: Mapping[Operator, Choice] | None = None) -> tuple[Search, list[Plan]]:
    """Search with cycles that a function says, next to nothing fitting on chip."""
    screen = SimpleNamespace(judge=judge, setting=SimpleNamespace(
        hw=replace(NANO, reference_words=4), memory=MemoryModel()))
    search = Search(screen, skipping or {}, list(units))
    return search, list(search.run(frozenset()))


def layers(part: Part, saved: Iterable[int], beats: int) -> list[Unit]:
    return [unit([Operator(part, layer)], one, beats) for layer, one in enumerate(saved)]


def found(search: Search) -> set[Operator]:
    return set(search.plan(search.best()).operators)


def beside(units: Iterable[Unit], room: int) -> Callable[[Plan], float]:
    """A block of 100 cycles, less what is saved, if its state is read in ``room`` and that."""
    unit_of = {operator: one for one in units for operator in one.choices}

    def judge(plan: Plan) -> float:
        total = 0
        for layer in range(BLOCKS):
            kept = [unit_of[operator] for operator in plan.operators if operator.layer == layer]
            compute = 100 - sum(one.macs for one in kept) // NANO.mac_units
            total += max(compute, 60 - room + sum(one.beats() for one in kept))
        return total

    return judge


def test_kinds_that_pay_alone_and_not_together() -> None:
    """``proj`` and ``fc1`` have no room together; ``fc2`` has, but one of them gains nothing."""
    units = [*layers(Part.PROJ, [20] * BLOCKS, 20), *layers(Part.FC1, [45] * BLOCKS, 40),
             *layers(Part.FC2, [10] * BLOCKS, 5)]

    def judge(plan: Plan) -> float:
        kinds = {operator.part for operator in plan.operators}
        return beside(units, 60)(plan) + 12 * len(kinds)

    search, _ = searched(units, judge)
    assert found(search) == {Operator(part, layer) for layer in range(BLOCKS)
                             for part in (Part.FC1, Part.FC2)}


def test_a_layer_unlike_its_kind() -> None:
    """One ``fc2`` saves nothing and one ``fc1`` much."""
    units = [*layers(Part.FC2, [40, 40, 5, 40], 15), *layers(Part.FC1, [5, 5, 60, 5], 50)]

    def judge(plan: Plan) -> float:
        return beside(units, 60)(plan) + 12 * len(plan.operators)

    search, _ = searched(units, judge)
    assert found(search) == {Operator(Part.FC1, 2), *(Operator(Part.FC2, n) for n in (0, 1, 3))}


def test_a_gate_is_whole_or_not_there() -> None:
    """It takes the place of the layers that it shares with others, and they its own."""
    gates = [unit([Operator(part, layer) for part in (Part.FC1, Part.FC2)], 0, 1, Policy.TOKEN_GATE)
             for layer in range(BLOCKS)]
    gated, skip = Choice(Policy.TOKEN_GATE), Choice(Policy.ZERO_SKIP)

    def judge(plan: Plan) -> float:
        cost = 0
        for layer in range(BLOCKS):
            first, second = (plan.operators.get(Operator(part, layer))
                             for part in (Part.FC1, Part.FC2))
            assert (first == gated) == (second == gated)
            cost += (50 if layer != 2 else 90) if first == gated else (
                100 - 30 * (second == Choice(Policy.DELTA)) - 4 * (first == skip))
        return cost

    search, _ = searched([*layers(Part.FC2, [0] * BLOCKS, 1), *gates], judge,
                         {Operator(Part.FC1, layer): skip for layer in range(BLOCKS)})
    plan = search.plan(search.best())
    assert plan.operators == {
        Operator(part, layer): (gated if layer != 2 else skip if part == Part.FC1 else
                                Choice(Policy.DELTA))
        for layer in range(BLOCKS) for part in (Part.FC1, Part.FC2)}


def test_a_search_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many plans, each of them another."""
    units = [*layers(Part.FC2, [40] * BLOCKS, 15), *layers(Part.FC1, [5] * BLOCKS, 50)]
    _, plans = searched(units, beside(units, 60))
    assert len({frozenset(plan.operators) for plan in plans}) == len(plans) > 5
    monkeypatch.setattr(Search, "MOST", 5)
    search, fewer = searched(units, beside(units, 60))
    assert fewer == plans[:5]
    assert found(search) == {Operator(Part.FC2, layer) for layer in range(BLOCKS)}
