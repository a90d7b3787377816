"""Function tables as data, made once by ``scripts/make/tables.py``.

``exp2_8bit[f] = min(255, floor(256 * 2**(-f/64) + 1/2))``, ``exp2_15bit[f]`` the same with 15
bits and 256 steps, ``rsqrt[i - 32] = min(65535, round(2**16 / sqrt((i + 1/2) / 32)))`` for
``i`` in 32..127.
"""

import json
from pathlib import Path

_TABLES = json.loads(Path(__file__).with_name("tables.json").read_text("utf-8"))

EXP2_8BIT: tuple[int, ...] = tuple(_TABLES["exp2_8bit"])
EXP2_15BIT: tuple[int, ...] = tuple(_TABLES["exp2_15bit"])
RSQRT: tuple[int, ...] = tuple(_TABLES["rsqrt"])
