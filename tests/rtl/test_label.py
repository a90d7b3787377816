"""Labels print what a descriptor is there for, and programs are told apart by them."""

import pytest

from deltamoe.boards import PRESETS
from deltamoe.golden.config import MODELS
from deltamoe.golden.operators import EVERY, Operator, Part
from deltamoe.golden.sparsity.names import recognize
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.rtl.compiler.kept_state import Keeping, Normalized
from deltamoe.rtl.label import PROGRAM, Label, Role, Section, What
from deltamoe.rtl.program import Compute, Load
from deltamoe.sim.outline import Outline

FC1 = Operator(Part.FC1, 1, 3)


@pytest.mark.parametrize(("label", "printed"), [
    (Label("halt"), "halt"), (Label("image", Role.LOAD), "image.load"), (PROGRAM, "program"),
    (Label("blocks.0.norm1", Role.LOAD), "blocks.0.norm1.load"),
    (Label(FC1), "blocks.1.experts.3.fc1"), (Label(recognize("encoder.w1")), "encoder.w1"),
    (Label(FC1, Role.REPLAY), "blocks.1.experts.3.fc1.replay"),
    (Label(FC1, Role.LOAD, What.WEIGHTS), "blocks.1.experts.3.fc1.weights.load"),
    (Label(FC1.of_expert(EVERY), Role.STORE), "blocks.1.experts.fc1.store"),
    (Label(FC1.of_expert(EVERY), Role.LOAD, What.REFERENCE), "blocks.1.experts.fc1.reference.load"),
    (Label(Operator(Part.Q, 0), Role.LOAD, What.SUMS, 8, 17), "blocks.0.q.8.sums.17.load"),
    (Label(Normalized(0), Role.LOAD, What.REFERENCE, rows=0), "blocks.0.norm1.reference.0.load"),
])
def test_a_label_prints_its_subject_and_what_is_done(label: Label, printed: str) -> None:
    assert str(label) == printed


def test_labels_of_all_parts_of_an_operator_are_equal() -> None:
    parts = {Label(FC1, section=Section(row, depth)) for row in (0, 8) for depth in (0, 48)}
    assert parts == {Label(FC1)}
    assert Label(FC1, Role.REPLAY) not in parts


def test_only_labels_of_operators_have_one() -> None:
    assert Label(FC1, Role.LOAD, What.WEIGHTS).operator == FC1
    assert Label("image", Role.LOAD).operator is Label(recognize("fc1")).operator is None


def test_every_operator_is_computed_and_what_loads_says_so() -> None:
    program = compile_program(Outline(MODELS["digits"]), PRESETS["nano"])
    computed = {label.operator.whole for label, descriptor in zip(
        program.labels, program.descriptors, strict=True)
        if isinstance(descriptor, Compute) and label.operator}
    assert computed == Keeping(MODELS["digits"], PRESETS["nano"], 0, program.plan).choices.keys()
    assert all((label.role == Role.LOAD) == isinstance(descriptor, Load) for label, descriptor in
               zip(program.labels, program.descriptors, strict=True))
