"""What a product of another network is, derived from the value that its layer's name gave."""

import pytest

from deltamoe.golden.sparsity.names import Named, recognize


@pytest.mark.parametrize("layer", ["blocks.1.moe.w1", "layers.2.mlp.experts.gate_up_proj", "w",
                                   "experts.down_proj", "decoder.layers.0.fc.weights"])
def test_an_expert_of_a_parameter_is_what_a_layer_of_its_name_would_be(layer: str) -> None:
    expert = recognize(layer).of_expert(3)
    assert expert.expert == 3
    assert expert.layer == recognize(layer).layer
    assert recognize(str(expert)) == expert


def test_an_expert_is_named_among_the_experts_of_its_module() -> None:
    assert recognize("b.1.moe.w1").of_expert(3) == Named(
        "b.1.moe.experts.3.w1", "fc1", 1, 3, "b.1.moe.experts.3", "b.1.moe")
    assert str(recognize("b.1.experts.w1").of_expert(3)) == "b.1.experts.3.w1"
    assert str(recognize("w1").of_expert(3)) == "experts.3.w1"


@pytest.mark.parametrize("layer", ["blocks.1.attn.qkv", "blocks.1.odd"])
def test_a_part_of_a_parameter_stays_in_the_block_of_the_whole(layer: str) -> None:
    whole = recognize(layer)
    for part in (whole.known_as("q"), whole.known_as("use_2"), whole.numbered(5)):
        assert recognize(str(part)) == part
        assert (part.layer, part.owner) == (1, layer)


def test_one_of_several_matrices_is_in_no_block_because_of_its_number() -> None:
    assert recognize("odd").numbered(5).layer == -1
