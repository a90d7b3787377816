"""``deltamoe list``: the presets and the policies."""

from dataclasses import asdict

from rich.box import SIMPLE

from golden.config import MODELS
from golden.sparsity.registry import MECHANISMS
from rtl.config import PRESETS
from scripts.cli import JsonFile, app, command, console, emit
from scripts.terminal import Table


@app.command("list")
@command
def listing(json: JsonFile = None) -> None:
    """List the presets of models and hardware with their figures, and all sparsity policies."""
    result = {
        "models": [{"name": name, "tokens": config.num_tokens, "embed_dim": config.embed_dim,
                    "num_layers": config.num_layers, "num_heads": config.num_heads,
                    "num_experts": config.num_experts, "top_k": config.top_k,
                    "macs": config.macs} for name, config in MODELS.items()],
        "hardware": [{"name": name, "mac_units": hw.mac_units, "groups": hw.groups,
                      "lanes": hw.lanes, "bus_bytes": hw.bus_bytes,
                      "max_tokens": hw.max_tokens, "max_embed": hw.max_embed}
                     for name, hw in PRESETS.items()],
        "policies": [{"name": name, "family": policy.family, "source": policy.source,
                      "executes": policy.executes, "skips": policy.skips,
                      "differs": policy.differs, "calibrated": policy.calibrated,
                      "remembers": policy.remembers,
                      "parameters": {key: asdict(parameter)
                                     for key, parameter in policy.parameters.items()}}
                     for name, policy in MECHANISMS.items()],
    }
    if emit(result, json):
        return
    for kind in ("models", "hardware"):
        rows = result[kind]
        table = Table(title=kind, box=SIMPLE, padding=(0, 0, 0, 1))
        for name in rows[0]:
            table.add_column(name.replace("_", "\n"), no_wrap=True,
                             justify="left" if name == "name" else "right")
        for row in rows:
            table.add_row(*(f"{value:,}" if isinstance(value, int) else value
                            for value in row.values()))
        console.print(table)
    policies = Table(title="policies", box=SIMPLE, padding=(0, 0, 0, 1))
    for name in ("name", "family", "executes", "parameters", "source"):
        policies.add_column(name, no_wrap=name != "source")
    for name, policy in MECHANISMS.items():
        policies.add_row(name, policy.family, policy.executes, "\n".join(
            f"{key}={parameter.default}" for key, parameter in policy.parameters.items()),
            policy.source)
    console.print(policies)
    differing = Table(title="how policies differ from their sources", box=SIMPLE,
                      padding=(0, 0, 0, 1))
    differing.add_column("name", no_wrap=True)
    differing.add_column("difference")
    for name, policy in MECHANISMS.items():
        if policy.differs:
            differing.add_row(name, policy.differs)
    console.print(differing)
