"""``deltamoe package``: what it prints and writes, and that it says what nobody checked."""

import json
from pathlib import Path

import pytest

from deltamoe.api.packaging import format_for, package
from deltamoe.boards import BOARDS
from deltamoe.boards.packages import FORMATS
from tests.scripts.test_cli import run


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_says_what_is_not_checked(form: str) -> None:
    assert FORMATS[form].checked
    assert FORMATS[form].unchecked


def test_the_command_writes_a_folder_and_says_what_is_in_it(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    code, out, _ = run(monkeypatch, capsys, "package", "--as", "fusesoc", "--out", tmp_path / "new",
                       "--json", tmp_path / "package.json")
    assert code == 0
    assert f"checked by no open tool: {FORMATS['fusesoc'].unchecked}" in out
    figures = json.loads((tmp_path / "package.json").read_text())
    assert (figures["hardware"], figures["as"], figures["module"], figures["clock_mhz"]) == (
        "nano", "fusesoc", "deltamoe_nano", 100)
    assert sorted(figures["files"]) == sorted(map(str, (tmp_path / "new").iterdir()))


def test_the_same_bytes_every_time(tmp_path: Path) -> None:
    first, second = (package("nano", "fusesoc", tmp_path / name) for name in ("a", "b"))
    assert first.files == second.files


def test_a_board_that_a_format_does_not_take_is_refused() -> None:
    for name, form in FORMATS.items():
        if not form.takes(BOARDS["nano"]):
            with pytest.raises(ValueError, match=f"'nano' with --as {name} is not one of zcu102"):
                format_for(name, "nano")
