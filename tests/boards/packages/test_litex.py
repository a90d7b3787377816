"""LiteX makes SoCs with the packaged module: its pins fit, and the digits run on them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deltamoe.boards.packages import FORMATS
from deltamoe.boards.verilator.build import verilate
from deltamoe.golden.engines import integer_output
from deltamoe.golden.library import default_image, find
from deltamoe.host.files import write
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.rtl.control.register_map import REGISTERS
from tests.boards.packages.cores import header, lint, small, written

SCRIPT, BENCH = (Path(__file__).with_name(name) for name in ("litex_soc.py", "litex_bench.v"))
PINS = re.compile(r"%\w+-(PIN\w+)|pin connection", re.IGNORECASE)
"""What a lint says of an instance whose pins do not fit."""


def build_soc(memory: str, folder: Path, ports: int = 1) -> None:
    """Write a SoC into a folder."""
    package = written(FORMATS["litex"], small("nano", ports), folder / "package")
    done = subprocess.run([sys.executable, SCRIPT, package, memory], cwd=folder,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == str(package / "deltamoe_nano.v")


MEMORIES = pytest.mark.parametrize("memory", ["sdram", "bus"])


@MEMORIES
@pytest.mark.parametrize("ports", [1, 2])
def test_a_soc_with_every_pin_connected(memory: str, ports: int, tmp_path: Path) -> None:
    build_soc(memory, tmp_path, ports)
    core = small("nano", ports)
    soc = json.loads((tmp_path / "soc.json").read_text())
    region = soc["memories"]["deltamoe"]
    assert (region["base"], region["size"]) == (0x9000_0000, 4096)
    assert {name: soc["constants"][f"deltamoe_{name}_offset"] for name in core.registers} == {
        name: register.offset for name, register in core.registers.items()}
    assert "deltamoe_ev_pending" in soc["csr_registers"]

    text = (tmp_path / "soc.v").read_text()
    assert ("sdram" in text) == (memory == "sdram")
    assert set(re.findall(r"^\s+\.([ms]\d?_axi_\w+)\s", text, re.MULTILINE)) == {
        port.name for port in core.ports if "axi" in port.name}
    stand_in = header(core)
    (tmp_path / "core.v").write_text(stand_in)
    assert not PINS.search(lint("soc", tmp_path, "soc.v", "core.v"))
    data = next(port for port in core.ports if port.name.endswith("rdata") and port.name[0] == "m")
    narrow = stand_in.replace(f"{data.range}{data.name}", data.name)
    assert narrow != stand_in
    (tmp_path / "core.v").write_text(narrow)
    assert PINS.search(lint("soc", tmp_path, "soc.v", "core.v")), "the lint sees no wrong width"


@MEMORIES
@pytest.mark.slow  # a minute each
@pytest.mark.verilator
def test_digits_run_on_a_soc(memory: str, tmp_path: Path) -> None:
    """No bit differs from the integer network; SDRAM is behind LiteDRAM's controller."""
    build_soc(memory, tmp_path)
    soc = json.loads((tmp_path / "soc.json").read_text())["memories"]
    network = find("digits")
    program = compile_program(network.quantized, small("nano").board.hardware)
    pixels = default_image(network.quantized.config)
    image = program.with_image(pixels.numpy())
    image = np.concatenate([image, np.zeros(-len(image) % 4, np.uint8)]).view("<u4")
    (tmp_path / "image.hex").write_text("".join(f"{word:08x}\n" for word in image))
    registers = small("nano").registers
    defines = {name.upper(): register.offset for name, register in registers.items()} | {
        "WORDS": len(image), "MAIN_RAM": soc["main_ram"]["base"],
        "DELTAMOE": soc["deltamoe"]["base"],
        "BASE": soc["main_ram"]["base"] if memory == "bus" else 0,
        "START": program.start, "LENGTH": len(program.descriptors), "SIZE": program.size}
    (tmp_path / "build").mkdir()
    sources = {"bench.v": BENCH.read_text(), "soc.v": (tmp_path / "soc.v").read_text(),
               "core.v": small("nano").verilog}
    binary = verilate(
        tmp_path / "build", sources,
        ["--main", "--timing", "--top-module", "bench", "-CFLAGS", "-std=c++20", "-Wno-fatal",
         "-Wno-lint", "-Wno-style", "-MAKEFLAGS", "OPT_SLOW=-O0",
         *(f"-D{name}=32'd{value}" for name, value in defines.items())])
    write(tmp_path / "model", binary, mode=0o777)
    done = subprocess.run([tmp_path / "model"], cwd=tmp_path, capture_output=True, text=True,
                          check=False)
    ended = REGISTERS["status"].mask("done")
    assert f"status {ended}\n" in done.stdout, done.stdout
    words = (tmp_path / "after.hex").read_text().split()
    after = np.array([int(word, 16) for word in words], "<u4")
    tokens, scores = program.outputs(after.view(np.uint8)[: program.size])
    expected, _ = integer_output(network, pixels, 0)
    np.testing.assert_array_equal(tokens, expected.x)
    np.testing.assert_array_equal(scores, expected.scores)
