"""Presets without weights: the same program and the same cycles as with them."""

from dataclasses import fields, replace

import pytest

from deltamoe.boards import PRESETS
from deltamoe.golden.config import MODELS
from deltamoe.golden.integer import infer
from deltamoe.golden.library import default_image, find
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.rtl.program import Descriptor
from deltamoe.sim.facts import from_trace
from deltamoe.sim.machine import simulate
from deltamoe.sim.outline import Outline, facts

VALUES = {"epsilon", "kappa22", "kappa26", "multiplier", "gain_shift", "shift", "zero_point"}
"""Descriptor fields that depend on the weights and on which no cycle depends."""


def without_values(descriptor: Descriptor) -> Descriptor:
    """Return a descriptor with zero in the place of what depends on the weights."""
    return replace(descriptor, **{
        field.name: 0 for field in fields(descriptor) if field.name in VALUES})


@pytest.mark.parametrize("task", [0, 1])
@pytest.mark.parametrize(("name", "hardware"), [("digits", "nano"), ("m3vit-tiny-129", "zcu102")])
def test_outline_takes_the_same_cycles(name: str, hardware: str, task: int) -> None:
    model, hw = find(name).quantized, PRESETS[hardware]
    real, outline = (compile_program(source, hw, task) for source in (model, Outline(model.config)))
    for left, right in zip(real.descriptors, outline.descriptors, strict=True):
        assert without_values(left) == without_values(right)
    trace = infer(model, default_image(model.config), task)
    routed, expected = facts(model.config, task).routed, from_trace(trace, model.config).routed
    assert {layer: tokens.tolist() for layer, tokens in routed.items()} == {
        layer: tokens.tolist() for layer, tokens in expected.items()}
    assert simulate(real, from_trace(trace, model.config)).counters == simulate(
        outline, facts(model.config, task)).counters


def test_every_preset_has_an_outline() -> None:
    for config in MODELS.values():
        for task in range(config.num_tasks):
            routed = facts(config, task).routed
            assert sum(tokens.sum() for tokens in routed.values()) == (
                len(routed) * config.num_tokens * config.top_k)
            assert len(routed) == sum(config.is_moe(n) for n in range(config.num_layers))
