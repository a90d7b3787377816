"""What ``deltamoe build`` writes: complete, as the schema says, and the same as the program."""

import hashlib
import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import deltamoe
from deltamoe.api.building import FILES, Build, preprocessing
from deltamoe.boards.driver import manifest as manifests
from deltamoe.boards.driver.control import MEANINGS
from deltamoe.boards.driver.manifest import (
    ChannelOrder,
    Interpolation,
    Manifest,
    Meaning,
    Place,
    Use,
    parsed,
)
from deltamoe.golden.importing.preprocessing import INTERPOLATIONS, NAMED, PLACES
from deltamoe.golden.library import find
from deltamoe.host.files import read_text
from deltamoe.make.driver import FOLDER, files
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.rtl.control.registers import REGISTERS, Command, Status
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
    assert not validator.is_valid(content | {"version": 2})


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


def test_tokens_alone_without_classes(built: Build) -> None:
    """And no region for scratch where nothing is kept."""
    assert Use.SCRATCH not in {part.use for part in built.manifest.memory.regions}


def test_words_are_those_of_the_code() -> None:
    assert {each.value for each in Interpolation} == INTERPOLATIONS.keys()
    assert tuple(Place) == PLACES
    assert tuple(ChannelOrder) == ("RGB", "BGR")
    assert MEANINGS.keys() == set(ErrorCode) - {ErrorCode.NONE}


@pytest.mark.parametrize(("register", "kind", "words"), [
    ("control", Command, {"start": Command.START, "reset": Command.RESET,
                          "clear interrupt": Command.CLEAR_INTERRUPT}),
    ("status", Status, {"busy": Status.BUSY, "done": Status.DONE, "error": Status.ERROR,
                        "interrupt": Status.INTERRUPT,
                        "the bus still owes": Status.DRAINING}),
])
def test_bits_are_those_of_the_documents(register: str, kind: type, words: dict) -> None:
    assert set(words.values()) == set(kind)
    for word, bit in words.items():
        assert f"bit {bit.bit_length() - 1} {word}" in REGISTERS[register].meaning


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
