"""The trained network: the Verilog classifies as the integer model does."""

import pytest

from deltamoe.api.verilog import classified
from deltamoe.boards import PRESETS
from deltamoe.golden.library import find
from deltamoe.golden.training.digits import evaluate


@pytest.mark.verilator
@pytest.mark.parametrize("count", [6, pytest.param(360, marks=pytest.mark.slow)])
def test_accuracy_of_all_engines(count: int) -> None:
    network = find("digits")
    for row in evaluate(network, count, rtl=lambda image, task: classified(
            network, PRESETS["nano"], image, task)):
        assert row["rtl"] == row["integer"]
        assert abs(row["integer"] - row["float"]) <= 0.005
        assert row["float"] >= 0.97
