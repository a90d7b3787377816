"""Proofs by induction: for all operands, thresholds and gaps, for any number of frames.

Yosys turns the encoder with its environment into SMT-LIB, z3 shows that the assertions hold after
reset and that any three cycles keep them in the next. The same proof must fail on an encoder that
is wrong.
"""

from pathlib import Path

import numpy as np
import pytest
from amaranth import Module

from deltamoe.boards import PRESETS
from deltamoe.rtl.linear.event_encoder import EventEncoder
from tests.formal.encoder import WEIGHT, Element
from tests.formal.solver import holds, smt

HW = PRESETS["nano"]


@pytest.mark.parametrize("lane", [
    0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, HW.word - 1)), HW.word - 1])
def test_accumulators_are_those_of_the_reference_which_is_within_theta(
        lane: int, tmp_path: Path) -> None:
    smt(tmp_path, Element(HW, lane))
    assert holds(tmp_path, "-t", "3"), "after reset"
    assert holds(tmp_path, "-i", "-t", "3"), "from three cycles to the next"


def test_a_weight_is_the_sum_of_its_bits() -> None:
    """What turns the proof by bits into one of the product: all weights times all references."""
    weight, reference = np.arange(-128, 128)[:, None], np.arange(-128, 256)
    worth = [1 << bit for bit in range(WEIGHT - 1)] + [-(1 << WEIGHT - 1)]
    parts = [value * (weight >> bit & 1) * reference for bit, value in enumerate(worth)]
    assert np.array_equal(sum(parts), weight * reference)


class OpenLoop(EventEncoder):
    """The reference becomes the operand also where nothing was sent."""

    def trace(self, m: Module, given, mask, sent, taken):
        super().trace(m, given, mask, sent, taken)
        m.d.comb += [self.write.data[n].eq(given.operand[n]) for n in range(self.hw.word)]


class Impatient(EventEncoder):
    """The reference moves before the word goes on."""

    def trace(self, m: Module, given, mask, sent, taken):
        super().trace(m, given, mask, sent, self.i.valid)


class Tolerant(EventEncoder):
    """Leaves out differences of theta plus one."""

    def differs(self, given, delta):
        theta = given.theta + 1
        return (delta > theta) | (delta < -theta)


class OneSided(EventEncoder):
    """Never sends what fell."""

    def differs(self, given, delta):
        return delta > given.theta


@pytest.mark.parametrize("wrong", [OpenLoop, Impatient, Tolerant, OneSided])
def test_a_wrong_encoder_is_refuted(wrong: type[EventEncoder], tmp_path: Path) -> None:
    """By a run from reset, which is found within five cycles."""
    smt(tmp_path, Element(HW, 1, wrong))
    assert not holds(tmp_path, "-t", "6")
