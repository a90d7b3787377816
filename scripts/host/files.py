"""Files that are written whole or not at all."""

import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from errno import EACCES, EEXIST, EISDIR
from pathlib import Path

STREAMS = re.compile(r"/dev/(std(in|out|err)$|fd/)|/proc/[^/]+/(task/\d+/)?fd/")
"""Paths that name a stream of a process, even where it leads to a regular file."""


@contextmanager
def naming(name: object) -> Iterator[None]:
    """Give every OSError within the block ``name`` as its file name.

    A full disk is only noticed by ``write`` and ``close``, whose errors name no file.
    """
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(name)) from None


def read_text(path: Path) -> str:
    """Return a file's text, which is UTF-8 whatever the locale says."""
    with naming(path):
        return path.read_text("utf-8")


def write(path: Path, content: str | bytes, *, mode: int = 0o666) -> None:
    """Write one file as :func:`write_all` does."""
    write_all({path: content}, mode=mode)


def write_all(contents: Mapping[Path, str | bytes], *, mode: int = 0o666) -> None:
    """Write all of some files, or none of them.

    Each is written under another name in its folder, and takes its own name when all are complete.
    A new file has ``mode`` less the umask. One that is replaced keeps its mode, and its owner if
    the process may set it, as with ``cp`` and with editors. A symbolic link stays a link, and what
    it leads to is replaced. A device, a pipe or a stream (``/dev/stdout``) is written to.

    Parameters
    ----------
    contents : Mapping
        Path to bytes, or to text, which is encoded as UTF-8.
    mode : int
        Permissions of new files before the umask.

    Raises
    ------
    OSError
        A file cannot be written; names it.
    """
    encoded = {path: content if isinstance(content, bytes)
               else content.encode("utf-8", "backslashreplace")
               for path, content in contents.items()}
    with ExitStack() as partials:
        whole = []
        for path, content in encoded.items():
            if not is_stream(path):
                target = Path(os.path.realpath(path))
                partial = partials.enter_context(beside(path, target, content, mode))
                whole.append((path, partial, target))
        for path, partial, target in whole:
            with naming(path):
                partial.replace(target)
        for path, content in encoded.items():
            if is_stream(path):
                with naming(path), path.open("wb", buffering=0) as stream:
                    written = 0
                    while written < len(content):
                        written += stream.write(content[written:])


def write_folder(folder: Path, contents: Mapping[str, str | bytes]) -> None:
    """Write a new folder with all of its files, or leave nothing.

    It is written under another name beside its place, and takes its own when it is complete.

    Parameters
    ----------
    folder : Path
        Where to; folders above it are made if need be.
    contents : Mapping
        Text or bytes of each file, by its path in the folder.

    Raises
    ------
    OSError
        It cannot be written, or is there already.
    """
    partial = folder.parent / f".deltamoe-{secrets.token_hex(8)}.partial"
    try:
        with naming(folder):
            if os.path.lexists(folder):
                raise OSError(EEXIST, os.strerror(EEXIST))
            partial.mkdir(parents=True)
        for name, content in contents.items():
            with naming(folder / name):
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
            write(partial / name, content)
        with naming(folder):
            partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def is_stream(path: Path) -> bool:
    """Tell whether a path leads to something that can be written to but not replaced."""
    with naming(path):
        return bool(STREAMS.match(str(path))) or (
            path.exists() and not path.is_file() and not path.is_dir())


@contextmanager
def beside(path: Path, target: Path, content: bytes, mode: int) -> Iterator[Path]:
    """Write ``content`` to a new file in the folder of ``target``; remove it if it is left there.

    Errors name ``path``, by which the user knows ``target``.
    """
    partial = target.parent / f".deltamoe-{secrets.token_hex(8)}.partial"
    try:
        with naming(path):
            before = target.stat() if target.exists() else None
            if before and stat.S_ISDIR(before.st_mode):
                raise OSError(EISDIR, os.strerror(EISDIR))
            if before and not os.access(target, os.W_OK):
                raise OSError(EACCES, os.strerror(EACCES))
            with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(content)
                file.flush()
                if before:
                    with suppress(PermissionError):
                        os.fchown(file.fileno(), before.st_uid, before.st_gid)
                    os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))
                os.fsync(file.fileno())
        yield partial
    finally:
        with suppress(FileNotFoundError, NotADirectoryError):
            partial.unlink()
