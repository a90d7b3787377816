"""Where it runs: odd paths, no home, no compiler, a cache that cannot be written to, full disks."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from deltamoe.boards import PRESETS
from deltamoe.boards.verilator import engine
from deltamoe.boards.verilator.build import COMPILERS, PACKAGES, check_tools, verilate, verilator
from deltamoe.host import cache
from deltamoe.host.processes import scratch

ROOT = Path(__file__).parents[3]
DIGITS = ROOT / "golden" / "weights" / "digits.safetensors"
ODD = "a b'c\"d$e;f(g)é"
COUNTER = {"top.v": "module top(input a, output b); assign b = a; endmodule",
           "main.cpp": '#include "Vtop.h"\nint main() { Vtop top; return 7; }'}


def deltamoe(*words: object, cwd: Path = ROOT, **environment: str | None,
             ) -> subprocess.CompletedProcess:
    """Run the command line in an environment with some variables changed, or removed if None."""
    changed = os.environ | environment
    return subprocess.run(
        [sys.executable, "-m", "deltamoe", *map(str, words)], cwd=cwd, capture_output=True,
        text=True, check=False,
        env={name: value for name, value in changed.items() if value is not None})


def one_line(done: subprocess.CompletedProcess, *parts: str) -> None:
    """Whether a command was refused in one line that says all of the ``parts``."""
    assert (done.returncode, done.stdout) == (2, ""), done
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: ")
    for part in parts:
        assert part in done.stderr


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    Image.new("L", (8, 8), 9).save(path)
    return path


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv(cache.VARIABLE, str(folder))
    return folder


def test_a_model_is_built_whatever_its_folder_and_that_of_verilator_are_called(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ODD).mkdir()
    executable, root = verilator()
    if root:
        odd = tmp_path / ODD / "kit of all"
        odd.symlink_to(root)
        found = odd / executable.relative_to(root), odd
        monkeypatch.setattr("deltamoe.boards.verilator.build.verilator", lambda: found)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ODD))
    with scratch() as folder:
        assert ODD in str(folder)
        binary = verilate(folder, COUNTER, ["--top-module", "top"])
    (tmp_path / "model").write_bytes(binary)
    (tmp_path / "model").chmod(0o755)
    assert subprocess.run([tmp_path / "model"], check=False).returncode == 7


@pytest.mark.parametrize("missing", ["g++", "make", "ar"])
def test_a_missing_tool_is_named_before_work_starts(
        missing: str, tmp_path: Path, image: Path, kept: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in {*COMPILERS, *PACKAGES} - ({*COMPILERS} if missing == "g++" else {missing}):
        if shutil.which(name):
            (tools / name).symlink_to(shutil.which(name))
    one_line(deltamoe("infer", "digits", "--engine", "rtl", "--image", image, PATH=str(tools)),
             f"{missing} is missing", "install")
    assert not list(kept.glob("*"))


def test_tools_are_there() -> None:
    assert check_tools() in COMPILERS


def test_a_user_without_home_is_told_to_name_a_cache(image: Path, tmp_path: Path) -> None:
    """HOME is not set and the table of users does not know who runs this."""
    code = ("import os, pwd, sys; sys.argv[0] = 'deltamoe'\n"
            "def unknown(user): raise KeyError(user)\n"
            "pwd.getpwuid = unknown\n"
            "from deltamoe.cli import main; main()")
    environment = {name: value for name, value in os.environ.items()
                   if name not in {"HOME", "XDG_CACHE_HOME", cache.VARIABLE}}
    for words in (["infer", "digits", "--engine", "rtl", "--image", image], ["list"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True,
            check=False, env=environment)
        if words[0] == "infer":
            one_line(done, f"user {os.getuid()}", "HOME", cache.VARIABLE)
        else:
            assert done.returncode == 0, done.stderr
    assert not (tmp_path / "~").exists()


def test_verilog_is_printed_where_the_home_folder_takes_no_cache(tmp_path: Path) -> None:
    """It is no folder here; a superuser could write to one that has no permission."""
    done = deltamoe("verilog", "--out", tmp_path / "out", HOME="/dev/null", XDG_CACHE_HOME=None,
                    DELTAMOE_CACHE=None)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out" / "deltamoe.v").exists()


@pytest.mark.parametrize("disk", ["full", "limited"])
def test_quantize_on_a_full_disk_is_one_line(disk: str, image: Path, small_disk: Path) -> None:
    """Of 64 KiB, or where no file may grow beyond 4 KiB."""
    (image.parent / "images").mkdir()
    image.rename(image.parent / "images" / "image.png")
    out = (small_disk if disk == "full" else image.parent) / "out.safetensors"
    words = [sys.executable, "-m", "deltamoe", "quantize", DIGITS, "--images",
             image.parent / "images", "--out", out]
    limit = ["prlimit", "--fsize=4096"] if disk == "limited" else []
    done = subprocess.run([*limit, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    one_line(done, str(out), "No space left" if disk == "full" else "File too large")
    assert list(out.parent.glob("*safetensors*")) == []


def test_a_full_disk_below_the_simulator_is_named(
        small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory that the Verilog starts with is a file of its own."""
    monkeypatch.setattr(engine, "build", lambda hw: Path("/bin/false"))
    monkeypatch.setattr("tempfile.tempdir", str(small_disk))
    program = SimpleNamespace(hw=None, start=0, size=0, descriptors=())
    with pytest.raises(OSError, match="No space left on device"):
        engine.run(program, np.zeros(1 << 20, np.uint8))


def test_a_cache_that_holds_the_model_need_not_be_writable(
        kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.mkdir()
    hw = PRESETS["nano"]
    monkeypatch.setattr(engine, "Accelerator", lambda hw: None)
    monkeypatch.setattr(engine, "to_verilog", lambda *_: "")
    monkeypatch.setattr(engine, "watched", lambda text, _: (text, ""))
    monkeypatch.setattr(engine, "verilate", lambda *_: b"model")
    engine.build.cache_clear()
    binary = engine.build(hw)
    assert binary.read_bytes() == b"model"
    for path in kept.glob("*.lock"):
        path.unlink()
    monkeypatch.setattr(cache, "writable", lambda path: False)
    monkeypatch.setenv("PATH", "")
    engine.build.cache_clear()
    assert engine.build(hw) == binary
    assert not list(kept.glob("*.lock"))
    binary.unlink()
    engine.build.cache_clear()
    with pytest.raises(ValueError, match=f"the cache {kept} cannot be written to"):
        engine.build(hw)
    engine.build.cache_clear()


@pytest.mark.parametrize("variables", [{"MPLBACKEND": "nosuch"}, {"MPLCONFIGDIR": "/dev/null"}])
def test_pictures_need_nothing_of_matplotlibs_settings(variables: dict, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("question: Does it pay?\nmodels: [digits]\n"
                                         "hardware: [nano]\npolicies: [dense, zero-skip]\n")
    done = deltamoe("compare", "study.yaml", "--out", "out", cwd=tmp_path, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out" / "pareto.png").stat().st_size
