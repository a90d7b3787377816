"""Products are exact, tables index in two's complement, corner turns pad with zeros."""

import pytest
import torch

from deltamoe.golden.arithmetic.corner_turn import corner_turn
from deltamoe.golden.arithmetic.gelu import gelu
from deltamoe.golden.arithmetic.linear import linear


def test_linear_is_exact_at_the_extremes() -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randint(-256, 256, (7, 1536), generator=generator)
    a[0] = 255
    weight = torch.randint(-32768, 32768, (3, 1536), generator=generator)
    weight[0] = 32767
    bias = torch.tensor([1, -(2**31), 2**31 - 1])
    expected = [[sum(x * w for x, w in zip(row, column, strict=True)) + b
                 for column, b in zip(weight.tolist(), bias.tolist(), strict=True)]
                for row in a.tolist()]
    assert linear(a, weight, bias).tolist() == expected


def test_table_index_is_twos_complement() -> None:
    table = (torch.arange(1024) * 7 % 256).to(torch.uint8)
    q = torch.tensor([0, 511, -1, -512])
    assert gelu(q, table).tolist() == table[[0, 511, 1023, 512]].tolist()


@pytest.mark.parametrize(("tokens", "dim", "word"), [(17, 8, 4), (8, 4, 4), (129, 64, 32)])
def test_corner_turn_gathers_tokens_of_one_dimension(tokens: int, dim: int, word: int) -> None:
    values = torch.arange(1, tokens * dim + 1).view(tokens, dim)
    words = corner_turn(values, word)
    blocks = -(-tokens // word)
    assert words.shape == (blocks * dim, word)
    for index, row in enumerate(words.tolist()):
        block, d = divmod(index, dim)
        for lane, value in enumerate(row):
            token = block * word + lane
            assert value == (values[token, d] if token < tokens else 0)
