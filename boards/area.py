"""What a design needs of a part without synthesizing it."""

from boards.parts import PARTS
from rtl.config import HwConfig

PART = PARTS["xcup"]
CAPACITY = {name: PART.capacity[name] for name in ("lut", "ff", "dsp", "bram")}


def area(hw: HwConfig) -> dict[str, float]:
    """Return LUTs, flip-flops, multipliers and block RAMs."""
    return {"lut": 100.0 * hw.mac_units, "ff": 80.0 * hw.mac_units,
            "dsp": hw.mac_units / (1 + hw.packed), "bram": 100.0}
