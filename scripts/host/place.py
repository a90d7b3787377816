"""Where this program and those that it starts put temporary files and caches of their own."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from deltamoe.host import cache
from deltamoe.host.processes import scratch

OTHERS = {"YOWASP_CACHE_DIR": "YoWASP", "MPLCONFIGDIR": "matplotlib"}
"""Variables that name the caches of Yosys and nextpnr in WebAssembly and of Matplotlib.

By default these are in the home folder, and without one that can be written to they fail, warn or
make a folder called ``~``.
"""


@contextmanager
def temporary_files_in_one_folder() -> Iterator[None]:
    """Have all temporary files of the block, of other programs too, in one folder that it removes.

    If no folder for temporary files can be made, whoever needs one says so.
    """
    before = dict(os.environ)
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(scratch())
        except OSError:
            yield
            return
        default, tempfile.tempdir = tempfile.tempdir, str(folder)
        os.environ["TMPDIR"] = str(folder)
        os.environ["MPLBACKEND"] = "agg"  # pictures only go to files
        place_caches(folder)
        try:
            yield
        finally:
            tempfile.tempdir = default
            for name in ("TMPDIR", "MPLBACKEND", *OTHERS):
                os.environ.pop(name, None)
                if name in before:
                    os.environ[name] = before[name]


def place_caches(folder: Path) -> None:
    """Give other programs a folder for their caches if the user's cannot be written to.

    That of YoWASP may hold what is needed already.
    """
    caches = cache.user_caches()
    for variable, name in OTHERS.items():
        theirs = os.environ.get(variable) or (caches and caches / name)
        if not theirs or not (cache.writable(Path(theirs))
                              or (name == "YoWASP" and Path(theirs).is_dir())):
            os.environ[variable] = str(usable(folder) / name)


def environment() -> dict[str, str]:
    """Return the environment of a program in WebAssembly, which needs a folder for its cache."""
    caches = cache.user_caches()
    if caches is not None and cache.writable(caches / "wasmtime"):
        return dict(os.environ)
    return os.environ | {"XDG_CACHE_HOME": str(usable(Path(tempfile.gettempdir())))}


def usable(folder: Path) -> Path:
    """Return this program's cache if it can be written to, else ``folder``."""
    try:
        path = cache.folder()
    except ValueError:
        return folder
    return path if cache.writable(path) else folder
