"""The command ``deltamoe``."""

import gc
import json
import math
import sys
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from scripts.host import cache
from scripts.host.files import write
from scripts.host.outputs import check_outputs
from scripts.host.place import temporary_files_in_one_folder
from scripts.host.processes import ProgramError, Stop, stoppable
from scripts.terminal import Screen, open_streams

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Mixture-of-experts vision transformers on an FPGA accelerator: run, simulate, generate.",
    epilog=f"Environment: {cache.VARIABLE} is the folder where built models, synthesis results and "
           "other simulators are kept (else ~/.cache/deltamoe); TMPDIR is for temporary files.")
console = Screen()
errors = Screen(stderr=True, highlight=False, soft_wrap=True)

JsonFile = Annotated[
    Path | None, typer.Option("--json", help="Write the result here; - prints it.")]


def command(function: Callable) -> Callable:
    """Turn bad input into one line and exit code 2, before any work if it is ``--json``'s."""

    @wraps(function)
    def guarded(*arguments, **options):
        try:
            check_outputs(json=options.get("json"))
            return function(*arguments, **options)
        except (ValueError, OSError, ProgramError) as error:
            refuse(error)
            raise typer.Exit(2) from None

    return guarded


def refuse(error: Exception) -> None:
    """Say an error in one line."""
    said = str(error)
    if isinstance(error, OSError) and error.strerror:
        said = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    errors.print(f"error: {' '.join(said.split())}")


def finite(value: object) -> object:
    """Return a copy of a result with None for what is no finite number."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def emit(result: dict, path: Path | None) -> bool:
    """Write ``result`` as JSON if asked to; tell whether it went to the terminal.

    JSON has no infinity, as of a ratio to no noise: it becomes null.
    """
    if path is None:
        return False
    text = json.dumps(finite(result), indent=2, allow_nan=False) + "\n"
    if str(path) == "-":
        sys.stdout.write(text)
        sys.stdout.flush()
        return True
    write(path, text)
    return False


COMMANDS = {"infer": "infer", "simulate": "simulate", "verilog": "verilog", "synth": "synth",
            "route": "route", "bench": "bench", "sweep": "sweep", "video": "video",
            "accuracy": "accuracy", "compare": "compare", "quantize": "quantize",
            "train": "train", "calibrate": "calibrate", "list": "listing", "demo": "demo"}
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
    """Call the command; its modules are imported only if it is the one."""
    gc.set_threshold(ALLOCATIONS)
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    for name in [COMMANDS[wanted]] if wanted in COMMANDS else COMMANDS.values():
        import_module(f"scripts.commands.{name}")
    app.callback()(lambda: None)  # a lone command, too, is called by its name
    try:
        app()
    finally:
        sys.stdout.flush()
