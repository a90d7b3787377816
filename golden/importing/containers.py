"""Files of named tensors: what is around them is taken off, and said."""

import zipfile
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
    while prefix := next((prefix for prefix in PREFIXES
                          if all(name.startswith(prefix) for name in tensors)), None):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
        notes.append(f"prefix {prefix!r} taken off")
    return Checkpoint(path, tensors, tuple(notes))


def _pickled(path: Path) -> object:
    """Read a checkpoint whose records are no larger than the file."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
                raise ValueError(f"{path} unpacks to more than its size, as no checkpoint does")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    # PyTorch's readers raise nearly anything on damaged bytes.
    except (RuntimeError, EOFError, UnpicklingError, ValueError, KeyError, AttributeError,
            TypeError, IndexError) as error:
        raise ValueError(f"{path} is not a complete PyTorch checkpoint of tensors") from error


def _opened(state: object, path: Path, container: str | None) -> tuple[dict, list[str]]:
    """Return the dictionary of tensors within nested ones, and what was said on the way."""
    notes: list[str] = []
    while isinstance(state, dict):
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
                         f"{', '.join(map(str, list(state)[:8]))}")
    return {str(name): value for name, value in state.items()}, notes


def _check_size(name: str, tensor: Tensor, path: Path) -> None:
    """Raise ValueError if a tensor repeats its stored elements, and so may be of any size."""
    if tensor.layout != torch.strided or tensor.is_quantized or (
            tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes()):
        raise ValueError(f"{path}: tensor {name} of shape {tuple(tensor.shape)} is not stored "
                         "element by element")
