"""The integer network: what it refuses, what it records, and that it is exact."""

from dataclasses import replace

import pytest
import torch

from deltamoe.golden.config import MODELS
from deltamoe.golden.integer import infer
from deltamoe.golden.model import build
from deltamoe.golden.operators import EVERY, Operator, Part
from deltamoe.golden.quantization.quantize import quantize
from deltamoe.golden.quantization.quantized import QuantizedModel
from deltamoe.golden.seeded import seeded

CONFIG = replace(MODELS["digits"], num_experts=5, top_k=3)
IMAGE = torch.arange(64, dtype=torch.uint8).view(1, 8, 8) * 4


@pytest.fixture(scope="module")
def model() -> QuantizedModel:
    return quantize(build(CONFIG, seeded(CONFIG, 0)), [IMAGE])


@pytest.mark.parametrize("expert", range(5))
def test_all_tokens_may_go_to_one_set_of_experts(model: QuantizedModel, expert: int) -> None:
    route = torch.tensor([[expert, (expert + 1) % 5, (expert + 2) % 5]]).expand(17, 3)
    trace = infer(model, IMAGE, 0, {1: route})
    assert torch.equal(trace.routes[1][0], route)
    assert len(trace.operands[Operator(Part.FC1, 1, expert)]) == 17
    assert Operator(Part.FC1, 1, (expert + 3) % 5) not in trace.operands


def test_the_order_of_a_tokens_experts_is_free(model: QuantizedModel) -> None:
    free = infer(model, IMAGE, 1)
    turned = {layer: chosen.flip(-1) for layer, (chosen, _) in free.routes.items()}
    assert torch.equal(infer(model, IMAGE, 1, turned).x, free.x)
    assert free.x.abs().max() < 32767


def test_forcing_the_free_routing_changes_nothing(model: QuantizedModel) -> None:
    free = infer(model, IMAGE, 0)
    forced = infer(model, IMAGE, 0, {layer: chosen for layer, (chosen, _) in free.routes.items()})
    assert torch.equal(forced.x, free.x)
    assert torch.equal(forced.scores, free.scores)
    for layer, (_, weights) in free.routes.items():
        assert torch.equal(forced.routes[layer][1], weights)


def test_tasks_have_their_own_gates(model: QuantizedModel) -> None:
    first, second = infer(model, IMAGE, 0), infer(model, IMAGE, 1)
    assert not torch.equal(first.routes[1][0], second.routes[1][0])
    assert first.scores.shape == (10,)
    assert second.scores.shape == (2,)


def test_every_product_is_recorded_in_order_with_operands_of_9_bits(model: QuantizedModel) -> None:
    trace = infer(model, IMAGE, 0)
    dense = ["q", "k", "v", "attention.scores", "attention.values", "proj", "fc1", "fc2"]
    names = [str(product) for product in trace.operands]
    assert names[:9] == ["patch", *(f"blocks.0.{part}" for part in dense)]
    assert names[-1] == "head.0"
    assert names[9 + 6] == "blocks.1.gate.0"
    chosen = trace.routes[1][0]
    for expert in range(5):
        rows = trace.operands.get(Operator(Part.FC1, 1, expert))
        assert (0 if rows is None else len(rows)) == int((chosen == expert).sum())
    for product, operand in trace.operands.items():
        unsigned = product.part in (Part.FC2, Part.VALUES)
        assert operand.min() >= (0 if unsigned else -128)
        assert operand.max() <= (255 if unsigned else 127)
    assert trace.operands[Operator(Part.VALUES, 0)].shape == (2, 17, 17)


def test_extreme_weights_never_leave_the_residual_range(model: QuantizedModel) -> None:
    tensors = dict(model.tensors)
    for name in ("blocks.0.fc2", "blocks.1.experts.fc2"):
        tensors[f"{name}.multiplier"] = torch.full_like(tensors[f"{name}.multiplier"], 65535)
        tensors[f"{name}.shift"] = torch.tensor(14, dtype=torch.int32)
    trace = infer(QuantizedModel(CONFIG, tensors), IMAGE, 0)
    assert trace.blocks[0].max() == 32767
    assert trace.blocks[0].min() == -32768
    assert all(int(x.min()) >= -32768 and int(x.max()) <= 32767 for x in trace.blocks)


def overdriven(model: QuantizedModel, name: str) -> QuantizedModel:
    """Scale the outputs of one operator far beyond its range."""
    tensors = dict(model.tensors)
    tensors[f"{name}.multiplier"] = torch.full_like(tensors[f"{name}.multiplier"], 65535)
    tensors[f"{name}.shift"] = torch.tensor(14, dtype=torch.int32)
    tensors["blocks.1.gelu"] = (torch.arange(1024) >> 2).to(torch.uint8)
    return QuantizedModel(CONFIG, tensors)


def test_patches_are_pixels_less_128(model: QuantizedModel) -> None:
    first = infer(model, IMAGE, 0).operands[Operator(Part.PATCH)][0]
    assert first.tolist() == [int(IMAGE[0, y, x]) - 128 for y in (0, 1) for x in (0, 1)]


def test_hidden_values_saturate_at_10_bits(model: QuantizedModel) -> None:
    trace = infer(overdriven(model, "blocks.1.experts.fc1"), IMAGE, 0)
    hidden = torch.cat([rows.flatten() for product, rows in trace.operands.items()
                        if product.whole == Operator(Part.FC2, 1, EVERY)])
    counts = hidden.bincount(minlength=256)
    assert set(counts.topk(2).indices.tolist()) == {511 >> 2, 512 >> 2}


def test_expert_outputs_saturate_at_20_bits(model: QuantizedModel) -> None:
    trace = infer(overdriven(model, "blocks.1.experts.fc2"), IMAGE, 0)
    # 16 bits could move the residual stream by 2**15 / 4 at most, as the weights sum to 1.
    assert (trace.blocks[1] - trace.blocks[0]).abs().max() > 2**14


def test_the_wrong_image_or_task_is_named(model: QuantizedModel) -> None:
    with pytest.raises(ValueError, match=r"\(1, 8, 9\), the network takes \(1, 8, 8\)"):
        infer(model, torch.zeros(1, 8, 9, dtype=torch.uint8), 0)
    for task in (-1, 2):
        with pytest.raises(ValueError, match=rf"task {task} is not in 0..1"):
            infer(model, IMAGE, task)
