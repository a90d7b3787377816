"""LiteX makes SoCs with the packaged module, and its pins fit."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deltamoe.boards.packages import FORMATS
from deltamoe.boards.packages.core import register_map
from tests.boards.packages.cores import header, lint, small, written

SCRIPT = Path(__file__).with_name("litex_soc.py")
PINS = re.compile(r"%\w+-(PIN\w+)|pin connection", re.IGNORECASE)
"""What a lint says of an instance whose pins do not fit."""


@pytest.mark.parametrize("memory", ["sdram", "bus"])
def test_a_soc_with_every_pin_connected(memory: str, tmp_path: Path) -> None:
    core = small("nano")
    package = written(FORMATS["litex"], core, tmp_path / "package")
    done = subprocess.run([sys.executable, SCRIPT, package, memory], cwd=tmp_path,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == str(package / "deltamoe_nano.v")

    soc = json.loads((tmp_path / "soc.json").read_text())
    region = soc["memories"]["deltamoe"]
    assert (region["base"], region["size"]) == (0x9000_0000, 4096)
    assert {name: soc["constants"][f"deltamoe_{name}_offset"] for name in register_map()} == {
        name: register.offset for name, register in register_map().items()}
    assert "deltamoe_ev_pending" in soc["csr_registers"]

    text = (tmp_path / "soc.v").read_text()
    assert ("sdram" in text) == (memory == "sdram")
    assert set(re.findall(r"^\s+\.([ms]_axi_\w+)\s", text, re.MULTILINE)) == {
        port.name for port in core.ports if "axi" in port.name}
    stand_in = header(core)
    (tmp_path / "core.v").write_text(stand_in)
    assert not PINS.search(lint("soc", tmp_path, "soc.v", "core.v"))
    (tmp_path / "core.v").write_text(stand_in.replace("[63:0] m_axi_rdata", "m_axi_rdata"))
    assert PINS.search(lint("soc", tmp_path, "soc.v", "core.v")), "the lint sees no wrong width"
