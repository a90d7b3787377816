"""Make ``sim/routings.json``: how the presets' experts are used, for simulations without torch.

For every model, task and layer with experts: ``usage`` as calibration saw it, and ``tokens`` of
each expert for the preset's default image.
"""

import json
from pathlib import Path

from deltamoe.golden.config import MODELS
from deltamoe.golden.integer import infer
from deltamoe.golden.library import default_image, find
from deltamoe.host.files import write
from deltamoe.sim import outline


def routing(name: str) -> list[dict[str, dict]]:
    """Return the routing of every task of a preset, by layer."""
    model = find(name).quantized
    config, image = model.config, default_image(model.config)
    routings = []
    for task in range(config.num_tasks):
        routes = infer(model, image, task).routes
        routings.append({str(layer): {
            "usage": model[f"blocks.{layer}.gate.{task}.usage"].tolist(),
            "tokens": experts.flatten().bincount(minlength=config.num_experts).tolist(),
        } for layer, (experts, _) in routes.items()})
    return routings


if __name__ == "__main__":
    path = Path(outline.__file__).with_name("routings.json")
    lines = (f"{json.dumps(name)}: {json.dumps(routing(name))}" for name in MODELS)
    write(path, "{\n" + ",\n".join(lines) + "\n}\n")
