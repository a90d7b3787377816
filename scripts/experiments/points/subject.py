"""A network and what it sees: everything that its points have in common, made once."""

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from deltamoe.experiments.points.inputs import InputSpec
from deltamoe.experiments.points.values import ModelSpec, PolicySpec
from deltamoe.golden.sparsity.work import Frame
from deltamoe.golden.temporal.policy import Plan, Policy
from deltamoe.lookup import weights
from deltamoe.rtl.compiler.plans import named
from deltamoe.rtl.config import HwConfig
from deltamoe.sim.facts import Facts, drawn
from deltamoe.sim.outline import Outline, facts

CALIBRATION = 2
"""Frames beside those inferred: for the order of the experts, and for what is calibrated."""

CALIBRATED_ON = {
    "image": "two other images",
    "generator": "two frames of the same scene drawn from another seed",
    "statistics": "two further frames of the same drawing",
    "file": "the very frames they are judged on, so their output is rated too well",
    "trace": "the very frames they are judged on, so their output is rated too well",
}
"""What data-driven mechanisms are calibrated on, by kind of input; a video is drawn or a file."""


class Subject:
    """A model with an input: what it computes, each thing once.

    Without ``operands``, only its dimensions and its routing are known: a preset's own, else one
    that is drawn.
    """

    def __init__(self, model: ModelSpec, source: InputSpec, *, operands: bool) -> None:
        self.config, self.task, self.source = model.config, model.task, source
        self.preset, self.operands = not model.model_extra, operands
        self.networks: dict[str, tuple[Any, Plan]] = {}
        self.traces: dict[Any, list] = {}
        self.frames: dict[str, list[Frame]] = {}
        self.routings: dict[str, dict[int, np.ndarray]] = {}

    @property
    def known(self) -> str:
        """What is known of the data."""
        if self.source.kind == "trace":
            return f"trace {self.source.source}"
        if self.source.kind == "statistics":
            return "drawn: " + ", ".join(
                f"{name} {value:g}" for name, value in self.source.statistics.items())
        if self.operands:
            kind = weights(self.config.name) if self.preset else "seeded"
            return f"a golden run, {kind} weights"
        return "routing of a golden run" if self.preset else "drawn routing"

    @cached_property
    def origin(self):
        """The quantized network, and the one it was made from."""
        from deltamoe.golden.library import find, untrained

        return find(self.config.name) if self.preset else untrained(self.config)

    @property
    def network(self):
        """The quantized network."""
        return self.origin.quantized

    @cached_property
    def pixels(self) -> list:
        """The frames that are shown."""
        from deltamoe.golden.data.video import frames
        from deltamoe.golden.library import default_image

        if self.source.kind == "image":
            return [default_image(self.config)]
        return list(frames(self.source.source, self.config, self.source.count, self.source.seed))

    @cached_property
    def record(self):
        """Operands of a dense run, of a trace, or drawn ones."""
        if self.source.kind == "trace":
            return self.traced()
        if self.source.kind == "statistics":
            from deltamoe.golden.sparsity.generated import generated

            return generated(self.config, **self.source.statistics, frames=self.source.count,
                             seed=self.source.seed)
        from deltamoe.golden.sparsity.record import record

        return record(self.origin, self.pixels, self.task)

    @cached_property
    def calibration(self):
        """What mechanisms are calibrated on, of the same network: see :data:`CALIBRATED_ON`."""
        from deltamoe.golden.data.video import frames
        from deltamoe.golden.library import calibration_images
        from deltamoe.golden.sparsity.record import record

        source = self.source
        if source.kind == "image":
            return record(self.origin, calibration_images(self.config), self.task)
        if source.generated:
            return record(self.origin, frames(source.source, self.config, CALIBRATION,
                                              source.seed + 1), self.task)
        if source.kind == "statistics":
            from deltamoe.golden.sparsity.generated import generated

            more = generated(self.config, **source.statistics, frames=source.count + CALIBRATION,
                             seed=source.seed)
            return replace(more, frames=more.frames[source.count:])
        return self.record

    def left(self, policy: PolicySpec) -> list[Frame]:
        """Return the work that a policy leaves of every frame, its data-driven part from others."""
        if policy.label not in self.frames:
            chosen = policy.mechanism
            self.frames[policy.label] = list(chosen.frames(
                self.record, self.calibration if chosen.calibrated else None, **policy.parameters))
        return self.frames[policy.label]

    @property
    def dense(self) -> list[Frame]:
        """The work of dense inference."""
        return self.left(PolicySpec(name=str(Policy.DENSE)))

    def usage(self, policy: PolicySpec) -> dict[int, np.ndarray]:
        """Return by layer (2, E) the tokens of each expert under a policy that routes.

        In all of the calibration, and the fewest of a frame, as the compiler wants them; empty for
        a policy that does not route, which leaves the network's own.
        """
        mechanism = policy.mechanism
        if mechanism.family != "routing":
            return {}
        if policy.label not in self.routings:
            shown = [frame.routed for frame in mechanism.frames(
                self.calibration, self.calibration, **policy.parameters)]
            self.routings[policy.label] = {
                layer: np.stack([sum(seen[layer] for seen in shown),
                                 np.min([seen[layer] for seen in shown], 0)])
                for layer in shown[0]}
        return self.routings[policy.label]

    def traced(self):
        """Return the record of a trace, which must be the model's."""
        from deltamoe.golden.sparsity.trace_file import load

        path = Path(self.source.source)
        record = load(path)
        if record.config is None or (
                replace(record.config, name="") != replace(self.config, name="")):
            raise ValueError(f"{path}: the trace is of a network with other dimensions than "
                             f"{self.config.name}")
        if record.task != self.task:
            raise ValueError(f"{path}: the trace is of task {record.task}, not {self.task}")
        return record

    def ran(self, plan: Plan, network=None) -> list:
        """Return the traces of all frames under a plan, of another network if one is given."""
        from deltamoe.golden.temporal.frames import Temporal

        key = id(network), tuple(plan.resolve(self.config).items())
        if key not in self.traces:
            run = Temporal(network or self.network, plan)
            self.traces[key] = [run.run(frame, self.task) for frame in self.pixels]
        return self.traces[key]

    def executed(self, policy: PolicySpec, hw: HwConfig) -> tuple[Any, Plan, list]:
        """Return the network and the plan by which hardware does what a policy says, and traces.

        What finds no room on the chip is not remembered.
        """
        if policy.name in tuple(Policy):
            plan = named(policy.name, self.config, hw, self.task,
                         policy.parameters.get("theta", 0))
            return self.network, plan, self.ran(plan)
        if policy.label not in self.networks:
            mechanism = policy.mechanism
            network, plan = mechanism.executed(
                self.calibration if mechanism.calibrated else self.record, **policy.parameters)
            self.networks[policy.label] = self.recounted(network, policy), plan
        network, plan = self.networks[policy.label]
        return network, plan, self.ran(plan, network)

    def recounted(self, network, policy: PolicySpec):
        """Return a network with the usage of its experts under a policy that routes."""
        tensors, frame = dict(network.tensors), self.left(policy)[0]
        for layer, usage in self.usage(policy).items():
            name = f"blocks.{layer}.gate.{self.task}.usage"
            exist = frame.existing.get(layer, slice(None))
            tensors[name] = tensors[name].new_tensor(usage[:, exist])
        return replace(network, tensors=tensors)

    def outline(self) -> tuple[Outline, Facts]:
        """Return a network without values, and its routing."""
        if self.preset:
            return Outline(self.config), facts(self.config, self.task)
        shown, *others = drawn(self.config, 0, images=1 + CALIBRATION)
        seen = {layer: np.stack([other.routed[layer] for other in others])
                for layer in shown.routed}
        return Outline(self.config, {layer: np.stack([tokens.sum(0), tokens.min(0)])
                                     for layer, tokens in seen.items()}), shown
