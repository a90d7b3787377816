"""Run a cocotb bench on Verilog, built once for equal Verilog."""

import hashlib
import os
from pathlib import Path

import cocotb_tools
from cocotb_tools.runner import get_runner

from scripts.rtl_engine.engine import cache, locked, verilator


def run_bench(text: str, top: str, module: str, folder: Path, **environment: str) -> None:
    """Build ``text`` with top ``top`` and run all tests of ``module`` on it.

    Builds are kept for equal text and equal installation, whose paths are part of a build.
    """
    executable, needs = verilator()
    folder.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256(f"{executable}\0{cocotb_tools.__file__}\0{text}".encode()).hexdigest()[:20]
    build = cache() / f"bench-{top}-{key}"
    paths = {"PATH": f"{Path(executable).parent}{os.pathsep}{needs['PATH']}",
             "MAKEFLAGS": "CFG_CXXFLAGS_PCH_I=-include OPT_FAST=-O1 OPT_SLOW=-O0"}
    if "VERILATOR_ROOT" in needs:
        paths["VERILATOR_ROOT"] = needs["VERILATOR_ROOT"]
    before = {name: os.environ.get(name) for name in paths}
    os.environ.update(paths)
    try:
        runner = get_runner("verilator")
        with locked(cache() / f"bench-{key}.lock"):
            source = folder / f"{top}.v"
            source.write_text(text)
            runner.build(sources=[source], hdl_toplevel=top, build_dir=build, always=False,
                         build_args=["--assert", "-Wno-fatal", "-Wno-WIDTH", "-Wno-UNOPTFLAT"],
                         log_file=str(folder / "build.log"))
        os.environ.pop("MAKEFLAGS")
        runner.test(hdl_toplevel=top, test_module=module, build_dir=build, test_dir=str(folder),
                    extra_env=environment, results_xml=str(folder / "results.xml"),
                    log_file=str(folder / "run.log"))
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
