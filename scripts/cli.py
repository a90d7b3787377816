"""The command ``deltamoe``."""

import gc
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer
from typer import TyperException

from deltamoe.api.progress import Progress, Update
from deltamoe.api.result import Result
from deltamoe.host import cache
from deltamoe.host.files import write
from deltamoe.host.place import temporary_files_in_one_folder
from deltamoe.host.processes import ProgramError, Stop, stoppable
from deltamoe.terminal import Screen, open_streams

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False,
    help="Mixture-of-experts vision transformers on an FPGA accelerator: run, simulate, generate.",
    epilog=f"Environment: {cache.VARIABLE} is the folder where built models, synthesis results and "
           "other simulators are kept (else ~/.cache/deltamoe); TMPDIR is for temporary files.")
console = Screen()
errors = Screen(stderr=True, highlight=False, soft_wrap=True)


class Bars(Progress):
    """Progress as a bar on the terminal of standard error, which goes when the work is done."""

    @contextmanager
    def bar(self, label: str, total: int | None = None) -> Iterator[Update]:
        from rich import progress

        columns = (*progress.Progress.get_default_columns(), progress.TimeElapsedColumn())
        with progress.Progress(*columns, console=errors, transient=True,
                               disable=not errors.is_terminal) as display:
            yield partial(display.update, display.add_task(label, total=total))


bars = Bars()

JsonFile = Annotated[
    Path | None, typer.Option("--json", help="Write the result here; - prints it.")]
ModelName = Annotated[str, typer.Argument(help="Preset or quantized .safetensors file.")]
HardwareName = Annotated[str, typer.Option("--hardware", help="Hardware preset.")]
Task = Annotated[int, typer.Option(help="Task, from 0.")]
Latency = Annotated[int, typer.Option(help="Cycles of the memory's latency.")]
Interval = Annotated[int, typer.Option(help="Cycles from beat to beat of the memory.")]
EnergyTable = Annotated[str, typer.Option(help="Energy cost table, or a file of one.")]


def command(function: Callable) -> Callable:
    """Turn bad input into one line and exit code 2."""

    @wraps(function)
    def guarded(*arguments, **options):
        try:
            return function(*arguments, **options)
        except (ValueError, OSError, ProgramError) as error:
            refuse(error)
            raise typer.Exit(2) from None

    return guarded


def refuse(error: Exception) -> None:
    """Say an error in one line."""
    reason = str(error)
    if isinstance(error, TyperException):
        reason = error.format_message()
    elif isinstance(error, OSError) and error.strerror:
        reason = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    errors.print(f"error: {' '.join(reason.split())}")


def show(result: Result, path: Path | None) -> None:
    """Print a result's table, or write it as JSON if asked to: to ``path``, and print it too."""
    if path is not None:
        text = json.dumps(result.to_json(), indent=2, allow_nan=False) + "\n"
        if str(path) == "-":
            sys.stdout.write(text)
            sys.stdout.flush()
            return
        write(path, text)
    console.print(result.table())


COMMANDS = {"infer": "infer", "simulate": "simulate", "build": "build", "verilog": "verilog",
            "package": "package", "synth": "synth", "place-and-route": "place_and_route",
            "bitstream": "bitstream", "bench": "bench", "sweep": "sweep", "video": "video",
            "accuracy": "accuracy", "compare": "compare", "import": "importing",
            "quantize": "quantize", "train": "train", "calibrate": "calibrate", "list": "listing",
            "demo": "demo"}
"""Commands in the order of the help, and their modules."""


ALLOCATIONS = 50_000
"""New objects before the garbage collector looks for cycles: Python's 700 cost 8 % of a run."""


def main() -> None:
    """Run the command line, and end with the exit code of shells if a signal ends it."""
    try:
        with stoppable():
            open_streams()
            with temporary_files_in_one_folder():
                start()
    except OSError as error:
        refuse(error)
        sys.exit(2)
    except Stop as stop:
        sys.exit(stop.code)


def start() -> None:
    """Call the command; its modules are imported only if it is the one.

    Without any, help is shown. What the command line lacks, or what no command knows, is bad input
    like any other.
    """
    gc.set_threshold(ALLOCATIONS)
    arguments = sys.argv[1:] or ["--help"]
    for name in [COMMANDS[arguments[0]]] if arguments[0] in COMMANDS else COMMANDS.values():
        import_module(f"deltamoe.commands.{name}")
    app.callback()(lambda: None)  # a lone command, too, is called by its name
    try:
        sys.exit(app(arguments, standalone_mode=False))
    except TyperException as error:
        refuse(error)
        sys.exit(2)
    finally:
        sys.stdout.flush()
