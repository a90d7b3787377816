"""What ``deltamoe build`` writes: complete, as the schema says, and the same as the program."""

import hashlib
import json
import re
import zlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import deltamoe
from deltamoe.api.building import FILES, Build, preprocessing
from deltamoe.api.networks import Network
from deltamoe.boards.driver import header
from deltamoe.boards.driver import manifest as manifests
from deltamoe.boards.driver.control import MEANINGS
from deltamoe.boards.driver.manifest import (
    ChannelOrder,
    Interpolation,
    Manifest,
    Meaning,
    Place,
    Preprocessing,
    Use,
    parsed,
)
from deltamoe.golden.config import MODELS
from deltamoe.golden.importing.host import Host
from deltamoe.golden.importing.preprocessing import INTERPOLATIONS, NAMED, PLACES
from deltamoe.golden.library import find, untrained
from deltamoe.host.files import read_text
from deltamoe.make.driver import FOLDER, files
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.rtl.control.counters import COUNTERS
from deltamoe.rtl.control.register_map import (
    COUNTERS_OFFSET,
    MAGIC,
    REGISTERS,
    VERSION,
    WATCHDOG,
)
from deltamoe.rtl.program import ErrorCode

SCHEMA = FOLDER / "manifest.schema.json"


@pytest.mark.parametrize("path", files(), ids=[path.name for path in files()])
def test_made_files_are_what_the_code_says(path: Path) -> None:
    """Else: python -m deltamoe.make.driver."""
    assert read_text(path) == files()[path]


def test_the_schema_takes_what_is_built_and_nothing_else(built: Build) -> None:
    """As a program in another language reads it."""
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(read_text(SCHEMA))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    content = json.loads(read_text(built.folder / "manifest.json"))
    validator.validate(content)
    for name in content:
        missing = {key: value for key, value in content.items() if key != name}
        assert not validator.is_valid(missing), name
    assert not validator.is_valid(content | {"more": 1})
    assert not validator.is_valid(content | {"version": 1})


def test_the_file_is_the_result_s(built: Build) -> None:
    assert parsed(read_text(built.folder / "manifest.json")) == built.manifest
    assert built.to_json()["manifest"] == json.loads(read_text(built.folder / "manifest.json"))
    assert json.loads(json.dumps(built.to_json(), allow_nan=False)) == built.to_json()
    assert "program.bin" in built._repr_html_()


def test_every_file_has_its_hash(built: Build) -> None:
    """But the manifest itself, which holds the hashes."""
    named = {file.name: file for file in built.manifest.files}
    assert {path.name for path in built.folder.iterdir()} - named.keys() == {"manifest.json"}
    for name, file in named.items():
        content = (built.folder / name).read_bytes()
        assert (file.bytes, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    image = (built.folder / built.manifest.image.file).read_bytes()
    assert built.manifest.image.crc32 == zlib.crc32(image)


@pytest.mark.parametrize("task", [0, 1])
def test_memory_is_the_program_s(task: int, tmp_path: Path) -> None:
    """Image and input where the manifest says make the memory that the program runs in."""
    found = deltamoe.build("digits", "nano", tmp_path, task=task).manifest
    program = compile_program(find("digits").quantized, deltamoe.HARDWARE["nano"], task)
    memory = np.zeros(found.memory.bytes, np.uint8)
    image = np.fromfile(tmp_path / found.image.file, np.uint8)
    memory[found.image.address :][: len(image)] = image
    assert np.array_equal(memory, program.with_bytes(np.zeros(found.input.bytes, np.uint8)))
    end = 0
    for part in found.memory.regions:
        assert part.address == end
        end += part.bytes
    assert end == found.memory.bytes == program.size
    assert found.descriptors == tuple(map(str, program.labels))
    noise = np.random.default_rng(task).integers(0, 256, program.size, np.uint8)
    tokens, scores = program.outputs(noise)
    for output, expected in zip(found.outputs, (tokens, scores), strict=True):
        values = noise[output.address :][: output.bytes].view("<i2").reshape(output.shape)
        assert np.array_equal(values, expected)
    assert [output.meaning for output in found.outputs] == [Meaning.TOKENS, Meaning.SCORES]


def test_a_network_without_classes_and_with_a_part_on_the_host(tmp_path: Path) -> None:
    """Its tokens are the only output, and that part is a file of its own."""
    config = replace(MODELS["digits"], num_classes=())
    host = Host(b"an ONNX file", "tokens", ("map", "mask"))
    known = untrained(config)._replace(preprocessing=NAMED["half"], host=host)
    found = deltamoe.build(Network("own", config, known), "nano", tmp_path).manifest
    assert [output.meaning for output in found.outputs] == [Meaning.TOKENS]
    assert found.outputs[0].scale == known.quantized.residual_scale
    assert (found.host.file, found.host.input, found.host.outputs) == (
        "host.onnx", "tokens", ("map", "mask"))
    assert (tmp_path / "host.onnx").read_bytes() == host.model
    assert {file.name: file.sha256 for file in found.files}["host.onnx"] == host.sha256
    assert found.input.preprocessing.folded.mean == NAMED["half"].mean
    assert "{0, 0, 0}" in (tmp_path / "program.h").read_text()
    assert manifests.read(tmp_path) == found


def test_regions_are_named(built: Build) -> None:
    """Nothing is kept from one frame to the next, so there is no scratch."""
    assert [part.use for part in built.manifest.memory.regions] == [
        Use.PROGRAM, Use.WEIGHTS, Use.INPUT, Use.OUTPUT]


def test_words_are_those_of_the_code() -> None:
    assert {each.value for each in Interpolation} == INTERPOLATIONS.keys()
    assert tuple(Place) == PLACES
    assert tuple(ChannelOrder) == ("RGB", "BGR")
    assert MEANINGS.keys() == set(ErrorCode) - {ErrorCode.NONE}


DEFINE = re.compile(r"^#define DELTAMOE_(\w+) UINT32_C\((\w+)\)(?: /\* (.*) \*/)?$", re.MULTILINE)


def test_the_header_is_the_description() -> None:
    """Every constant of the registers, with what it says, and no other."""
    found = {name: (int(value, 0), said)
             for name, value, said in DEFINE.findall(header.registers())}
    expected = {"MAGIC": (MAGIC, "register magic"), "VERSION": (VERSION, "register version"),
                "WATCHDOG": (WATCHDOG, "cycles, as after power-up")}
    for name, register in REGISTERS.items():
        expected[f"REG_{name.upper()}"] = (register.offset, register.meaning)
        for field in register.fields:
            if field.name != "value":
                full = f"{name}_{field.name}".upper()
                expected[full] = (field.mask, field.meaning)
                if field.width > 1:
                    expected[f"{full}_SHIFT"] = (field.low, "")
    for number, (name, said) in enumerate(COUNTERS.items()):
        expected[f"COUNTER_{name.upper()}"] = (COUNTERS_OFFSET + 8 * number, said)
    assert found == expected


def test_the_manifest_is_the_description(built: Build) -> None:
    """Of each register that it names, by bits of fields that exist."""
    control = built.manifest.control
    steps = [*control.identity, *control.start, control.ended, control.failed, *control.reset,
             control.quiet]
    assert {step.register_: step.offset for step in steps} == {
        step.register_: REGISTERS[step.register_].offset for step in steps}
    for field, condition, value in (("busy", control.ended, 0), ("error", control.failed, 1),
                                    ("draining", control.quiet, 0)):
        mask = REGISTERS["status"].mask(field)
        assert (condition.register_, condition.mask, condition.value) == (
            "status", mask, mask * value)
    assert (control.error_code, control.error_index) == (
        REGISTERS["error_code"].offset, REGISTERS["error_index"].offset)


@pytest.mark.parametrize("name", NAMED)
def test_preprocessing_is_told(name: str, built: Build) -> None:
    steps = replace(NAMED[name], resize=9, crop=(8, 8), interpolation="bicubic", order="BGR")
    told = preprocessing(steps)
    given = built.manifest.input.model_copy(update={"preprocessing": told})
    again = Manifest.model_validate_json(
        built.manifest.model_copy(update={"input": given}).text()).input.preprocessing
    assert again == told
    values = again.model_dump()
    folded = values.pop("folded")
    assert values | folded == vars(steps)


def pixels_of(picture: Image.Image, steps: Preprocessing) -> np.ndarray:
    """Do what a manifest says, by its words alone."""
    (width, height), resize = picture.size, steps.resize
    if isinstance(resize, int):
        shorter = min(width, height)
        picture = picture.resize((width * resize // shorter, height * resize // shorter),
                                 Image.Resampling[steps.interpolation.name])
    elif resize is not None:
        down, across = Fraction(resize[0], height), Fraction(resize[1], width)
        if steps.within:
            down = across = min(down, across)
        picture = picture.resize((max(1, int(width * across)), max(1, int(height * down))),
                                 Image.Resampling[steps.interpolation.name])
    values = np.asarray(picture)
    if steps.crop:
        rows, columns = steps.crop
        wide = np.pad(values, ((rows, rows), (columns, columns), (0, 0)))
        top, left = ((side - cut) // 2 for side, cut in zip(
            values.shape, steps.crop, strict=False))
        values = wide[rows + top :, columns + left :][:rows, :columns]
    if steps.order == ChannelOrder.BGR:
        values = values[..., ::-1]
    if steps.pad:
        filled = np.full((*steps.pad, values.shape[2]), steps.color, np.uint8)
        top, left = (0, 0) if steps.place == Place.CORNER else (
            (side - has) // 2 for side, has in zip(steps.pad, values.shape, strict=False))
        filled[top : top + values.shape[0], left : left + values.shape[1]] = values
        values = filled
    return values.transpose(2, 0, 1)


@pytest.mark.parametrize("given", [
    {"resize": 9, "crop": (8, 8), "interpolation": "bicubic", "order": "BGR"},
    {"resize": 7, "crop": (10, 12), "interpolation": "lanczos"},
    {"resize": (8, 11), "interpolation": "box"},
    {"resize": (16, 16), "within": True, "pad": (16, 17), "color": (1, 2, 3)},
    {"resize": (16, 16), "within": True, "pad": (17, 16), "place": "corner", "order": "BGR"},
    {},
])
def test_a_picture_becomes_the_network_s_pixels(given: dict, seed: int) -> None:
    """By the words of the manifest as by the network's own code, whatever side is longer."""
    steps = replace(NAMED["imagenet"], **given)
    generator = np.random.default_rng(seed)
    for size in ((23, 31), (31, 23), (16, 16)):
        picture = Image.fromarray(generator.integers(0, 256, (*size, 3), np.uint8))
        expected = steps.pixels(picture, 3).numpy()
        assert np.array_equal(pixels_of(picture, preprocessing(steps)), expected)


def test_a_failed_build_leaves_what_was_there(folder: Path, monkeypatch: pytest.MonkeyPatch,
                                              ) -> None:
    """Neither a new file beside an old one, nor a folder for a network that does not fit."""
    before = {path: path.read_bytes() for path in folder.iterdir()}
    (folder / "program.h").unlink()
    (folder / "program.h").mkdir()
    with pytest.raises(OSError, match=r"program\.h"):
        deltamoe.build("digits", "nano", folder, task=1)
    (folder / "program.h").rmdir()
    (folder / "program.h").write_bytes(before[folder / "program.h"])
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    with pytest.raises(ValueError, match="embed_dim=192"):
        deltamoe.build("m3vit-tiny-129", "nano", folder / "new")
    assert not (folder / "new").exists()
    assert set(FILES) >= {path.name for path in folder.iterdir()}
    assert manifests.read(folder)
