"""The picture files of a folder, in the order of their names."""

import re
from pathlib import Path

from PIL import Image

from deltamoe.golden.data.picture import FORMATS, REFUSED_SUFFIXES, SUFFIXES


def files_of(folder: Path) -> list[Path]:
    """Return the picture files of a folder in the order of their names, numbers by value.

    Hidden files, folders, and files that are no pictures by their suffix are left out.

    Raises
    ------
    ValueError
        There is none, or one is of a kind that is not read, or is a link to nothing or a pipe.
    """
    files = sorted((path for path in folder.iterdir()
                    if not path.is_dir() and not path.name.startswith(".")), key=natural)
    known = {suffix for suffix, kind in Image.registered_extensions().items()
             if Image.MIME.get(kind, "").startswith("image/")} | {*REFUSED_SUFFIXES}
    for path in files:
        if path.suffix.lower() in known.difference(SUFFIXES):
            raise ValueError(f"{path}: not an image file of a known kind ({', '.join(FORMATS)})")
    chosen = [path for path in files if path.suffix.lower() in SUFFIXES]
    for path in chosen:
        if not path.is_file():
            raise ValueError(f"{path}: neither a file nor a link to one")
    if not chosen:
        raise ValueError(f"{folder}: the folder holds no image ({', '.join(SUFFIXES)})")
    return chosen


def files_below(folder: Path) -> list[Path]:
    """Return the picture files of a folder, or of its folders, one for each class.

    Raises
    ------
    ValueError
        As :func:`files_of`.
    """
    inside = sorted((path for path in folder.iterdir()
                     if path.is_dir() and not path.name.startswith(".")), key=natural)
    flat = any(path.suffix.lower() in SUFFIXES for path in folder.iterdir() if path.is_file())
    if flat or not inside:
        return files_of(folder)
    return [file for below in inside for file in files_of(below)]


def natural(path: Path) -> list[tuple[int, int, str]]:
    """Return a key that sorts ``2.png`` before ``10.png``."""
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part)
            for part in re.split(r"(\d+)", path.name)]
