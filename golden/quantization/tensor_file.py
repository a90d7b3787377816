"""Safetensors files whose bytes depend on their content alone."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from deltamoe.host.files import write

ALIGNMENT = 8
"""Bytes of the header's length, and what the header is padded to a multiple of."""


def encode(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Return a file as bytes, its metadata in the order given.

    ``safetensors`` orders tensors by type and name, but writes the metadata of a Rust hash map in
    an order that is drawn anew for each file. So its header is written again.
    """
    content = save({name: tensor.contiguous() for name, tensor in tensors.items()},
                   dict(metadata) or None)
    size = int.from_bytes(content[:ALIGNMENT], "little")
    header = json.loads(content[ALIGNMENT : ALIGNMENT + size])
    if metadata:
        header["__metadata__"] = dict(metadata)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(ALIGNMENT, "little") + text + content[ALIGNMENT + size :]


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return metadata and tensors of a file, these in the order of their bytes.

    Raises
    ------
    ValueError
        It is truncated, or no safetensors file.
    OSError
        It cannot be read.
    """
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}, {
                name: file.get_tensor(name) for name in file.offset_keys()}
    except SafetensorError as error:
        raise ValueError(f"{path}: not a complete safetensors file ({error})") from None


def write_tensors(path: Path, tensors: Mapping[str, Tensor],
                  metadata: Mapping[str, str] | None = None) -> None:
    """Write one file, whole or not at all.

    Raises
    ------
    OSError
        It cannot be written; names it.
    """
    write(path, encode(tensors, metadata or {}))
