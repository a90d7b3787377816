"""Make ``boards/area/areas.json``: what Yosys counts for the designs of the area model.

Each design is a preset with some of its geometry replaced. Yosys takes minutes for each; what it
has counted before comes from the cache of ``deltamoe synth``.
"""

import json
from dataclasses import replace
from pathlib import Path

from deltamoe.api.synthesis import synthesize
from deltamoe.boards import PRESETS
from deltamoe.boards.area import model
from deltamoe.host.files import write

PART = "xcup"
DESIGNS = (
    ("nano", {}),
    ("zcu102", {}),
    ("nano", {"lanes": 16, "groups": 8, "banks": 2, "queue_words": 32}),
    ("nano", {"groups": 16, "read_words": 4, "act_words": 4096, "residual_words": 2048}),
    ("nano", {"state_words": 0, "reference_words": 0, "weight_rows": 4096, "kv_rows": 2048}),
    ("nano", {"packed": True}),
    ("nano", {"banks": 8, "queue_words": 128, "weight_rows": 2048, "kv_rows": 1024}),
    ("nano", {"max_experts": 16, "max_top_k": 2, "outstanding": 8}),
    ("nano", {"lanes": 32, "packed": True, "outstanding": 8, "max_experts": 16,
              "read_words": 2}),
)
"""Presets and what is replaced, in all of the parameters that sweeps vary."""


def counted(preset: str, changes: dict) -> dict:
    """Return a design and what one of each of its units needs."""
    synthesis = synthesize(replace(PRESETS[preset], **changes), PART)
    return {"preset": preset, "changes": changes, "yosys": synthesis.yosys, "units": {
        unit["name"]: {"instances": unit["instances"], **unit["each"]} for unit in synthesis.units}}


if __name__ == "__main__":
    path = Path(model.__file__).with_name("areas.json")
    rows = []
    for design in DESIGNS:
        rows.append(json.dumps(counted(*design)))
        write(path, "[\n" + ",\n".join(rows) + "\n]\n")
