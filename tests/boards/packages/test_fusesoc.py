"""FuseSoC builds its package: lint finds nothing, and the registers answer."""

import hashlib
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from deltamoe.boards.packages import FORMATS
from deltamoe.boards.packages.fusesoc import testbench as bench_of
from deltamoe.boards.verilator.build import verilator
from deltamoe.host import cache
from deltamoe.host.files import read_text, write
from deltamoe.rtl.control.counters import COUNTERS
from deltamoe.rtl.control.register_map import MAGIC, REGISTERS
from tests.boards.packages.cores import small, written

READABLE = sum(register.access.readable for register in REGISTERS.values()) + 2 * len(COUNTERS)


def fusesoc(target: str, package: Path, folder: Path) -> subprocess.CompletedProcess:
    """Run a target of a package, with the Verilator that this package brings along."""
    binary, root = verilator()
    path = os.pathsep.join((str(binary.parent), str(Path(sys.executable).parent),
                            os.environ["PATH"]))
    environment = os.environ | {"PATH": path, "HOME": str(folder)} | (
        {"VERILATOR_ROOT": str(root)} if root else {})
    return subprocess.run(
        [sys.executable, "-m", "fusesoc.main", "--monochrome", "--cores-root", package, "run",
         "--build-root", folder / "build", "--target", target,
         "deltamoe:accelerator:deltamoe_nano"],
        cwd=folder, env=environment, capture_output=True, text=True, check=False)


def simulated(package: Path, folder: Path) -> str:
    """Log of the simulation, kept for equal packages and tools, since the build takes long."""
    parts = [str(verilator()[0]), version("fusesoc"), version("edalize"),
             *(file.read_text() for file in sorted(package.iterdir()))]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]
    path = cache.folder() / f"fusesoc-{key}.log"
    if not path.exists():
        with cache.locked(path.name):
            done = fusesoc("sim", package, folder)
            assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
            write(path, done.stdout + done.stderr)
    return read_text(path)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return written(FORMATS["fusesoc"], small("nano"), tmp_path / "package")


def test_lint_finds_nothing_and_sees_a_fault(package: Path, tmp_path: Path) -> None:
    done = fusesoc("lint", package, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "%Warning" not in done.stdout + done.stderr
    file = package / "deltamoe_nano.v"
    narrow, places = re.subn(r"^  (output|reg) \[1:0\] normalizers__address;$",
                             r"  \1 normalizers__address;", file.read_text(), flags=re.MULTILINE)
    assert places == 2, "the fault has no place"
    file.write_text(narrow)
    done = fusesoc("lint", package, tmp_path)
    assert done.returncode != 0
    assert "%Warning-WIDTH" in done.stdout + done.stderr


@pytest.mark.verilator
def test_every_register_answers_in_simulation(package: Path, tmp_path: Path) -> None:
    log = simulated(package, tmp_path)
    assert f"PASS: {READABLE} registers, an interrupt" in log


def test_the_bench_compares_with_the_description() -> None:
    text = bench_of(small("nano"))
    assert f"expect_value(12'h000, 32'h{MAGIC:08x});  // magic" in text
    expected = [f"12'h{register.offset:03x}, 32'h{register.reset:08x}"
                for register in small("nano").registers.values() if register.access.readable]
    assert len(expected) == READABLE
    assert all(one in text for one in expected)


def test_files_of_the_core_are_those_of_the_package(package: Path) -> None:
    name, _, text = (package / "deltamoe_nano.core").read_text().partition("\n")
    described = yaml.safe_load(text)
    assert name == "CAPI=2:"
    listed = {file for files in described["filesets"].values() for file in files["files"]}
    assert listed == {path.name for path in package.iterdir()} - {"deltamoe_nano.core"}
