"""What is printed: no figure is cut, and a stream that fails is named."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

from deltamoe.terminal import Screen, Table

ROOT = Path(__file__).parents[3]
HASH = "3f" * 32
CELLS = ("m3vit-tiny-129", "1,257,122,304", HASH, "[b] :smile: in several words that may fold")
LIST = f"{sys.executable} -m deltamoe list"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", ["20", "80", "200"])
@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_no_figure_is_cut(columns: str, stream: type[io.StringIO]) -> None:
    out = stream()
    screen = Screen(file=out, _environ={"COLUMNS": columns, "NO_COLOR": "1"})
    table = Table("network", "MACs", "output", "remark", title=f"of {HASH}")
    table.add_row(*CELLS)
    screen.print(table)
    said = out.getvalue()
    assert "…" not in said
    assert all(word in said for cell in CELLS for word in cell.split())
    if stream is io.StringIO:
        assert all(cell in said for cell in CELLS)


@pytest.mark.parametrize(("line", "code", "said"), [
    (f"{LIST} > /dev/full", 2, "error: standard output: No space left on device\n"),
    (f"{LIST} --json - > /dev/full", 2, "error: standard output: No space left on device\n"),
    (f"{LIST} --json /dev/full", 2, "error: /dev/full: No space left on device\n"),
    (f"{LIST} >&-", 2, "error: standard output: it is closed\n"),
    (f"{LIST} | true; exit ${{PIPESTATUS[0]}}", 141, ""),
    (f"LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 {LIST} > /dev/null", 0, ""),
])
def test_a_stream_that_fails_is_named(line: str, code: int, said: str) -> None:
    done = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True,
                          check=False)
    assert (done.returncode, done.stderr) == (code, said)
