"""Results of long runs of other programs, kept beside the built models."""

import hashlib
import json
from collections.abc import Callable

from deltamoe.host import cache
from deltamoe.host.files import read_text, write


def cached(kind: str, inputs: list[str], make: Callable[[], dict]) -> dict:
    """Return what ``make`` returns, from the cache if all ``inputs`` are as before.

    Raises
    ------
    ValueError
        The cache does not have it and cannot be written to.
    """
    key = hashlib.sha256("\0".join(inputs).encode()).hexdigest()[:24]
    path = cache.folder() / f"{kind}-{key}.json"
    if not path.exists():
        with cache.locked(path.stem):
            if not path.exists():
                write(path, json.dumps(make()))
    return json.loads(read_text(path))
