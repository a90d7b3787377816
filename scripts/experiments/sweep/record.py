"""Finished points, kept in a database of Optuna's, so that a killed sweep goes on."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from deltamoe.experiments.sweep.design import Design, sources
from deltamoe.experiments.sweep.spec import OBJECTIVES, Spec
from deltamoe.host.files import naming

NAME = "sweep"


def key(values: dict[str, int]) -> str:
    """Return what tells points apart."""
    return json.dumps(values, sort_keys=True)


class Record:
    """Finished designs, by what tells them apart.

    Every point is committed as soon as it is finished, in any order. Which points come next does
    not depend on this file but on the spec alone; so it may end anywhere.

    Raises
    ------
    ValueError
        The file is of another sweep or of other sources.
    OSError
        The file cannot be written; names it.
    """

    def __init__(self, path: Path, spec: Spec) -> None:
        self.path, self.spec = path, spec
        with naming(path):
            path.touch()  # with the mode of other files; SQLite's own has no write for a group
        with self.storing():
            self.study = optuna.create_study(
                storage=RDBStorage("sqlite://", engine_kwargs={
                    "creator": partial(sqlite3.connect, path), "poolclass": NullPool}),
                study_name=NAME, load_if_exists=True,
                directions=[OBJECTIVES[name] for name in spec.objectives])
            self.agree(path, {**json.loads(spec.model_dump_json(exclude={"points"})),
                              "sources": sources()})
            self.designs = {key(trial.params): Design(trial.params, **trial.user_attrs)
                            for trial in self.study.get_trials(deepcopy=False)}

    @contextmanager
    def storing(self) -> Iterator[None]:
        """Turn an error of the database into one that names the file."""
        try:
            yield
        except (SQLAlchemyError, StorageInternalError) as error:
            cause = error.__cause__ if isinstance(error, StorageInternalError) else error
            said = getattr(cause, "orig", None) or error
            if isinstance(said, sqlite3.OperationalError):
                raise OSError(None, str(said), str(self.path)) from None
            raise ValueError(f"{self.path}: not a record of a sweep: {said}") from None

    def agree(self, path: Path, conditions: dict) -> None:
        """Note what the points depend on, or compare it with what was noted."""
        for name, value in conditions.items():
            known = self.study.user_attrs.get(name, value)
            if known != value:
                raise ValueError(f"{path} holds a sweep with {name}={known!r}, not {value!r}; "
                                 "choose another --out")
        for name, value in conditions.items():
            self.study.set_user_attr(name, value)

    def add(self, design: Design) -> None:
        """Keep a finished design."""
        values = [design.figures[name] for name in self.spec.objectives if design.figures]
        with self.storing():
            self.study.add_trial(create_trial(
                state=TrialState.COMPLETE if values else TrialState.FAIL, values=values or None,
                params=design.values,
                user_attrs={"figures": design.figures, "refused": design.refused},
                distributions={name: CategoricalDistribution(choices)
                               for name, choices in self.spec.space.items()}))
        self.designs[key(design.values)] = design
