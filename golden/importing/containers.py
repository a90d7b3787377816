"""Files of named tensors: what is around them is taken off, and said."""

import pickletools
import re
import zipfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

Weights = dict[str, Tensor]

CONTAINERS = ("state_dict", "model", "model_ema", "net", "module")
"""Keys under which checkpoints hold a state dictionary, the one that is preferred first."""

PREFIXES = ("module.", "model.", "backbone.", "_orig_mod.")
"""What wrappers of modules put before each name."""

NESTED = 8
"""Containers within each other that are opened at most; a pickle may contain itself."""

NAMED = re.compile(r"collections (OrderedDict|Counter)|_codecs encode"
                   r"|(builtins|__builtin__) (set|complex)"
                   r"|torch (Size|device|\w+Storage|b?float\w+|u?int\w+|complex\w+|bool)"
                   r"|torch\._utils _rebuild_\w+|torch\._tensor _rebuild_from_type_v2"
                   r"|torch\.nn\.parameter Parameter|torch\.serialization _get_layout")
"""Modules and names that a pickle of tensors has: none makes more than what the file stores."""

LEGACY_PICKLES = 5
"""Pickles at the beginning of a checkpoint of PyTorch before 1.6; the fourth has the tensors."""

BACKBONE = "backbone."
"""The one of them that stands before a part of the names, where decoders of tasks are beside it."""


@dataclass(frozen=True)
class Checkpoint:
    """Tensors of a file by their plain names.

    Attributes
    ----------
    path : Path
        The file.
    tensors : dict
        As the file has them, less a prefix that all share.
    notes : tuple of str
        What was taken off, and what was not looked at.
    """

    path: Path
    tensors: Weights
    notes: tuple[str, ...] = field(default=())


def read(path: Path, container: str | None = None) -> Checkpoint:
    """Read a safetensors file, or a PyTorch checkpoint without running pickled code.

    Raises
    ------
    ValueError
        The file is damaged, holds no dictionary of tensors, or lacks the ``container``.
    """
    return plain(path, *stored(path, container))


def stored(path: Path, container: str | None = None) -> tuple[Weights, list[str]]:
    """Return a file's tensors by its own names, and what was said on the way; raises as read."""
    if path.suffix == ".safetensors":
        try:
            state, notes = load_file(path), []
        except SafetensorError as error:
            raise ValueError(f"{path} is not a complete safetensors file: {error}") from error
    else:
        state, notes = _opened(_pickled(path), path, container)
    tensors = {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}
    if not tensors:
        raise ValueError(f"{path} holds no tensors")
    for name, tensor in tensors.items():
        _check_size(name, tensor, path)
    return tensors, notes


def plain(path: Path, tensors: Weights, notes: list[str]) -> Checkpoint:
    """Take off prefixes that all tensors share.

    Raises
    ------
    ValueError
        Two tensors have the same name then.
    """
    while prefix := next((prefix for prefix in PREFIXES
                          if all(name.startswith(prefix) for name in tensors)), None):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
        notes = [*notes, f"prefix {prefix!r} taken off"]
    bare = {name.removeprefix(BACKBONE): tensor for name, tensor in tensors.items()}
    if len(bare) < len(tensors):
        raise ValueError(f"{path} holds tensors that differ by the prefix {BACKBONE!r} alone")
    if bare.keys() != tensors.keys():
        notes = [*notes, f"prefix {BACKBONE!r} taken off"]
    return Checkpoint(path, bare, tuple(notes))


def _pickled(path: Path) -> object:
    """Read a checkpoint whose records are no larger than the file, and which holds only tensors."""
    try:
        strange = sorted(name for name in _names(path) if not NAMED.fullmatch(name))
        if strange:
            raise ValueError(f"{path} holds pickled objects beside tensors, which are not read: "
                             f"{', '.join(name.replace(' ', '.') for name in strange[:4])}; save "
                             "its state_dict() alone")
        return torch.load(path, map_location="cpu", weights_only=True)
    # PyTorch's readers raise nearly anything on damaged bytes.
    except (RuntimeError, EOFError, UnpicklingError, KeyError, AttributeError, TypeError,
            IndexError, UnicodeDecodeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a complete PyTorch checkpoint of tensors; files of other "
                         "kinds end in .onnx or .safetensors") from error


def _names(path: Path) -> set[str]:
    """Return module and name of all that the pickles of a checkpoint call, without running them.

    Raises
    ------
    ValueError
        A record unpacks to more than the file.
    """
    with ExitStack() as files:
        if zipfile.is_zipfile(path):
            archive = files.enter_context(zipfile.ZipFile(path))
            if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
                raise ValueError(f"{path} unpacks to more than its size, as no checkpoint does")
            streams = [files.enter_context(archive.open(entry)) for entry in archive.infolist()
                       if entry.filename.endswith(".pkl")]
        else:
            streams = [files.enter_context(path.open("rb"))] * LEGACY_PICKLES
        try:
            return {str(argument) for stream in streams
                    for code, argument, _ in pickletools.genops(stream) if code.name == "GLOBAL"}
        except ValueError as error:
            raise EOFError from error


def _opened(state: object, path: Path, container: str | None) -> tuple[dict, list[str]]:
    """Return the dictionary of tensors within nested ones, and what was said on the way."""
    notes: list[str] = []
    met: list[str] = []
    for _ in range(NESTED):
        if not isinstance(state, dict):
            break
        met += [str(key) for key, value in state.items() if isinstance(value, dict)]
        inside = {key: state[key] for key in CONTAINERS if isinstance(state.get(key), dict)}
        if container in state and isinstance(state[container], dict):
            state, container = state[container], None
        elif not inside:
            break
        else:
            chosen, *others = inside
            notes.append(f"container {chosen!r} used" + (
                f", not {', '.join(map(repr, others))} (--container chooses)" if others else ""))
            state = inside[chosen]
    if not isinstance(state, dict):
        raise ValueError(f"{path} holds {type(state).__name__}, not a dictionary of tensors")
    if container is not None:
        raise ValueError(f"{path} has no container {container!r}; it holds "
                         f"{', '.join(map(repr, met)) or 'tensors and no container'}")
    return {str(name): value for name, value in state.items()}, notes


def _check_size(name: str, tensor: Tensor, path: Path) -> None:
    """Raise ValueError if a tensor repeats its stored elements, and so may be of any size."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta or (
            tensor.numel() * tensor.element_size() > min(tensor.untyped_storage().nbytes(),
                                                         path.stat().st_size)):
        raise ValueError(f"{path}: tensor {name} of shape {tuple(tensor.shape)} is not stored "
                         "element by element")
