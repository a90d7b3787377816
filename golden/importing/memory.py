"""How much memory code may take for a file that is not trusted."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STATISTICS = Path("/proc/self/statm")
"""Linux' sizes of this process in pages, of which the first is its address space."""


@contextmanager
def limited(count: int) -> Iterator[None]:
    """Let the process take so many bytes more within the block; what takes more raises an error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = int(STATISTICS.read_text().split()[0]) * resource.getpagesize() + count
    for known in (soft, hard):
        if known != resource.RLIM_INFINITY:
            limit = min(limit, known)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
