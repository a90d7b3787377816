"""The description of the registers, and the hash of a geometry."""

from dataclasses import fields, replace
from itertools import pairwise

import pytest

from deltamoe.boards import PRESETS
from deltamoe.golden.library import find
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.control import register_map as described
from deltamoe.rtl.control.register_map import (
    IRRELEVANT,
    SPACE,
    Register,
    configuration,
    register_map,
)

NANO = PRESETS["nano"]

CHANGED = {
    "name": "other", "packed": True, "block_queues": True, "banks": 8, "attention_lag": 7,
    "queue_words": 2 * NANO.queue_words, "acc_width": 26, "lanes": 16,
    "last_key": True, "read_words": 2, "queued_tokens": NANO.max_tokens // 2,
}
"""Another value of parameters that cannot be doubled."""


def other(name: str) -> HwConfig:
    """Return ``nano`` with another value of a parameter."""
    return replace(NANO, **{name: CHANGED.get(name, 2 * getattr(NANO, name))})


@pytest.mark.parametrize("preset", PRESETS)
def test_no_two_share_a_place(preset: str) -> None:
    registers = register_map(PRESETS[preset])
    places = sorted(register.offset for register in registers.values())
    assert all(first + 4 <= second for first, second in pairwise(places))
    assert all(place % 4 == 0 and 0 <= place < SPACE for place in places)
    for name, register in registers.items():
        ends = [0]
        for field in register.fields:
            assert ends[-1] <= field.low, name
            assert 0 <= field.reset < 1 << field.width, (name, field.name)
            ends.append(field.low + field.width)
        assert ends[-1] <= 32, name
        assert len({field.name for field in register.fields}) == len(register.fields), name


def test_fields_have_their_bits() -> None:
    register: Register = described.REGISTERS["maxima"]
    tokens, embed = register.fields
    assert (tokens.mask, embed.mask) == (0xFFFF, 0xFFFF0000)
    assert (tokens.bits, embed.bits) == ("15:0", "31:16")
    assert (tokens.of(0x12345678), embed.of(0x12345678)) == (0x5678, 0x1234)
    assert register.mask("tokens", "embed") == 0xFFFFFFFF
    assert described.REGISTERS["status"].fields[2].bits == "2"
    with pytest.raises(KeyError):
        register.mask("embedding")


@pytest.mark.parametrize("name", [field.name for field in fields(HwConfig)])
def test_a_program_for_another_hash_is_another_or_might_be(name: str) -> None:
    """And one for the same hash is the same to the last bit."""
    changed = other(name)
    assert getattr(changed, name) != getattr(NANO, name)
    assert (configuration(changed) == configuration(NANO)) == (name in IRRELEVANT)
    if name in IRRELEVANT:
        network = find("digits").quantized
        programs = [compile_program(network, hw) for hw in (NANO, changed)]
        assert programs[0].descriptors == programs[1].descriptors
        assert programs[0].size == programs[1].size
        assert programs[0].memory.tobytes() == programs[1].memory.tobytes()


def test_the_hash_depends_on_the_layout_of_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    before, layout = configuration(NANO), described.layout
    monkeypatch.setattr(described, "layout", lambda kind: layout(kind)[:-1])
    assert configuration(NANO) != before


def test_the_hash_is_the_same_in_every_release() -> None:
    """Programs that were built stay valid: change these with a parameter or a field only."""
    assert {name: f"{configuration(hw):08x}" for name, hw in PRESETS.items()} == {
        "nano": "2e55db56", "ulx3s": "b058515c", "zcu102": "100d4d26"}
