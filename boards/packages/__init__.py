"""Packages of the accelerator for other tools: one file for each format."""

from deltamoe.boards.packages import fusesoc, linux, litex, systemrdl, vivado
from deltamoe.boards.packages.core import Format

FORMATS: dict[str, Format] = {
    module.FORMAT.name: module.FORMAT for module in (fusesoc, vivado, litex, linux, systemrdl)}
"""All formats, by the name that ``deltamoe package --as`` takes."""
