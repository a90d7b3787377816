"""Our files of networks: tensors; dimensions, pixels and the host's part beside them."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from deltamoe.golden.config import ModelConfig
from deltamoe.golden.importing.bounds import check_bounds
from deltamoe.golden.importing.host import Host, beside
from deltamoe.golden.importing.preprocessing import Preprocessing
from deltamoe.golden.quantization.tensor_file import encode
from deltamoe.host.files import write_all

SUFFIX = ".safetensors"
"""How the name of a network's file ends: what reads one tells its kind by that."""


def check_name(path: Path) -> None:
    """Raise ValueError unless the name of a network's file to be written has its ending."""
    if path.suffix != SUFFIX:
        raise ValueError(f"{path}: the name of a network's file ends with {SUFFIX}")


def write_network(path: Path, tensors: Mapping[str, Tensor], kind: str, config: ModelConfig,
                  preprocessing: Preprocessing | None, host: Host | None, **more: str) -> None:
    """Write a network, whole or not at all, the same bytes for the same network.

    ``more`` are other words beside the tensors, by name.

    Raises
    ------
    ValueError
        The name has another ending than :data:`SUFFIX`.
    OSError
        A file cannot be written; names it.
    """
    check_name(path)
    words = {"format": kind, "config": json.dumps(asdict(config))}
    files: dict[Path, bytes] = {}
    if preprocessing is not None:
        words["preprocessing"] = json.dumps(asdict(preprocessing))
    if host is not None:
        words["host"] = json.dumps({"tokens": host.tokens, "outputs": host.outputs,
                                    "sha256": host.sha256})
        files[beside(path)] = host.model
    write_all({path: encode(tensors, words | more)} | files)


def described(words: Mapping[str, str], path: Path
              ) -> tuple[ModelConfig, Preprocessing | None, Host | None]:
    """Return what :func:`write_network` wrote beside the tensors.

    Raises
    ------
    KeyError, TypeError, ValueError
        It did not write these, or the part on the host is missing or another.
    """
    fields = json.loads(words["config"])
    config = ModelConfig(**fields | {"num_classes": tuple(fields["num_classes"])})
    if not isinstance(config.name, str):
        raise ValueError(f"name={config.name!r} is not a text")
    check_bounds(config, path)
    preprocessing = host = None
    if "preprocessing" in words:
        fields = json.loads(words["preprocessing"])
        preprocessing = Preprocessing(**{
            name: tuple(value) if isinstance(value, list) else value
            for name, value in fields.items()})
    if "host" in words:
        fields, file = json.loads(words["host"]), beside(path)
        if not file.is_file():
            raise ValueError(f"{file}, the part on the host, is missing")
        host = Host(file.read_bytes(), str(fields["tokens"]), tuple(map(str, fields["outputs"])))
        if host.sha256 != fields["sha256"]:
            raise ValueError(f"{file} is the host's part of another network")
    return config, preprocessing, host
