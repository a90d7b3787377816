"""What there is to choose from: models, hardware, and sparsity policies of the literature."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from rich.box import SIMPLE
from rich.console import Group

from deltamoe.api.networks import dimensions
from deltamoe.api.result import Result
from deltamoe.boards import PRESETS
from deltamoe.golden.config import MODELS
from deltamoe.golden.sparsity.registry import MECHANISMS
from deltamoe.rtl.config import HwConfig
from deltamoe.terminal import Table


def geometry(hw: HwConfig) -> dict:
    """Return an accelerator's size: multipliers, bytes of a beat, largest network."""
    return {"mac_units": hw.mac_units, "groups": hw.groups, "lanes": hw.lanes,
            "bus_bytes": hw.bus_bytes, "max_tokens": hw.max_tokens, "max_embed": hw.max_embed}


@dataclass(frozen=True)
class Catalog(Result):
    """Models and hardware with their figures, and policies with source and parameters."""

    models: list[dict]
    hardware: list[dict]
    policies: list[dict]

    def figures(self) -> dict:
        return {"models": self.models, "hardware": self.hardware, "policies": self.policies}

    def table(self) -> Group:
        return Group(presets("models", self.models), presets("hardware", self.hardware),
                     *policies(self.policies))


def presets(title: str, rows: list[dict]) -> Table:
    """Return a table of presets, one figure a column."""
    table = Table(title=title, box=SIMPLE, padding=(0, 0, 0, 1))
    for name in rows[0]:
        table.add_column(name.replace("_", "\n"), no_wrap=True,
                         justify="left" if name == "name" else "right")
    for row in rows:
        table.add_row(*(f"{value:,}" if isinstance(value, int) else value
                        for value in row.values()))
    return table


def policies(rows: list[dict]) -> Iterator[Table]:
    """Yield the policies, and how they differ from their sources."""
    table = Table(title="policies", box=SIMPLE, padding=(0, 0, 0, 1))
    for name in ("name", "family", "executes", "parameters", "source"):
        table.add_column(name, no_wrap=name != "source")
    for row in rows:
        table.add_row(row["name"], row["family"], row["executes"], "\n".join(
            f"{key}={parameter['default']}" for key, parameter in row["parameters"].items()),
            row["source"])
    yield table
    differing = Table(title="how policies differ from their sources", box=SIMPLE,
                      padding=(0, 0, 0, 1))
    differing.add_column("name", no_wrap=True)
    differing.add_column("difference")
    for row in rows:
        if row["differs"]:
            differing.add_row(row["name"], row["differs"])
    yield differing


def catalog() -> Catalog:
    """Return everything that has a name."""
    return Catalog(
        [{"name": name, **dimensions(config)} for name, config in MODELS.items()],
        [{"name": name, **geometry(hw)} for name, hw in PRESETS.items()],
        [{"name": name, "family": policy.family, "source": policy.source,
          "executes": policy.executes, "skips": policy.skips, "differs": policy.differs,
          "calibrated": policy.calibrated, "remembers": policy.remembers,
          "parameters": {key: asdict(parameter) for key, parameter in policy.parameters.items()}}
         for name, policy in MECHANISMS.items()])
