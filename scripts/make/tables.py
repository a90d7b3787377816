"""Make ``golden/tables.json``, the function tables that golden models and hardware both load."""

import json
import math
from pathlib import Path

from deltamoe.golden import tables
from deltamoe.host.files import write

TABLES = {
    "exp2_8bit": [min(255, math.floor(256 * 2 ** (-f / 64) + 0.5)) for f in range(64)],
    "exp2_15bit": [min(32767, math.floor(32768 * 2 ** (-f / 256) + 0.5)) for f in range(256)],
    "rsqrt": [min(65535, round(2**16 / math.sqrt((i + 0.5) / 32))) for i in range(32, 128)],
}

if __name__ == "__main__":
    path = Path(tables.__file__).with_name("tables.json")
    write(path, json.dumps(TABLES, indent=1) + "\n")
