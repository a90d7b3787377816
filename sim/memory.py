"""The memory beside the chip.

The memory has a read burst's first beat ``latency`` cycles after its address, or ``interval``
cycles after the beat before it was taken; then one every ``interval`` cycles. It acknowledges a
write burst ``latency`` cycles after its last beat, and takes one beat every ``interval`` cycles.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class MemoryModel:
    """Cycles from a read address to its first beat, and from beat to beat in each direction.

    ``latency`` is also the time from a write's last beat to its answer.
    """

    latency: int = 20
    interval: int = 1

    def __post_init__(self) -> None:
        for name in ("latency", "interval"):
            if getattr(self, name) < 1:
                raise ValueError(f"memory {name} {getattr(self, name)} is not at least 1 cycle")
