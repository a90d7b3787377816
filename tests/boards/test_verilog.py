"""The generated Verilog: every preset, the same bytes every time, readable by Yosys."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from amaranth import Module
from amaranth.hdl import CombinationalCycle
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from deltamoe.boards import PRESETS
from deltamoe.boards.synthesis.yosys import executable
from deltamoe.boards.verilator import engine
from deltamoe.boards.verilator.build import verilator
from deltamoe.rtl.accelerator import Accelerator
from deltamoe.rtl.generate import to_verilog
from deltamoe.rtl.waivers import verilator_control

CODE = ("import sys; from deltamoe.rtl.accelerator import Accelerator; "
        "from deltamoe.boards import PRESETS; "
        "from deltamoe.rtl.generate import to_verilog; "
        "sys.stdout.write(to_verilog(Accelerator(PRESETS['nano']), 'deltamoe'))")

PRESETS_OF_ANY_SIZE = pytest.mark.parametrize("preset", [
    "nano", *(pytest.param(preset, marks=pytest.mark.slow)  # zcu102 takes two minutes
              for preset in PRESETS if preset != "nano")])


def test_same_bytes_for_any_hash_seed_and_beside_any_yosys(tmp_path: Path) -> None:
    """A system's own Yosys, here one that prints nothing but a version, is not asked."""
    (tmp_path / "yosys").write_text("#!/bin/sh\n[ $1 != -V ] || echo 'Yosys 0.99 (git sha1 0)'\n")
    (tmp_path / "yosys").chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    first, second = (subprocess.run(
        [sys.executable, "-c", CODE], env=os.environ | changed, check=True,
        capture_output=True).stdout
        for changed in ({"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2", "PATH": path}))
    assert first == second
    assert b"module deltamoe(" in first


@PRESETS_OF_ANY_SIZE
def test_every_preset_converts(preset: str) -> None:
    text = to_verilog(Accelerator(PRESETS[preset]), "deltamoe")
    assert "module deltamoe(" in text
    assert "assert" not in text
    assert not re.search(r'"block" \*\)\n[^\n]*\n  initial', text), "block memory is initialized"
    assert "always @*" not in text, "a block that runs only after a change"


@pytest.mark.parametrize("preset", [
    "nano", pytest.param("zcu102", marks=pytest.mark.slow)])  # minutes
def test_yosys_reads_it(preset: str, tmp_path: Path) -> None:
    text = to_verilog(Accelerator(PRESETS[preset]), "deltamoe")
    (tmp_path / "deltamoe.v").write_text(text)
    script = "read_verilog deltamoe.v; hierarchy -check -top deltamoe; proc; check -assert"
    done = subprocess.run([*executable()[0], script], cwd=tmp_path, capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def lint(text: str, folder: Path) -> list[str]:
    """Return the warnings that the waivers leave of all that Verilator has."""
    (folder / "deltamoe.v").write_text(text)
    (folder / "deltamoe.vlt").write_text(verilator_control("deltamoe.v"))
    binary, root = verilator()
    environment = os.environ | ({"VERILATOR_ROOT": str(root)} if root else {})
    done = subprocess.run(
        [binary, "--lint-only", "-Wall", "--top-module", "deltamoe", "deltamoe.vlt", "deltamoe.v"],
        cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return [line for line in done.stderr.splitlines() if line.startswith("%")]


@PRESETS_OF_ANY_SIZE
def test_lint_finds_nothing(preset: str, tmp_path: Path) -> None:
    assert lint(engine.verilog(PRESETS[preset]), tmp_path) == []


def test_lint_sees_a_fault_beside_what_is_waived(tmp_path: Path) -> None:
    text = engine.verilog(PRESETS["nano"])
    narrow, places = re.subn(r"^  (output|reg) \[1:0\] normalizers__address;$",
                             r"  \1 normalizers__address;", text, flags=re.MULTILINE)
    assert places == 2, "the fault has no place"
    assert any("WIDTH" in line for line in lint(narrow, tmp_path))


class Loop(wiring.Component):
    o: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(~self.o)

        return m


def test_combinational_loop_is_refused() -> None:
    with pytest.raises(CombinationalCycle):
        to_verilog(Loop(), "loop")


def test_assertions_are_kept_for_simulation() -> None:
    assert "assert (" in to_verilog(Accelerator(PRESETS["nano"]), "deltamoe", assertions=True)
