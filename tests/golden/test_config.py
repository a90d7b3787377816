"""Model dimensions: exact counts and one clear line for each mistake."""

import re
from dataclasses import replace

import pytest

from deltamoe.golden.config import MODELS

MACS = {
    "m3vit-tiny-129": 782_719_488,  # published: 782.719488 million
    "m3vit-tiny-197": 1_257_100_000,
    "m3vit-tiny-197-top4": 1_257_100_000,
    "m3vit-small-197": 4_605_800_000,
}


@pytest.mark.parametrize("name", MACS)
def test_macs_are_the_published_ones(name: str) -> None:
    tolerance = 0 if name == "m3vit-tiny-129" else 50_000
    assert abs(MODELS[name].macs - MACS[name]) <= tolerance


@pytest.mark.parametrize("name", MODELS)
def test_token_count_is_in_the_name(name: str) -> None:
    model = MODELS[name]
    last = next((part for part in reversed(name.split("-")) if part.isdigit()), "17")
    assert model.num_tokens == int(last)


def test_experts_sit_in_odd_blocks_only_where_there_are_experts() -> None:
    assert [MODELS["digits"].is_moe(layer) for layer in range(4)] == [False, True, False, True]
    assert not any(MODELS["deit-tiny-197"].is_moe(layer) for layer in range(12))


@pytest.mark.parametrize(("change", "words"), [
    ({"embed_dim": 0}, "embed_dim=0"),
    ({"num_heads": 3}, "num_heads=3"),
    ({"image_width": 9}, "image_width=9"),
    ({"top_k": 5}, "top_k=5"),
    ({"top_k": 0}, "top_k=0"),
    ({"num_experts": 0}, "top_k=2"),
    ({"num_classes": (10,)}, "num_classes=(10,)"),
    ({"num_classes": (10, 0)}, "num_classes=(10, 0)"),
    ({"num_layers": 1.5}, "num_layers=1.5"),
])
def test_a_wrong_dimension_is_named_in_one_line(change: dict, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        replace(MODELS["digits"], **change)
    assert "\n" not in str(error.value)
