"""Which points come next, and which are best: Optuna, asked and told in a fixed order.

The points depend on the spec alone. A generation is asked for as a whole, evaluated in any order by
whomever, and told in the order in which it was asked. A sweep that goes on asks for everything
again and finds what was finished in the record.
"""

from collections.abc import Callable
from dataclasses import replace
from random import Random

import optuna
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler

from deltamoe.experiments.sweep.design import Design, excess
from deltamoe.experiments.sweep.record import Record, key
from deltamoe.experiments.sweep.spec import OBJECTIVES, Spec
from deltamoe.experiments.sweep.workers import Workers

BARREN = 20
"""Generations without a new point after which there is taken to be none."""


def sampler(spec: Spec) -> BaseSampler:
    """Return the sampler of a spec; a parameter is the index of its value."""
    if spec.sampler == "tpe":
        return TPESampler(seed=spec.seed, n_startup_trials=spec.generation)
    if spec.sampler == "nsga2":
        return NSGAIISampler(seed=spec.seed, population_size=spec.generation)
    return RandomSampler(seed=spec.seed)


def begin(spec: Spec) -> optuna.Study:
    """Return a study without trials; one of a grid knows all that it will be asked for.

    Optuna's own GridSampler cannot be told its last trial: it stops an ``optimize`` that there is
    not.
    """
    study = optuna.create_study(sampler=sampler(spec),
                                directions=[OBJECTIVES[name] for name in spec.objectives])
    if spec.sampler == "grid":
        for point in Random(spec.seed).sample(range(spec.size), min(spec.points, spec.size)):
            indices = {}
            for name, values in spec.space.items():
                point, indices[name] = divmod(point, len(values))
            study.enqueue_trial(indices)
    return study


def tell(study: optuna.Study, trial: optuna.Trial, spec: Spec, design: Design) -> None:
    """Tell what became of a trial. What is refused is worse than any excess of a limit."""
    if design.refused:
        trial.set_constraint("refused", 1000)
        study.tell(trial, [0] * len(spec.objectives))
        return
    for name, over in excess(spec, design).items():
        trial.set_constraint(name, over)
    study.tell(trial, [design.figures[name] for name in spec.objectives])


def search(spec: Spec, record: Record, workers: Workers,
           advance: Callable[[int], None]) -> tuple[list[Design], int]:
    """Evaluate ``spec.points`` different points, or all if there are fewer.

    Return them in the order in which they were first asked for, and how often was asked.
    ``advance`` is told how many points are finished.
    """
    study, count = begin(spec), min(spec.points, spec.size)
    space = {name: IntDistribution(0, len(values) - 1) for name, values in spec.space.items()}
    seen: dict[str, dict[str, int]] = {}
    asked = barren = 0
    while len(seen) < count and barren < BARREN:
        trials, before = [], len(seen)
        while len(trials) < spec.generation and len(seen) < count:
            trial = study.ask(space)
            values = {name: spec.space[name][index] for name, index in trial.params.items()}
            trials.append((trial, values))
            seen.setdefault(key(values), values)
        new = [values for name, values in seen.items() if name not in record.designs]
        advance(len(seen) - len(new))
        for done, design in enumerate(workers.run(spec, new), 1):
            record.add(design)
            advance(len(seen) - len(new) + done)
        for trial, values in trials:
            tell(study, trial, spec, record.designs[key(values)])
        asked += len(trials)
        barren = barren + 1 if len(seen) == before else 0
    return judged(spec, study, seen, record), asked


def judged(spec: Spec, study: optuna.Study, seen: dict[str, dict[str, int]],
           record: Record) -> list[Design]:
    """Return every design with whether it keeps the limits, and whether no other is better."""
    best = {key({name: spec.space[name][index] for name, index in trial.params.items()})
            for trial in study.best_trials}
    designs = []
    for name, values in seen.items():
        design = record.designs[name]
        fits = not design.refused and max(excess(spec, design).values()) <= 0
        designs.append(replace(design, values=values, fits=fits, best=name in best))
    return designs
