"""Finished points, kept in a database of Optuna's, so that a killed sweep goes on."""

import json
from pathlib import Path

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from scripts.sweep.evaluate import Outcome, sources
from scripts.sweep.spec import OBJECTIVES, Spec

NAME = "sweep"


def key(values: dict[str, int]) -> str:
    """Return what tells points apart."""
    return json.dumps(values, sort_keys=True)


class Record:
    """Outcomes by point.

    Every point is committed as soon as it is finished, in any order. Which points come next does
    not depend on this file but on the spec alone; so it may end anywhere.

    Raises
    ------
    ValueError
        The file is of another sweep or of other sources.
    """

    def __init__(self, path: Path, spec: Spec) -> None:
        self.spec = spec
        try:
            self.study = optuna.create_study(
                storage=f"sqlite:///{path}", study_name=NAME, load_if_exists=True,
                directions=[OBJECTIVES[name] for name in spec.objectives])
        except SQLAlchemyError as error:
            raise ValueError(f"{path}: not a record of a sweep: {error}") from None
        self.agree(path, {**json.loads(spec.model_dump_json(exclude={"points"})),
                          "sources": sources()})
        self.outcomes = {key(trial.params): Outcome(**trial.user_attrs)
                         for trial in self.study.get_trials(deepcopy=False)}

    def agree(self, path: Path, given: dict) -> None:
        """Note what the points depend on, or compare it with what was noted."""
        for name, value in given.items():
            known = self.study.user_attrs.get(name, value)
            if known != value:
                raise ValueError(f"{path} holds a sweep with {name}={known!r}, not {value!r}; "
                                 "choose another --out")
        for name, value in given.items():
            self.study.set_user_attr(name, value)

    def add(self, values: dict[str, int], outcome: Outcome) -> None:
        """Keep a finished point."""
        figures = [outcome.figures[name] for name in self.spec.objectives if outcome.figures]
        self.study.add_trial(create_trial(
            state=TrialState.COMPLETE if figures else TrialState.FAIL, values=figures or None,
            params=values, user_attrs=vars(outcome), distributions={
                name: CategoricalDistribution(choices)
                for name, choices in self.spec.space.items()}))
        self.outcomes[key(values)] = outcome
