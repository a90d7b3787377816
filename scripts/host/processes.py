"""Programs that this one starts, and what becomes of them when a signal ends it."""

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that ask a program to end."""

REPEATED = 1.0
"""Seconds in which a second signal is taken for the same request: ``timeout`` sends two."""

PATIENCE = 5.0
"""Seconds to wait until killed programs have let go of a folder."""


class Stop(BaseException):
    """A signal asked the program to end. No ``except Exception`` takes it for an error."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number
        """The exit code that shells give for this signal."""


class ProgramError(RuntimeError):
    """A program failed; the message is one line that says which and why."""


@dataclass
class State:
    """Process groups that run, the signal that arrived and when, and what it has to wait for."""

    groups: set[int] = field(default_factory=set)
    signal: int = 0
    arrived: float = 0.0
    deferrals: int = 0
    pending: bool = False


STATE = State()


def kill(group: int) -> None:
    """End a process group at once."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def arrive(number: int, _frame: object = None) -> None:
    """Handle a signal: end all programs, then raise :class:`Stop` as soon as nothing defers it."""
    if STATE.signal and time.monotonic() - STATE.arrived < REPEATED:
        return
    STATE.signal, STATE.arrived = number, time.monotonic()
    for group in list(STATE.groups):
        kill(group)
    STATE.pending = bool(STATE.deferrals)
    if not STATE.pending:
        raise Stop(number)


@contextmanager
def stoppable() -> Iterator[None]:
    """Raise :class:`Stop` in the main thread on SIGINT, SIGTERM and SIGHUP, unless ignored."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, arrive)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        STATE.signal, STATE.pending = 0, False


@contextmanager
def deferred() -> Iterator[None]:
    """Let a signal wait until the end of the block, which makes or removes what must not be left.

    Signals arrive in the main thread alone; in others this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    STATE.deferrals += 1
    try:
        yield
    finally:
        STATE.deferrals -= 1
    if STATE.pending and not STATE.deferrals:
        STATE.pending = False
        raise Stop(STATE.signal)


@contextmanager
def scratch() -> Iterator[Path]:
    """Make a temporary folder, and remove it however the block ends.

    Raises
    ------
    OSError
        There is no folder for temporary files, or no room in it.
    """
    folder = None
    try:
        with deferred():
            folder = Path(tempfile.mkdtemp(prefix="deltamoe-"))
        yield folder
    finally:
        if folder:
            with deferred():
                remove(folder)


def remove(folder: Path) -> None:
    """Remove a folder into which killed programs may still be writing."""
    until = time.monotonic() + PATIENCE
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
        if time.monotonic() > until:
            return
        if folder.exists():
            time.sleep(0.02)


@contextmanager
def started(words: Sequence[object], cwd: Path | None = None,
            env: Mapping[str, str] | None = None, stdout: int = subprocess.PIPE,
            stdin: int = subprocess.DEVNULL, *, text: bool = True) -> Iterator[subprocess.Popen]:
    """Start a program in a process group of its own, which ends with the block at the latest.

    Its streams are of ``text``, or of bytes.

    Raises
    ------
    ProgramError
        There is no such program, or it may not be run.
    """
    process = None
    try:
        with deferred():
            try:
                process = subprocess.Popen(
                    [str(word) for word in words], cwd=cwd, env=env, stdin=stdin,
                    stdout=stdout, stderr=subprocess.PIPE, encoding="utf-8" if text else None,
                    errors="replace" if text else None, process_group=0)
            except OSError as error:
                raise ProgramError(f"{words[0]} cannot be run: {error.strerror}") from None
            STATE.groups.add(process.pid)
        stop_if_asked()
        yield process
    finally:
        if process:
            with deferred():
                if process.poll() is None:
                    kill(process.pid)
                process.wait()
                STATE.groups.discard(process.pid)
                for stream in (process.stdin, process.stdout, process.stderr):
                    if stream:
                        with suppress(BrokenPipeError):
                            stream.close()


def stop_if_asked() -> None:
    """Raise :class:`Stop` in a thread, too, when the main thread was asked to end."""
    if STATE.signal:
        raise Stop(STATE.signal)


def run(words: Sequence[object], cwd: Path | None = None, env: Mapping[str, str] | None = None,
        timeout: float | None = None) -> subprocess.CompletedProcess:
    """Run a program to its end; return its exit code, output and messages as text.

    Raises
    ------
    ProgramError
        There is no such program, or it takes more than ``timeout`` seconds.
    """
    with started(words, cwd, env) as process:
        try:
            out, messages = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise ProgramError(f"{words[0]} took more than {timeout:g} seconds") from None
        stop_if_asked()
        return subprocess.CompletedProcess(words, process.returncode, out, messages)


def lines(words: Sequence[object], tell: Callable[[str], object],
          cwd: Path | None = None) -> subprocess.CompletedProcess:
    """Run a program without regard to its output, and ``tell`` each of its messages as it comes.

    Raises
    ------
    ProgramError
        There is no such program.
    """
    said = []
    with started(words, cwd, stdout=subprocess.DEVNULL) as process:
        for line in process.stderr:
            said.append(line)
            tell(line)
        process.wait()
        stop_if_asked()
        return subprocess.CompletedProcess(words, process.returncode, "", "".join(said))


def live_with_parent(begin: Callable[[], object] | None) -> None:
    """Let the terminal's interrupt be the parent's alone, and end when it does, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    if begin:
        begin()


@contextmanager
def workers(count: int, begin: Callable[[], object] | None = None,
            ) -> Iterator[ProcessPoolExecutor]:
    """Start ``count`` processes of Python, which end with the block at the latest.

    Each calls ``begin`` first.

    Raises
    ------
    ProgramError
        One of them died.
    """
    pool = ProcessPoolExecutor(count, get_context("spawn"), live_with_parent, (begin,))
    try:
        yield pool
        pool.shutdown()
    except BrokenProcessPool:
        raise ProgramError("a process died: it was killed, or memory ran out") from None
    finally:
        with deferred():
            pool.shutdown(wait=False, cancel_futures=True)
            for child in active_children():
                child.kill()


def reason(done: subprocess.CompletedProcess) -> str:
    """Return the line of a failed program's output that says best why it failed."""
    said = [" ".join(line.split()) for line in (done.stderr + "\n" + done.stdout).splitlines()
            if line.strip()]
    for word in ("No space left", "File too large", "Permission denied", "error:",
                 "No rule to make", "ERROR:", "Error:", "error", "ERROR", "Error"):
        for line in said:
            if word in line:
                return line
    if done.returncode < 0:
        return f"signal {signal.Signals(-done.returncode).name}"
    return said[-1] if said else f"exit code {done.returncode}"
