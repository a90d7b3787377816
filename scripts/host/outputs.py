"""Where a command writes, checked before its work: a place for each file, none that it reads."""

import fcntl
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from deltamoe.host.files import is_stream, naming


def check_outputs(files: Iterable[Path | None] = (), *, json: Path | None = None,
                  read: Iterable[Path | str | None] = (),
                  folders: Mapping[Path, Iterable[str]] = MappingProxyType({})) -> None:
    """Raise ValueError unless a command can write its results.

    Parameters
    ----------
    files : iterable of Path
        Files to write; None where nothing was asked for.
    json : Path, optional
        One more, or ``-`` for standard output.
    read : iterable of Path or str
        Files that it reads, or folders of such; None and what does not exist are left out.
    folders : Mapping of Path to iterable of str
        Folders, which may have to be made, and the names of the files to write into each. They are
        made first: ``files`` and ``json`` may be in them.

    Raises
    ------
    ValueError
        A file has no folder or is one, a folder is a file or below one, either is called ``-`` or
        cannot be written to, a file would be written twice or is read by the same command.
    """
    files = [path for path in files if path is not None]
    if json is not None and str(json) != "-":
        files.append(json)
    for folder in folders:
        check_folder(folder)
    new = {ancestor for folder in map(resolved, folders) for ancestor in (folder, *folder.parents)}
    for path in files:
        check_file(path, new)
    inputs = {identity(path) for path in files_in(read)}
    written: dict[object, Path] = {}
    for path in [*files, *(folder / name for folder, names in folders.items() for name in names)]:
        if is_stream(path):
            continue
        key = identity(path)
        if key in inputs:
            raise ValueError(f"{path} is read by the same command; write to another file")
        if key in written:
            raise ValueError(f"{path} would overwrite {written[key]}, which is the same file; "
                             "give each result a file of its own")
        written[key] = path


def check_file(path: Path, new: Collection[Path]) -> None:
    """Raise ValueError unless a file can have this path when folders ``new`` have been made."""
    if is_stream(path):
        return
    check_name(path)
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    if target.is_symlink():
        raise ValueError(f"{path} is a symbolic link that leads to itself")
    parent = target.parent
    if not parent.exists() and resolved(parent) in new:
        return
    if not parent.is_dir():
        raise ValueError(f"{path}: there is no folder {parent}")
    if path.is_dir():
        raise ValueError(f"{path} is a folder")
    check_writable(path, parent)


def check_folder(path: Path) -> None:
    """Raise ValueError unless a folder has this path or can be made there."""
    check_name(path)
    target = resolved(path)
    if target.exists() and not target.is_dir():
        raise ValueError(f"{path} is no folder")
    above = path
    while not os.path.lexists(above) and above != above.parent:
        above = above.parent
    if not above.is_dir():
        raise ValueError(f"{path} is no folder" if above == path else
                         f"{path}: {above} is no folder")
    check_writable(path, above)


def check_new_folder(path: Path, json: Path | None = None) -> None:
    """Raise ValueError unless a folder can be written whole, and ``json`` beside it.

    Nothing is in its place, and ``json`` is not to be a part of it.
    """
    check_folder(path)
    if os.path.lexists(path):
        raise ValueError(f"{path} exists already; name a folder that is not there yet")
    if json is not None and str(json) != "-":
        place = resolved(json)
        if resolved(path) in (place, *place.parents):
            raise ValueError(f"{json} is no file beside {path}, which is written as a whole")


def check_name(path: Path) -> None:
    """Raise ValueError if a path is ``-``, which is not meant as the name of a file or a folder."""
    if str(path) == "-":
        raise ValueError("-: only --json prints; write to a file, to a folder or to /dev/stdout")


def check_writable(path: Path, folder: Path) -> None:
    """Raise ValueError unless files can be made in ``folder``, for the sake of ``path``."""
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"{path}: the folder {folder} cannot be written to")


def files_in(read: Iterable[Path | str | None]) -> Iterable[Path]:
    """Return the files among what a command reads, those of folders included."""
    for path in map(Path, filter(None, read)):
        if path.is_dir():
            yield from (each for each in path.iterdir() if each.is_file())
        elif path.exists():
            yield path


def identity(path: Path) -> object:
    """Return what two paths of one file have in common, also if it is not there yet."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return resolved(path)
    return status.st_dev, status.st_ino


def resolved(path: Path) -> Path:
    """Return a path without links; of what is not there yet, too."""
    with naming(path):
        return Path(os.path.realpath(path))


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Make a folder, and be the only process that works in it.

    Raises
    ------
    ValueError
        Another one does.
    """
    with naming(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{folder}: another process works in this folder; wait for it, or "
                             "choose another") from None
        yield
    finally:
        os.close(handle)
