"""The C driver: compiled by strict rules, without a library, and run on the Verilated model."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from deltamoe.api.building import Build
from deltamoe.boards import PRESETS, driver
from deltamoe.boards.driver import header
from deltamoe.boards.driver.manifest import Manifest
from deltamoe.boards.verilator.engine import build
from deltamoe.golden.engines import Output
from tests.boards.driver.conftest import BASE

FOLDER = Path(driver.__file__).parent
STRICT = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2", "-I", FOLDER)
COMPILER = shutil.which("gcc") or shutil.which("cc")

DONE = "done"
TIMEOUT = "it takes longer than it may"
BUSY = "a program runs"
SAID = [
    ("magic", "there is no accelerator"), ("accesses", "1"),
    ("version", "the accelerator's registers are of another version"), ("accesses", "2"),
    ("configuration", "the program was built for another accelerator"), ("accesses", "3"),
    ("unaligned", "the memory is not aligned, or beyond the accelerator's addresses"),
    ("beyond", "the memory is not aligned, or beyond the accelerator's addresses"),
    ("open", DONE), ("short image", "the image is not that of the program"),
    ("wrong image", "the image is not that of the program"), ("image", DONE), ("run", DONE),
    ("interrupt", "0"), ("cycles", None), ("silent", TIMEOUT), ("busy", BUSY), ("busy start", BUSY),
    ("busy load", BUSY),
    ("silent reset", TIMEOUT), ("reset", DONE), ("run after silence", DONE),
    ("failing", "the accelerator ended the program with an error"),
    ("failing", "image.load; BUS: the memory answered with an error"),
    ("reset", DONE), ("run after an error", DONE)]


def compiled(out: Path, *words: object) -> Path:
    subprocess.run([COMPILER, *STRICT, *words, "-o", out], check=True)
    return out


def test_it_needs_no_operating_system(tmp_path: Path) -> None:
    """Of a library only what compilers ask for on their own."""
    compiled(tmp_path / "deltamoe.o", "-ffreestanding", "-c", FOLDER / "deltamoe.c")
    listed = subprocess.run(["nm", "--undefined-only", "--format=just-symbols",
                             tmp_path / "deltamoe.o"], check=True, capture_output=True, text=True)
    assert set(listed.stdout.split()) <= {"memcpy", "memset", "memmove", "memcmp"}


PIXELS = """
#include <stdio.h>
#include "program.h"
static uint8_t memory[4096], pixels[4096];
static void write_memory(void *context, uint64_t address, const void *data, size_t size) {
    (void)context;
    for (size_t n = 0; n < size; n++)
        memory[address - deltamoe_program.input_address + n] = ((const uint8_t *)data)[n];
}
int main(void) {
    const struct deltamoe_bus bus = {.write_memory = write_memory};
    struct deltamoe device = {.bus = &bus, .program = &deltamoe_program};
    fread(pixels, 1, sizeof pixels, stdin);
    deltamoe_write_input(&device, pixels);
    fwrite(memory, 1, sizeof memory, stdout);
    return 0;
}
"""


def test_pixels_lie_as_the_compiler_says(colored: Manifest, coded: tuple[np.ndarray, bytes],
                                         tmp_path: Path) -> None:
    """And nothing is written behind them."""
    (tmp_path / "program.h").write_text(header.program(colored))
    (tmp_path / "pixels.c").write_text(PIXELS)
    program = compiled(tmp_path / "pixels", "-Wno-unused-result", "-I", tmp_path,
                       tmp_path / "pixels.c", FOLDER / "deltamoe.c")
    pixels, expected = coded
    done = subprocess.run([program], input=pixels.tobytes(), capture_output=True, check=True)
    assert done.stdout == expected.ljust(4096, b"\0")


@pytest.mark.verilator
@pytest.mark.xdist_group("driver")
def test_it_runs_on_the_model(built: Build, pixels: np.ndarray, golden: Output, tmp_path: Path,
                              ) -> None:
    """Every bit right, every failure told, and right again after each."""
    program = compiled(tmp_path / "program", "-I", built.folder,
                       Path(__file__).with_name("on_model.c"), FOLDER / "deltamoe.c")
    (tmp_path / "pixels").write_bytes(pixels.tobytes())
    served = [build(PRESETS["nano"]), "serve", BASE + built.manifest.memory.bytes, 20, 1, 0, 1]
    with subprocess.Popen(list(map(str, served)), stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as model:
        done = subprocess.run(
            [program, built.folder / "program.bin", tmp_path / "pixels", str(BASE),
             tmp_path / "outputs"], stdin=model.stdout, stdout=model.stdin, text=True,
            stderr=subprocess.PIPE, check=True, timeout=60)
        model.stdin.close()
    said = [tuple(line.split(": ", 1)) for line in done.stderr.splitlines()]
    assert [step for step, _ in said] == [step for step, _ in SAID]
    for (step, found), (_, expected) in zip(said, SAID, strict=True):
        assert expected in {None, found}, step
    values = np.fromfile(tmp_path / "outputs", "<i2")
    assert np.array_equal(values, np.concatenate([golden.x.ravel(), golden.scores]))
