"""The overlay compiles, applies to a tree, and says there what the board's file says."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from deltamoe.boards import BOARDS
from deltamoe.boards.packages import FORMATS
from deltamoe.boards.packages.core import Core
from tests.boards.packages.cores import written

BOARD = BOARDS["zcu102"]
BASE = """\
/dts-v1/;
/ {
    #address-cells = <2>;
    #size-cells = <2>;
    gic: interrupt-controller { interrupt-controller; #interrupt-cells = <3>; };
    zynqmp_clk: clock-controller { #clock-cells = <1>; };
    fpga_full: fpga-region {
        compatible = "fpga-region";
        #address-cells = <2>;
        #size-cells = <2>;
        ranges;
    };
};
"""
"""A tree with no more than the labels that the overlay refers to."""


def no_verilog(_: object) -> str:
    raise AssertionError("an overlay needs no Verilog, which takes minutes to make")


def ran(folder: Path, *words: str) -> str:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return done.stdout


@pytest.fixture
def package(tmp_path: Path) -> Path:
    core = Core(board=BOARD, source=no_verilog)
    return written(FORMATS["linux"], core, tmp_path / "package")


def test_the_command_is_the_one_that_the_file_states(package: Path) -> None:
    use = FORMATS["linux"].use(Core(board=BOARD)).partition(",")[0]
    assert f"//   {use}\n" in (package / "deltamoe_zcu102.dtso").read_text()


@pytest.mark.skipif(not shutil.which("dtc") or not shutil.which("fdtoverlay"),
                    reason="dtc is not installed")
def test_the_overlay_applies(package: Path, tmp_path: Path) -> None:
    (tmp_path / "base.dts").write_text(BASE)
    ran(tmp_path, "dtc", "-@", "-q", "-I", "dts", "-O", "dtb", "-o", "base.dtb", "base.dts")
    use = FORMATS["linux"].use(Core(board=BOARD)).partition(",")[0]
    ran(package, *use.split())
    ran(tmp_path, "fdtoverlay", "-i", "base.dtb", "-o", "all.dtb",
        str(package / "deltamoe_zcu102.dtbo"))
    text = ran(tmp_path, "dtc", "-q", "-I", "dtb", "-O", "dts", "all.dtb")
    region = text.partition("fpga-region {")[2]
    node = re.search(r"deltamoe_zcu102@a0000000 \{(.*?)\};", region, re.DOTALL)[1]
    found = dict(re.findall(r"([\w,#-]+) = ([^;]+);", node))
    numbers = [int(word, 16) for word in found["reg"].strip("<>").split()]
    assert numbers == [0, BOARD.zynq.registers, 0, 4096]
    assert [int(word, 16) for word in found["interrupts"].strip("<>").split()] == [
        0, BOARD.zynq.interrupt, 4]
    assert found["compatible"] == '"generic-uio"'
    rate = re.search(r"assigned-clock-rates = <(\w+)>", region)[1]
    assert int(rate, 16) == BOARD.clock.mhz * 1e6
