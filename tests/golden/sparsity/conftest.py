"""One record of the digits network for all mechanisms, and shapes without a network."""

from dataclasses import replace

import pytest

from deltamoe.golden.data.video import frames
from deltamoe.golden.library import find
from deltamoe.golden.sparsity.record import Record, record


@pytest.fixture(scope="session")
def live() -> Record:
    """Two frames of a moving object, with the network that saw them."""
    network = find("digits")
    return record(network, frames("generator:object", network.quantized.config, 2))


@pytest.fixture(scope="session")
def still(live: Record) -> Record:
    """The same operands without the network, so that nothing reacts to a mechanism."""
    return replace(live, model=None)
