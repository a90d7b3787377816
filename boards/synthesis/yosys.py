"""Run Yosys: the system's if it is recent, else the library from PyPI, which is native too."""

import json
import re
import shutil
import sys
from functools import cache as once

from deltamoe.boards.synthesis.parts import Part
from deltamoe.host.files import read_text, write_all
from deltamoe.host.processes import ProgramError, reason, scratch
from deltamoe.host.processes import run as run_program

OLDEST = (0, 40)
"""Oldest native version whose results are those of this repository's figures."""

LIBRARY = """\
import os, sys
from pyosys import libyosys
if len(sys.argv) == 1:
    sys.exit(print(libyosys.yosys_maybe_version()))
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
libyosys.run_pass(sys.argv[1], libyosys.Design())
"""
"""Program that runs commands by Yosys as a library, without its log, or prints the version. It
starts in 0.1 s and is about three times as fast as Yosys in WebAssembly, which begins with 60 s of
compiling itself on every new machine."""

READ = "read_verilog -lib boxes.v; read_verilog top.v"


@once
def executable() -> tuple[list[str], str]:
    """Return the words that run Yosys when its commands follow as one word, and its version.

    Raises
    ------
    ValueError
        There is none.
    """
    library, system = [sys.executable, "-I", "-c", LIBRARY], shutil.which("yosys")
    found = [([system, "-q", "-p"], [system, "--version"])] if system else []
    for words, version in (*found, (library, library)):
        said = run_program(version).stdout.strip()
        number = re.match(r"Yosys (\d+)\.(\d+)", said)
        if number and tuple(map(int, number.groups())) >= OLDEST:
            return words, said
    raise ValueError("no Yosys: install the PyPI package 'pyosys' or a system Yosys "
                     f"{'.'.join(map(str, OLDEST))} or newer")


def script(part: Part, *, map_pairs: bool) -> str:
    """Return the commands that synthesize ``top.v``, its black boxes in ``boxes.v``.

    Wires are renamed before logic is mapped to LUTs: ABC9's result is merged by name, and the
    names of Amaranth's flattened wires can collide with its own, which ends Yosys ("Assert
    count_id(wire->name) == 0").
    """
    pairs = ["techmap -map pairs.v"] if map_pairs else []
    return "; ".join([READ, *pairs, f"{part.flow} -top top -run begin:map_luts", "rename -hide",
                      f"{part.flow} -top top -run map_luts:check",
                      "tee -q -o cells.json stat -json"])


def netlist_script(part: Part) -> str:
    """Return the commands that synthesize ``top.v`` to ``netlist.json``.

    Registers are named after their wires before those are renamed, as in :func:`script`.
    """
    return "; ".join(["read_verilog top.v", f"{part.flow} -top top -run begin:map_luts",
                      "autoname", "rename -hide w:*",
                      f"{part.flow} -top top -run map_luts: -json netlist.json"])


def unit_netlist_script(part: Part, *, map_pairs: bool) -> str:
    """Return the commands that synthesize ``top.v``, its black boxes in ``boxes.v``, to a netlist.

    Those of :func:`script` with the names of :func:`netlist_script`. What a part's library says
    of its own cells must not be written: Yosys cannot.
    """
    pairs = ["techmap -map pairs.v"] if map_pairs else []
    return "; ".join([READ, *pairs, f"{part.flow} -top top -run begin:map_luts", "autoname",
                      "rename -hide w:*", f"{part.flow} -top top -run map_luts:check",
                      "blackbox =A:whitebox", "write_json netlist.json"])


def run(commands: str, files: dict[str, str], output: str) -> str:
    """Run ``commands`` in a new folder of ``files`` and return the file ``made``.

    Raises
    ------
    ProgramError
        Yosys failed.
    """
    with scratch() as folder:
        write_all({folder / file: text for file, text in files.items()})
        done = run_program([*executable()[0], commands], folder)
        if done.returncode or not (folder / output).exists():
            raise ProgramError(f"Yosys failed in {folder}: {reason(done)}")
        return read_text(folder / output)


def sources(part: Part, text: str, boxes: str, *, map_pairs: bool) -> dict[str, str]:
    """Return the files that the scripts of a unit read."""
    return {"top.v": text, "boxes.v": boxes, "pairs.v": read_text(part.pair_map) if map_pairs
            else ""}


def count(commands: str, files: dict[str, str]) -> dict[str, int]:
    """Return the cells that :func:`script` makes of a unit, by kind."""
    return json.loads(run(commands, files, "cells.json"))["design"]["num_cells_by_type"]


def unit_netlist(commands: str, files: dict[str, str]) -> dict:
    """Return what :func:`unit_netlist_script` makes of a unit: its ports and its cells."""
    top = json.loads(run(commands, files, "netlist.json"))["modules"]["top"]
    return {"ports": top["ports"], "cells": {
        name: {key: cell[key] for key in ("type", "parameters", "port_directions", "connections")}
        for name, cell in top["cells"].items()}}
