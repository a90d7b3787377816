"""The folder of what takes long to make: built models, generated Verilog, synthesis results."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deltamoe.host.files import naming

VARIABLE = "DELTAMOE_CACHE"
"""Environment variable that names the folder."""


def user_caches() -> Path | None:
    """Return the user's folder for caches of all programs; None if the user has no home folder."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):
        return Path(base)
    try:
        return Path.home() / ".cache"
    except RuntimeError:
        return None


def folder() -> Path:
    """Return the cache: ``DELTAMOE_CACHE``, else ``deltamoe`` among the user's caches.

    Raises
    ------
    ValueError
        The variable is not set, and the user has no home folder.
    """
    base = os.environ.get(VARIABLE)
    if base:
        return Path(base).absolute()
    caches = user_caches()
    if caches is None:
        raise ValueError(f"no cache folder: user {os.getuid()} has no home folder and HOME is not "
                         f"set; set {VARIABLE} to a folder")
    return caches / "deltamoe"


def writable(path: Path) -> bool:
    """Tell whether a folder can be written to, or made."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path.is_dir() and os.access(path, os.W_OK | os.X_OK)


def check_writable() -> Path:
    """Return the cache, which is made if it is not there.

    Raises
    ------
    ValueError
        It cannot be written to.
    """
    path = folder()
    if not writable(path):
        raise ValueError(f"the cache {path} cannot be written to and does not hold what is needed; "
                         f"set {VARIABLE} to another folder")
    with naming(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lock of this name, so that two processes do not make the same thing.

    Raises
    ------
    ValueError
        The cache cannot be written to.
    """
    path = check_writable() / f"{name}.lock"
    with naming(path):
        file = path.open("w")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
