"""Install other simulators, each in an environment of its own, and run all on the same products."""

import hashlib
import json
import shutil
import sys
import venv
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Group
from rich.text import Text

from deltamoe.api.progress import QUIET, Progress
from deltamoe.api.result import Result
from deltamoe.boards import PRESETS
from deltamoe.experiments.peers.layers import gemms
from deltamoe.golden.config import MODELS
from deltamoe.host import cache
from deltamoe.host.files import read_text, write
from deltamoe.host.processes import ProgramError, reason, run, scratch
from deltamoe.sim.outline import facts
from deltamoe.terminal import Table

MODEL, HARDWARE, BLOCKS = "m3vit-tiny-129", "zcu102", 2
"""The patch embedding, a dense block and one with experts; the other five pairs are alike."""

LATENCY = 100
ARRAY = (32, 48)
"""As many multipliers as the hardware's 24 groups of 64 lanes."""

MINUTES = 30
"""Longest run of one simulator."""


@dataclass(frozen=True)
class Peer:
    """A simulator: what is installed for it, and the program that runs it."""

    name: str
    program: str
    packages: tuple[str, ...] = ()

    def python(self) -> str:
        """Return the interpreter of its environment, which is made if there is none.

        Raises
        ------
        ValueError
            It cannot be installed; says why.
        """
        if not self.packages:
            return sys.executable
        pins = hashlib.sha256(" ".join((sys.version, *self.packages)).encode()).hexdigest()[:12]
        folder = cache.folder() / f"peer-{self.program}-{pins}"
        python, ready = folder / "bin" / "python", folder / "ready"
        if not ready.exists():
            with cache.locked(folder.name):
                if not ready.exists():
                    shutil.rmtree(folder, ignore_errors=True)
                    venv.create(folder)
                    called([sys.executable, "-m", "pip", "--python", python, "install", "--quiet",
                            "--disable-pip-version-check", *self.packages], folder,
                           f"pip install {self.packages[0]}")
                    write(ready, b"")
        return str(python)

    def run(self, job: dict) -> dict:
        """Return processor seconds, memory and cycles, or the reason why there are none."""
        with scratch() as folder:
            write(folder / "job.json", json.dumps(job))
            try:
                called([self.python(), Path(__file__).with_name(f"run_{self.program}.py")], folder,
                       self.name)
                return {"name": self.name, **json.loads(read_text(folder / "result.json"))}
            except (ValueError, OSError, ProgramError) as error:
                return {"name": self.name, "failed": str(error)}


def called(words: list, folder: Path, program: str) -> None:
    """Run a program.

    Raises
    ------
    ProgramError
        It failed; says why.
    """
    done = run(words, folder, timeout=60 * MINUTES)
    if done.returncode:
        raise ProgramError(f"{program} failed: {reason(done)}")


PEERS = (
    Peer("DeltaMoE", "deltamoe"),
    # 2.2: its int(array) is an error from numpy 2.4 on
    Peer("SCALE-Sim 3.0.0", "scalesim", ("scalesim==3.0.0", "numpy==2.2.6")),
    # six: imported but not declared
    Peer("ZigZag 3.9.1", "zigzag", ("zigzag-dse==3.9.1", "six==1.17.0")),
)


def job() -> dict:
    """Return what all of them run."""
    hw, config = PRESETS[HARDWARE], replace(MODELS[MODEL], num_layers=BLOCKS)
    return {
        "model": MODEL, "hardware": HARDWARE, "blocks": BLOCKS, "latency": LATENCY,
        "rows": ARRAY[0], "columns": ARRAY[1], "bytes_per_cycle": hw.bus_bytes,
        "kib": hw.weight_rows * hw.groups * hw.lanes // 1024,
        "gemms": [gemm._asdict() for gemm in gemms(config, facts(config, 0))]}


@dataclass(frozen=True)
class Simulators(Result):
    """Simulators side by side.

    Attributes
    ----------
    products : dict
        What all of them ran: model, hardware, blocks, rows and columns of the array, products and
        their MACs.
    rows : list of dict
        By ``name`` processor seconds, MiB and cycles, or why it ``failed``.
    """

    products: dict
    rows: list[dict]

    def figures(self) -> dict:
        return {"peers": {**self.products, "simulators": self.rows}}

    def table(self) -> Group:
        products = self.products
        filled = Table("simulator", title=(
            f"{products['products']} matrix products of {products['model']} "
            f"({products['blocks']} blocks), {products['macs']:,} MACs, "
            f"{products['rows']} x {products['columns']} multipliers"))
        for name in ("CPU s", "of ours", "MiB", "cycles", "busy"):
            filled.add_column(name, justify="right")
        for row in self.rows:
            if "failed" in row:
                filled.add_row(row["name"], "failed")
                continue
            busy = products["macs"] / row["cycles"] / (products["rows"] * products["columns"])
            filled.add_row(row["name"], f"{row['seconds']:.2f}",
                           f"{row['times_ours']:,.0f} x" if "times_ours" in row else "",
                           f"{row['mib']:.0f}", f"{row['cycles']:,}", f"{busy:.1%}")
        return Group(filled, *(Text(row["failed"]) for row in self.rows if "failed" in row))


def measured(progress: Progress = QUIET) -> Simulators:
    """Run all.

    Raises
    ------
    ValueError
        No peer could be run.
    """
    inputs = job()
    rows = [peer.run(inputs) for peer in progress.each(PEERS, "simulators")]
    ours, *others = rows
    if all("failed" in row for row in others):
        raise ValueError("; ".join(row["failed"] for row in others))
    for row in others:
        if "failed" not in row and "failed" not in ours:
            row["times_ours"] = row["seconds"] / ours["seconds"]
    macs = sum(gemm["m"] * gemm["n"] * gemm["k"] for gemm in inputs["gemms"])
    return Simulators({
        **{name: inputs[name] for name in ("model", "hardware", "blocks", "rows", "columns")},
        "products": len(inputs["gemms"]), "macs": macs}, rows)
