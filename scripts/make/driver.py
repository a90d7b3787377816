"""Write the C driver's constants and the manifest's schema: ``python -m deltamoe.make.driver``.

The constants are committed, and not written by ``deltamoe build``: they belong to the version of
the registers, which the driver checks, and not to a network, so the driver compiles as it lies.
``tests/boards/driver/test_manifest.py`` fails if one is not what the code says.
"""

from collections.abc import Mapping
from pathlib import Path

from deltamoe.boards import driver
from deltamoe.boards.driver import header, manifest
from deltamoe.host.files import write_all

FOLDER = Path(driver.__file__).parent


def files() -> Mapping[Path, str]:
    """Return the text of each file."""
    return {FOLDER / "deltamoe_registers.h": header.registers(),
            FOLDER / "manifest.schema.json": manifest.schema()}


if __name__ == "__main__":
    write_all(files())
