"""Delta activations: rounding and its gradients by hand, and the same codes in integers."""

import copy
from functools import cache
from pathlib import Path

import pytest
import torch

from deltamoe.golden.data.images import digits
from deltamoe.golden.data.sequences import sequences
from deltamoe.golden.integer import infer
from deltamoe.golden.library import find
from deltamoe.golden.model import M3ViT, Site
from deltamoe.golden.operators import Operator, Part
from deltamoe.golden.quantization.quantize import quantize
from deltamoe.golden.quantization.quantized import QuantizedModel
from deltamoe.golden.temporal.tally import Tally, tally
from deltamoe.golden.training import delta_train
from deltamoe.golden.training.delta_layer import DeltaActivation, delta_activations
from deltamoe.golden.training.delta_train import first_steps, train_on_sequences

WEIGHTS = Path(__file__).parents[2] / "golden" / "weights"
Z = torch.tensor([[[0.9, -2.6]], [[2.1, -2.4]]])             # (F, T, C): two frames of one token
"""In steps of 1 and 2: codes 1, -1 and 2, -1."""


def layer() -> DeltaActivation:
    return DeltaActivation(torch.tensor([1.0, 2.0]), fan_out=10, frames=0)


@cache
def real() -> M3ViT:
    return find("digits").real


def test_values_are_the_nearest_multiples_of_the_step() -> None:
    delta = layer()
    assert torch.allclose(delta(Z), torch.tensor([[[1.0, -2.0]], [[2.0, -2.0]]]))
    assert delta.loss.item() == pytest.approx(10 * (1 + 0) / 2), "fan_out * mean|dO / q|"


def test_the_sparsity_loss_enlarges_the_step_of_what_changed() -> None:
    delta = layer()
    delta(Z)
    delta.loss.backward()
    assert delta.log_step.grad.tolist() == pytest.approx(
        [-10 * 1.2 / 2, 0]), "-fan_out mean|dZ| / q"


def test_what_is_recomputed_differs_from_zero() -> None:
    delta = DeltaActivation(torch.tensor([1.0, 2.0]), fan_out=10, frames=None)
    delta(Z)
    assert delta.loss.item() == pytest.approx(10 * (1 + 1 + 2 + 1) / 4), "fan_out * mean|O / q|"
    delta.loss.backward()
    assert delta.log_step.grad.tolist() == pytest.approx([-10 * 3 / 4, -10 * 2.5 / 4])


def test_the_tasks_gradient_is_that_of_the_rounding() -> None:
    delta, z = layer(), Z.clone().requires_grad_()
    delta(z)[0].sum().backward()
    assert z.grad[0].tolist() == [[1, 1]], "straight through"
    assert delta.log_step.grad.tolist() == pytest.approx([1 * (1 - 0.9), 2 * (-1 + 1.3)])


def test_the_sum_of_all_differences_is_the_product_of_the_frame() -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(12, 5, 8, generator=generator).cumsum(0).double()
    weight = torch.randn(3, 8, generator=generator).double()
    rounded = DeltaActivation(torch.full((8,), 0.7), 1, 0).double()(z)
    sent = rounded.diff(dim=0, prepend=torch.zeros_like(rounded[:1]))
    assert (sent[1:] == 0).float().mean() > 0.2
    assert torch.allclose((sent @ weight.T).cumsum(0), rounded @ weight.T, atol=1e-10)


def test_training_on_the_loss_alone_leaves_fewer_events() -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(2, 200, 4, generator=generator)
    delta = DeltaActivation(torch.full((4,), 0.1), 1, 0)
    optimizer = torch.optim.SGD(delta.parameters(), 0.3)
    before = float((delta(z).diff(dim=0) != 0).float().mean())
    for _ in range(20):
        optimizer.zero_grad()
        delta(z)
        delta.loss.backward()
        optimizer.step()
    assert (delta.step > 0.15).all()
    assert float((delta(z).diff(dim=0) != 0).float().mean()) < before


def test_layers_are_there_for_a_while_only() -> None:
    model = copy.deepcopy(real())
    frames = sequences("train", "both", count=2)[0]
    shown, steps = frames.float(), first_steps(model, frames[0])
    plain = model(shown, 0)[1]
    with delta_activations(model, steps) as layers:
        assert len(layers) == 20
        assert not torch.equal(model(shown, 0)[1], plain)
        assert all(made.loss > 0 for made in layers.values())
    assert torch.equal(model(shown, 0)[1], plain)


def test_integers_send_the_trained_codes() -> None:
    """Every operand of the first block is the rounded real one.

    But for values near the middle between two codes: few of the attention's operands, of queries
    those too that int8 weights move; behind its projection and the residual sum values are off by
    a part of a step.
    """
    model = copy.deepcopy(real())
    images = digits("train")[0][:16]
    steps = {site: 3 * step for site, step in first_steps(model, images).items()}
    seen: dict[Site, torch.Tensor] = {}
    with delta_activations(model, steps) as layers:
        quantized = quantize(model, images, {site: made.step for site, made in layers.items()})
        for site, made in layers.items():
            made.register_forward_hook(
                lambda module, given, out, site=site: seen.__setitem__(site, out / module.step))
        model(images[:1].float(), 0)
    trace = infer(quantized, images[0])
    for name, part, near in (("norm1", Part.Q, 0.05), ("query", Part.SCORES, 0.1),
                             ("context", Part.PROJ, 0.05),
                             ("norm2", Part.FC1, 0.2), ("hidden", Part.FC2, 0.2)):
        codes = trace.operands[Operator(part, 0)]
        if name == "hidden":
            apart = quantized["blocks.0.gelu"].unique().diff().unique()
            assert len(apart) == 1, "all codes are multiples of a step"
            codes = (codes - int(quantized["blocks.0.gelu"][0])) // apart
        if name == "query":
            codes = codes.transpose(0, 1).flatten(1)                        # from (H, T, Dh)
        expected = seen[Site(name, 0)][0].round()
        assert codes.abs().max() < 30, "as coarse as asked for"
        assert (codes != expected).float().mean() < near, name
        assert (codes - expected).abs().max() <= 1, name


def test_a_seed_gives_the_same_integers(monkeypatch: pytest.MonkeyPatch) -> None:
    images, digit = digits("train")
    monkeypatch.setattr(delta_train, "digits", lambda part: (images[:128], digit[:128]))
    first, second, other = (train_on_sequences(real(), delta=True, seed=seed, epochs=1).tensors
                            for seed in (1, 1, 2))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert not all(torch.equal(tensor, other[name]) for name, tensor in first.items())


def test_committed_weights_need_half_the_events() -> None:
    counts = []
    for name in ("digits", "digits-delta"):
        model = QuantizedModel.load(WEIGHTS / f"{name}.quantized.safetensors")
        tallied = Tally()
        for kind in ("moving", "noisy"):
            shown, digit = sequences("test", kind, 0, 4, 6)
            tallied += tally(model, shown, digit, 0, [0])[0]
        assert tallied.frames == 2 * 6 * 3
        assert tallied.noise == 0
        counts.append(tallied)
    plain, trained = counts
    assert plain.macs > 2 * trained.macs
    assert plain.events > 2 * trained.events
    assert plain.attention_events > 1.1 * trained.attention_events
