"""C headers: registers and errors, which the driver includes, and a network as its initializer."""

import json

from deltamoe.boards.driver.control import MEANINGS, counters
from deltamoe.boards.driver.manifest import IMAGE, Manifest, Meaning, Output, Use
from deltamoe.rtl.control.register_map import MAGIC, REGISTERS, VERSION, WATCHDOG
from deltamoe.rtl.program import ErrorCode


def guarded(name: str, origin: str, lines: list[str]) -> str:
    """Return a header."""
    return "\n".join([f"/* Made by {origin}; do not edit. */", f"#ifndef {name}",
                      f"#define {name}", "", *lines, "", "#endif", ""])


def define(name: str, value: int, comment: str = "") -> str:
    """Return the definition of a constant."""
    return f"#define DELTAMOE_{name} UINT32_C(0x{value:x})" + (f" /* {comment} */" if comment
                                                              else "")


def registers() -> str:
    """Return the header of registers, counters and errors."""
    lines = ["#include <stdint.h>", "", define("MAGIC", MAGIC, "register magic"),
             define("VERSION", VERSION, "register version"),
             define("WATCHDOG", WATCHDOG, "cycles, as after power-up"), "",
             "/* Byte offsets of the registers, of 32 bits each. */"]
    lines += [define(f"REG_{name.upper()}", register.offset, register.meaning)
              for name, register in REGISTERS.items()]
    lines += ["", "/* Masks of the registers' fields, and places of those of several bits. */"]
    for name, register in REGISTERS.items():
        for field in () if register.number else register.fields:
            full = f"{name}_{field.name}".upper()
            lines.append(define(full, field.mask, field.meaning))
            lines += [define(f"{full}_SHIFT", field.low)] if field.width > 1 else []
    lines += ["", "/* Byte offsets of the counters, of 64 bits each, the lower half first. */",
              *(define(f"COUNTER_{counter.name.upper()}", counter.offset, counter.meaning)
                for counter in counters()),
              "", "/* Values of error_code. */", "enum deltamoe_error {"]
    lines += [f"    DELTAMOE_ERROR_{code.name} = {code.value}," for code in ErrorCode]
    lines += ["};", "", "/* X(code, text) for each error. */", "#define DELTAMOE_ERRORS(X) \\"]
    lines.append(" \\\n".join(
        f"    X(DELTAMOE_ERROR_{code.name}, {json.dumps(f'{code.name}: {meaning}')})"
        for code, meaning in MEANINGS.items()))
    return guarded("DELTAMOE_REGISTERS_H", "python -m deltamoe.make.driver", lines)


def output(found: Output | None) -> str:
    """Return the initializer of an output; of none, zeros."""
    if found is None:
        return "{0, 0, 0}"
    rows, columns = (1, *found.shape)[-2:]
    return f"{{{found.address}u, {rows}u, {columns}u}}"


def program(manifest: Manifest) -> str:
    """Return the header of a network: what the C driver takes from the manifest."""
    pixels, image = manifest.input, manifest.image
    region = next(part for part in manifest.memory.regions if part.use == Use.PROGRAM)
    found = {each.meaning: each for each in manifest.outputs}
    names = ",\n".join(f"    {json.dumps(name)}" for name in manifest.descriptors)
    fields = {
        "network": json.dumps(f"{manifest.network.name}, task {manifest.network.task}"),
        "hardware": json.dumps(manifest.hardware.name),
        "configuration": f"0x{manifest.hardware.configuration:08x}u",
        "memory_bytes": f"{manifest.memory.bytes}u",
        "memory_alignment": f"{manifest.memory.alignment}u",
        "address_bits": f"{manifest.memory.address_bits}u",
        "image_address": f"{image.address}u", "image_bytes": f"{image.bytes}u",
        "image_crc32": f"0x{image.crc32:08x}u",
        "program_address": f"{region.address}u", "program_length": f"{len(manifest.descriptors)}u",
        "input_address": f"{pixels.address}u", "input_bytes": f"{pixels.bytes}u",
        "channels": f"{pixels.channels}u",
        "height": f"{pixels.height}u", "width": f"{pixels.width}u",
        "patch_size": f"{pixels.patch_size}u", "patch_bytes": f"{pixels.patch_bytes}u",
        "pixel_zero": f"{pixels.zero}u",
        "tokens": output(found[Meaning.TOKENS]), "scores": output(found.get(Meaning.SCORES)),
        "token_scale": repr(found[Meaning.TOKENS].scale),
        "descriptors": "deltamoe_descriptors",
    }
    return guarded("DELTAMOE_PROGRAM_H", "deltamoe build", [
        '#include "deltamoe.h"', "", "/* What each descriptor is for. */",
        "static const char *const deltamoe_descriptors[] = {", names, "};", "",
        f"/* Of the image in {IMAGE}. */",
        "static const struct deltamoe_program deltamoe_program = {",
        *(f"    .{name} = {value}," for name, value in fields.items()), "};"])
