"""Checkpoints in several files: shards that an index lists, and the ranks of M³ViT's training."""

import re
from pathlib import Path

import torch

from deltamoe.golden.importing.containers import Checkpoint, Weights, plain, read, stored
from deltamoe.golden.importing.processors import read_json

INDEX = ".index.json"
"""How the name of a file ends that lists shards."""

SHARD = re.compile(r"(?P<whole>.+)-\d+-of-\d+")
"""Stem of a shard's name, and that of the checkpoint."""

SHOWN = 3
"""Missing shards that are named."""


def read_shards(index: Path, container: str | None = None) -> Checkpoint:
    """Read all files that an index lists, ``weight_map`` from a tensor's name to its file's.

    Raises
    ------
    ValueError
        As :func:`deltamoe.golden.importing.containers.read`; or the index is none, a shard is
        missing, lacks a tensor that the index lists in it, or has one that another has, too.
    """
    places = read_json(index).get("weight_map")
    if not (isinstance(places, dict) and places and all(
            isinstance(name, str) for name in places.values())):
        raise ValueError(f"{index} lists no tensors with their files in a weight_map")
    names = sorted(set(places.values()))
    for name in names:
        if name != Path(name).name:
            raise ValueError(f"{index} lists {name!r}, which is not the name of a file beside it")
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        raise ValueError(f"{index.parent} lacks {', '.join(missing[:SHOWN])}{more}: {len(missing)} "
                         f"of the {len(names)} shards that {index.name} lists; fetch what is "
                         "missing, and put it there")
    tensors: Weights = {}
    notes: list[str] = []
    for name in names:
        path = index.parent / name
        found, said = stored(path, container)
        for key in found:
            if key in tensors:
                raise ValueError(f"{path}: tensor {key} is in another shard, too")
        tensors |= found
        notes += [note for note in said if note not in notes]
        for key, place in places.items():
            if place == name and key not in found:
                raise ValueError(f"{path} lacks tensor {key}, which {index.name} lists in it")
    return plain(index, tensors, [*notes, f"{len(names)} shards joined"])


def listed_in(shard: Path) -> Path | None:
    """Return the index that lists a shard, by its name; None if the file is called otherwise."""
    match = SHARD.fullmatch(shard.stem)
    return shard.with_name(f"{match['whole']}{shard.suffix}{INDEX}") if match else None


def ranks(folder: Path) -> list[Path]:
    """Return the files of M³ViT's training in a folder, one for each rank, ``0.pth`` first.

    Raises
    ------
    ValueError
        One between them is missing.
    """
    files = sorted((file for file in folder.glob("*.pth") if file.stem.isdecimal()),
                   key=lambda file: int(file.stem))
    for number, file in enumerate(files):
        if int(file.stem) != number:
            raise ValueError(f"{folder} lacks {number}.pth, the file of rank {number}")
    return files


def read_ranks(folder: Path, container: str | None = None) -> Checkpoint:
    """Read the files of all ranks: the first has all tensors, the others experts of their own.

    Raises
    ------
    ValueError
        As :func:`read`; or a rank has a tensor that is none of experts, or no experts.
    """
    first, *others = (read(file, container) for file in ranks(folder))
    tensors = dict(first.tensors)
    owned = {name for name in tensors if ".experts." in name}
    for other in others:
        if other.tensors.keys() != owned:
            odd = min(other.tensors.keys() ^ owned)
            raise ValueError(f"{other.path}: tensor {odd} is not of the same experts as in "
                             f"{first.path}")
        for name, tensor in other.tensors.items():
            if tensor.shape[1:] != tensors[name].shape[1:]:
                raise ValueError(f"{other.path}: tensor {name} has shape {tuple(tensor.shape)}, "
                                 f"that of other ranks {tuple(tensors[name].shape)}")
            tensors[name] = torch.cat([tensors[name], tensor])
    notes = (*first.notes, *([f"experts of {1 + len(others)} ranks joined"] if others else []))
    return Checkpoint(folder, tensors, notes)
