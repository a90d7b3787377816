"""Results of long runs of other programs, kept beside the built models."""

import hashlib
import json
from collections.abc import Callable

from scripts.rtl_engine.engine import cache


def cached(kind: str, given: list[str], make: Callable[[], dict]) -> dict:
    """Return what ``make`` returns, from the cache if all that was ``given`` is as before."""
    key = hashlib.sha256("\0".join(given).encode()).hexdigest()[:24]
    kept = cache() / f"{kind}-{key}.json"
    if kept.exists():
        return json.loads(kept.read_text())
    made = make()
    kept.parent.mkdir(parents=True, exist_ok=True)
    partial = kept.with_suffix(".partial")
    partial.write_text(json.dumps(made))
    partial.replace(kept)
    return made
