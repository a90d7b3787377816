"""What our files say of a network beside its tensors: what they are, its dimensions, its pixels."""

import json
from collections.abc import Mapping
from dataclasses import asdict

from deltamoe.golden.config import ModelConfig
from deltamoe.golden.importing.preprocessing import Preprocessing


def metadata(kind: str, config: ModelConfig, preprocessing: Preprocessing | None
             ) -> dict[str, str]:
    """Return the metadata of a file of this ``kind``."""
    words = {"format": kind, "config": json.dumps(asdict(config))}
    if preprocessing is not None:
        words["preprocessing"] = json.dumps(asdict(preprocessing))
    return words


def described(words: Mapping[str, str]) -> tuple[ModelConfig, Preprocessing | None]:
    """Return dimensions and preprocessing that :func:`metadata` wrote.

    Raises
    ------
    KeyError, TypeError, ValueError
        It did not write these.
    """
    fields = json.loads(words["config"])
    config = ModelConfig(**fields | {"num_classes": tuple(fields["num_classes"])})
    if "preprocessing" not in words:
        return config, None
    fields = json.loads(words["preprocessing"])
    return config, Preprocessing(**{name: tuple(value) if isinstance(value, list) else value
                                    for name, value in fields.items()})
