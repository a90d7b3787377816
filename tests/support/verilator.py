"""Run a cocotb bench on Verilator, built once for equal Verilog."""

import hashlib
import os
from pathlib import Path

import cocotb_tools.config
from cocotb_tools.runner import get_runner

from deltamoe.boards.verilator.build import verilate, verilator
from deltamoe.boards.verilator.engine import sources_key
from deltamoe.host import cache
from deltamoe.host.files import read_text, write
from deltamoe.host.processes import scratch
from deltamoe.rtl.accelerator import Accelerator
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.generate import to_verilog

FLAGS = ("--vpi", "--public-depth", "1", "--prefix", "Vtop", "--assert", "-Wno-fatal",
         "-Wno-WIDTH", "-Wno-UNOPTFLAT", "-MAKEFLAGS", "OPT_FAST=-O1", "-MAKEFLAGS", "OPT_SLOW=-O0",
         "-LDFLAGS", "-Wl,-rpath-link,cocotb -Lcocotb -lcocotbvpi_verilator")

HARNESS_FLAGS = ("--assert", "-O3", "--x-assign", "unique", "--x-initial", "unique", "-Wno-fatal",
                 "-Wno-WIDTH", "-Wno-UNOPTFLAT", "-MAKEFLAGS", "OPT_FAST=-O1",
                 "-MAKEFLAGS", "OPT_SLOW=-O0", "-MAKEFLAGS", "OPT_GLOBAL=-O0")


def accelerator(hw: HwConfig) -> str:
    """Return the Verilog of ``hw`` with its assertions, kept for equal sources."""
    path = cache.folder() / f"bench-{hw.name}-{sources_key(hw)}.v"
    if not path.exists():
        with cache.locked(path.name):
            if not path.exists():
                write(path, to_verilog(Accelerator(hw), "deltamoe", assertions=True))
    return read_text(path)


def build_bench(text: str, top: str) -> Path:
    """Return a folder with the executable ``top``, which has cocotb's interface."""
    key = hashlib.sha256("\0".join((
        str(verilator()[0]), cocotb_tools.__file__, *FLAGS, text)).encode()).hexdigest()[:20]
    build = cache.folder() / f"bench-{top}-{key}"
    if not (build / top).exists():
        main = cocotb_tools.config.share_dir / "lib" / "verilator" / "verilator.cpp"
        with cache.locked(build.name), scratch() as folder:
            if not (build / top).exists():
                (folder / "cocotb").symlink_to(cocotb_tools.config.libs_dir)
                binary = verilate(folder, {f"{top}.v": text, "main.cpp": read_text(main)},
                                  ["--top-module", top, *FLAGS])
                build.mkdir(exist_ok=True)
                write(build / top, binary, mode=0o777)
    return build


def run_bench(text: str, top: str, module: str, folder: Path, **environment: str) -> None:
    """Build ``text`` with top ``top`` and run all tests of ``module`` on it.

    Builds are kept for equal text and equal installation.
    """
    folder.mkdir(parents=True, exist_ok=True)
    libraries = (str(cocotb_tools.config.libs_dir), os.environ.get("LD_LIBRARY_PATH"))
    get_runner("verilator").test(
        hdl_toplevel=top, hdl_toplevel_lang="verilog", test_module=module,
        build_dir=build_bench(text, top), test_dir=str(folder),
        extra_env=environment | {"LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries))},
        results_xml=str(folder / "results.xml"), log_file=str(folder / "run.log"))


def build_harness(text: str, harness: Path, defines: dict[str, int]) -> Path:
    """Return a program: C++ of ``harness`` with the model of module ``deltamoe`` in ``text``.

    Registers and memories start with random values, which ``+verilator+seed+N`` chooses.
    """
    flags = ["--top-module", "deltamoe", *HARNESS_FLAGS, *(
        word for name, value in defines.items() for word in ("-CFLAGS", f"-D{name}={value}"))]
    files = {"deltamoe.v": text, harness.name: read_text(harness)}
    key = hashlib.sha256("\0".join((
        str(verilator()[0]), *flags, *files.values())).encode()).hexdigest()[:20]
    binary = cache.folder() / f"{harness.stem}-{key}"
    if not binary.exists():
        with cache.locked(binary.name), scratch() as folder:
            if not binary.exists():
                write(binary, verilate(folder, files, flags), mode=0o777)
    return binary
