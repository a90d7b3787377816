"""The command ``deltamoe``."""

import gc
import json
import sys
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Mixture-of-experts vision transformers on an FPGA accelerator: run, simulate, generate.")
console = Console()
errors = Console(stderr=True, highlight=False, soft_wrap=True)

JsonFile = Annotated[
    Path | None, typer.Option("--json", help="Write the result here; - prints it.")]


def command(function: Callable) -> Callable:
    """Turn bad input into one line and exit code 2."""

    @wraps(function)
    def guarded(*arguments, **options):
        try:
            return function(*arguments, **options)
        except (ValueError, OSError) as error:
            said = " ".join(str(error).split())
            if isinstance(error, OSError) and error.filename:
                said = f"{error.filename}: {error.strerror}"
            errors.print(f"error: {said}", markup=False)
            raise typer.Exit(2) from None

    return guarded


def check_folder(path: Path, *, folder: bool = False) -> None:
    """Raise ValueError unless a file can have this path, or a ``folder``."""
    if not path.parent.is_dir():
        raise ValueError(f"{path}: there is no folder {path.parent}")
    if path.exists() and path.is_dir() != folder:
        raise ValueError(f"{path} is {'no folder' if folder else 'a folder'}")


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    check_folder(path)
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(text)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def emit(result: dict, path: Path | None) -> bool:
    """Write ``result`` as JSON if asked to; tell whether it went to the terminal."""
    if path is None:
        return False
    text = json.dumps(result, indent=2) + "\n"
    if str(path) == "-":
        sys.stdout.write(text)
        return True
    write_text(path, text)
    return False


COMMANDS = {"infer": "infer", "simulate": "simulate", "verilog": "verilog", "synth": "synth",
            "route": "route", "bench": "bench", "sweep": "sweep", "video": "video",
            "accuracy": "accuracy", "compare": "compare", "quantize": "quantize",
            "train": "train", "calibrate": "calibrate", "list": "listing", "demo": "demo"}
"""Commands in the order of the help, and their modules."""


ALLOCATIONS = 50_000
"""New objects before the garbage collector looks for cycles: Python's 700 cost 8 % of a run."""


def main() -> None:
    """Run the command line; a command's modules are imported only if it is the one."""
    gc.set_threshold(ALLOCATIONS)
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    for name in [COMMANDS[wanted]] if wanted in COMMANDS else COMMANDS.values():
        import_module(f"scripts.commands.{name}")
    app.callback()(lambda: None)  # a lone command, too, is called by its name
    app()
