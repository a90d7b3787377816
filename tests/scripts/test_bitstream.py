"""``deltamoe bitstream``: all of the flow but LiteX, on a small circuit in place of the SoC."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

import deltamoe.api.bitstream as api
from deltamoe.api.bitstream import BIT, FITTING, bitstream
from deltamoe.boards import BOARDS
from deltamoe.boards.driver.bitstream import Soc, Step, Window, read_bitstream
from deltamoe.boards.driver.manifest import Hardware
from deltamoe.boards.synthesis import nextpnr, yosys
from deltamoe.boards.synthesis.parts import PARTS
from deltamoe.boards.ulx3s.gateware import Gateware
from deltamoe.host.processes import ProgramError
from tests.scripts.test_cli import run

STEPS = 3
VERILOG = f"""module top(input clk25, input given, output reg made);
  reg [17:0] value;
  wire [17:0] next[0:{STEPS}];
  assign next[0] = value;
  genvar n;
  generate for (n = 0; n < {STEPS}; n = n + 1) assign next[n + 1] = next[n] * (next[n] ^ 18'd5);
  endgenerate
  always @(posedge clk25) begin
    value <= {{next[{STEPS}][16:0], given}};
    made <= ^value;
  end
endmodule
"""
"""Multipliers one behind the other: fast enough for 20 MHz, and not for 100."""

PINS = "".join(f'LOCATE COMP "{name}" SITE "{site}";\nIOBUF PORT "{name}" IO_TYPE=LVCMOS33;\n'
               for name, site in (("clk25", "G2"), ("given", "D6"), ("made", "B2")))


def circuit(core: object, mhz: float, baud: int) -> Gateware:
    """In place of the SoC."""
    soc = Soc(hardware=Hardware(name="nano", configuration=7, bus_bytes=8), clock_mhz=mhz,
              baud=baud, registers=Window(address=0, bytes=4), memory=Window(address=4, bytes=4),
              wake=(Step(address=8, value=1, cycles=2),), mark=12)
    return Gateware(VERILOG, PINS, "csr_base,ctrl,0x00000000,,\n", soc)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "generate", circuit)


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("this was made before")


def test_the_folder_holds_what_the_manifest_says(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    folder, file = tmp_path / "new", tmp_path / "figures.json"
    code, out, err = run(monkeypatch, capsys, "bitstream", "--clock-mhz", "20", "--out", folder,
                         "--json", file)
    assert code == 0, err
    manifest, figures = read_bitstream(folder), json.loads(file.read_text())
    assert {path.name for path in folder.iterdir()} == {
        "manifest.json", *(each.name for each in manifest.files)}
    for each in manifest.files:
        data = (folder / each.name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (each.bytes, each.sha256)
    assert (folder / BIT).read_bytes()[:2] == b"\xff\x00", "no bitstream of Lattice"
    assert (folder / "soc.v").read_text() == VERILOG
    assert manifest.soc == circuit(None, 20, 1_000_000).soc
    assert manifest.timing.met
    assert manifest.timing.slack_ns == pytest.approx(50 - 1000 / manifest.timing.fmax_mhz)
    assert manifest.utilization["MULT18X18D"].used == STEPS
    assert manifest.utilization["MULT18X18D"].available == 156
    assert figures["timing"] == manifest.timing.model_dump()
    assert "Yosys" in manifest.tools["yosys"]
    said = " ".join(out.split())
    assert f"slack {manifest.timing.slack_ns:+.2f} ns" in said
    assert f"openFPGALoader --board ulx3s {folder / BIT}" in said
    assert "has run on a board" in said

    monkeypatch.setattr(yosys, "run", refuse)
    monkeypatch.setattr(nextpnr, "configure", refuse)
    again = bitstream("nano", tmp_path / "again", clock_mhz=20)
    assert again.manifest == manifest


def test_a_slow_one_is_written_only_if_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    with pytest.raises(ProgramError, match=r"^nano on ulx3s reaches [\d.]+ MHz of 100 \(seed 1\)"):
        bitstream("nano", folder, clock_mhz=100)
    assert not [*tmp_path.iterdir()]
    made = bitstream("nano", folder, clock_mhz=100, allow_slow=True)
    assert not made.manifest.timing.met
    assert made.manifest.timing.slack_ns < 0
    assert (folder / BIT).exists()


@pytest.mark.parametrize(("stage", "where"), [
    ("run", yosys), ("configure", nextpnr), ("pack", nextpnr)])
def test_what_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str,
                                   where: object) -> None:
    """At another clock for each, since results are kept."""
    monkeypatch.setattr(api, "generate", lambda *given: Gateware(
        VERILOG + f"// {stage}\n", PINS, "", circuit(*given).soc) if stage == "run" else circuit(
            *given))
    monkeypatch.setattr(where, stage, failing)
    clock = 20.5 if stage == "configure" else 20
    with pytest.raises(ProgramError, match=r"^it failed$"):
        bitstream("nano", tmp_path / "new", clock_mhz=clock)
    assert not [*tmp_path.iterdir()]


def failing(*_: object) -> Callable:
    raise ProgramError("it failed")


def test_every_accelerator_fits() -> None:
    for board, names in FITTING.items():
        assert PARTS[BOARDS[board].part].router
        assert {*names} <= BOARDS.keys()
