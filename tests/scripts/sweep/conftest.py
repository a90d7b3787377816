from pathlib import Path

import pytest

SPEC = """
model: digits
hardware: nano
memory: {latency: 20, bytes_per_cycle: 8}
explore:
  groups: [1, 2, 3, 4, 6, 8]
  lanes: [8, 16]
  banks: {low: 2, high: 8, times: 2}
  weight_rows: {low: 4, high: 1024, times: 4}
  latency: {low: 10, high: 50, step: 20}
objectives: [frames_per_s, energy_pj, area_share]
generation: 10
points: 40
seed: 3
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC)
    return path
