"""Programs end with the one that started them, and leave nothing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deltamoe.host.processes import ProgramError, lines, reason, run

ROOT = Path(__file__).parents[3]
SECONDS = 60


def until(happened: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Wait for something that may take a while on a busy machine."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def descendants(pid: int) -> set[int]:
    """Processes that descend from one, or that are in a group of one that does."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True,
                            check=True).stdout.split()
    parents = dict(zip(map(int, listed[::2]), map(int, listed[1::2]), strict=True))
    found, new = set(), {pid}
    while new:
        found |= new
        new = {child for child, parent in parents.items() if parent in found} - found
    return found - {pid}


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


BUILD = """
from deltamoe.host.processes import scratch
from deltamoe import cli
from deltamoe.boards.verilator.build import verilate

def build():
    with scratch() as folder:
        verilate(folder, {"top.v": "module top(input a, output b); assign b = a; endmodule",
                          "main.cpp": '#include "Vtop.h"\\nint main() { Vtop top; }'},
                 ["--top-module", "top"])

cli.start = build
cli.main()
"""


PRINT = """
from deltamoe.rtl.accelerator import Accelerator
from deltamoe.boards import PRESETS
from deltamoe.rtl.generate import to_verilog
from deltamoe import cli

cli.start = lambda: to_verilog(Accelerator(PRESETS["nano"]), "top")
cli.main()
"""


def test_verilog_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    """Yosys prints it when the signal comes."""
    with subprocess.Popen([sys.executable, "-c", PRINT], cwd=ROOT, stderr=subprocess.PIPE,
                          text=True, env=os.environ | {"TMPDIR": str(tmp_path)}) as process:
        try:
            until(lambda: process.poll() is not None or descendants(process.pid))
            time.sleep(2)  # until it has read what it is to print
            started = descendants(process.pid)
            process.send_signal(signal.SIGTERM)
            assert process.wait(SECONDS) == 128 + signal.SIGTERM
            assert process.stderr.read() == ""
        finally:
            process.kill()
    until(lambda: not any(map(alive, started)), 0.1)  # what is not killed runs longer than that
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_build_that_is_stopped_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    """Verilator, make and the compiler run when the signal comes."""
    with subprocess.Popen([sys.executable, "-c", BUILD], cwd=ROOT, stderr=subprocess.PIPE,
                          text=True, env=os.environ | {"TMPDIR": str(tmp_path)},
                          preexec_fn=lambda: signal.signal(number, signal.SIG_DFL)) as process:
        try:
            until(lambda: process.poll() is not None or len(descendants(process.pid)) >= 4)
            assert process.poll() is None, process.stderr.read()
            started = descendants(process.pid)
            assert list(tmp_path.rglob("Vtop.mk"))
            process.send_signal(number)
            assert process.wait(SECONDS) == 128 + number
            assert process.stderr.read() == ""
        finally:
            process.kill()
    until(lambda: not any(map(alive, started)), 0.1)  # what is not killed runs longer than that
    assert list(tmp_path.iterdir()) == []


WORK = """
import sys
import time
from deltamoe import cli
from deltamoe.host.processes import ProgramError, workers

def work(seconds):
    time.sleep(seconds)
    return seconds

def count():
    try:
        with workers(2) as pool:
            print(list(pool.map(work, {seconds})))
    except ProgramError as error:
        cli.refuse(error)
        sys.exit(2)

if __name__ == "__main__":
    cli.start = count
    cli.main()
"""


def default_interrupt() -> None:
    """Heed SIGINT, which a shell has processes in the background ignore, and all they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_processes_of_python_end_with_the_one_that_started_them(
        number: signal.Signals, tmp_path: Path) -> None:
    """At once, though each has work for longer than the test."""
    script = tmp_path / "count.py"
    script.write_text(WORK.format(seconds=[9 * SECONDS] * 3))
    with subprocess.Popen([sys.executable, script], stderr=subprocess.PIPE, text=True,
                          env=os.environ | {"TMPDIR": str(tmp_path)},
                          preexec_fn=default_interrupt) as process:
        try:
            until(lambda: process.poll() is not None or len(descendants(process.pid)) >= 3)
            time.sleep(1)
            started = descendants(process.pid)
            process.send_signal(number)
            ended = process.wait(SECONDS)
            assert ended == (-number if number == signal.SIGKILL else 128 + number)
            until(lambda: not any(map(alive, started)), 3)
            if number != signal.SIGKILL:  # of which Python says what it could not remove
                assert process.stderr.read() == ""
        finally:
            process.kill()


@pytest.mark.parametrize(("seconds", "victim"), [([0.1, 0.2], False), ([SECONDS], True)])
def test_a_process_of_python_that_dies_is_one_line(
        seconds: list, victim: bool, tmp_path: Path) -> None:
    script = tmp_path / "count.py"
    body = WORK.format(seconds=seconds)
    script.write_text(body.replace("time.sleep(seconds)", "import os; os.kill(os.getpid(), 9)")
                      if victim else body)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (
        (2, "", "error: a process died: it was killed, or memory ran out\n") if victim
        else (0, "[0.1, 0.2]\n", ""))


def test_tensors_for_other_processes_leave_no_complaint(tmp_path: Path) -> None:
    """The folder for temporary files is gone before Python itself ends."""
    done = subprocess.run(
        [sys.executable, "-m", "deltamoe", "accuracy", "digits", "--count", "1", "--theta", "8",
         "--out", tmp_path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_signal_that_is_ignored_stays_so(tmp_path: Path) -> None:
    """As ``nohup`` wants it."""
    code = ("import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
            "from deltamoe.host.processes import stoppable\n"
            "with stoppable():\n    os.kill(os.getpid(), signal.SIGHUP); print('alive')")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                          check=False)
    assert (done.returncode, done.stdout) == (0, "alive\n")


def test_a_timeout_ends_all_that_was_started(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=r"sh took more than 0.5 seconds"):
        run(["sh", "-c", "sleep 98765 & echo $! > pid; wait"], tmp_path, timeout=0.5)
    pid = int((tmp_path / "pid").read_text())
    until(lambda: not alive(pid))


def test_messages_are_told_as_they_come() -> None:
    told: list[str] = []
    done = lines(["sh", "-c", "echo one >&2; echo ignored; echo two >&2; exit 3"], told.append)
    assert told == ["one\n", "two\n"]
    assert done.returncode == 3


def test_a_missing_program_is_one_line() -> None:
    with pytest.raises(ProgramError, match=r"^no-such-program cannot be run: No such file"):
        run(["no-such-program"])


@pytest.mark.parametrize(("script", "expected"), [
    ("echo a; echo 'x: No space left on device' >&2; echo 'make: Error 1' >&2; exit 1",
     "x: No space left on device"),
    ("echo 'ERROR: 29 of 28' >&2; echo '0 warnings, 1 error' >&2; exit 1", "ERROR: 29 of 28"),
    ("echo 'In file errors.h:' >&2; echo 'a.cpp:1: error: no x' >&2; exit 1",
     "a.cpp:1: error: no x"),
    ("echo 'make: *** No rule to make target a.' >&2; echo '%Error: make exited' >&2; exit 1",
     "make: *** No rule to make target a."),
    ("echo said; exit 1", "said"), ("exit 7", "exit code 7"), ("kill -9 $$", "signal SIGKILL"),
    ("echo 'warning: x' >&2; kill -9 $$", "signal SIGKILL"),
])
def test_reason_is_the_line_that_says_why(script: str, expected: str) -> None:
    assert reason(run(["sh", "-c", script])) == expected
