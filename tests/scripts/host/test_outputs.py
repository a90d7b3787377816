"""Where a command writes is checked before its work; no result replaces what the command reads."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deltamoe.api import video
from deltamoe.golden.library import WEIGHTS
from deltamoe.host import outputs
from deltamoe.host.outputs import check_outputs
from tests.scripts.sweep.conftest import SPEC
from tests.scripts.test_cli import run
from tests.scripts.test_compare import SMALL

ROOT = Path(__file__).parents[2]
READ, TWICE = "is read by the same command", "which is the same file"
QUANTIZE = "quantize x.safetensors --images img"
VIDEO = "video digits --hardware nano --policy dense --input img"
CALIBRATE = "calibrate power.csv --terms mac"
REFUSED = {
    f"{QUANTIZE} --out x.safetensors": READ, f"{QUANTIZE} --out link": READ,
    f"{QUANTIZE} --out hard": READ, f"{QUANTIZE} --out img/0.png": READ,
    f"{QUANTIZE} --out new --json ./x.safetensors": READ,
    f"{QUANTIZE} --out new --json new": TWICE,
    f"{QUANTIZE} --out new --json img/../new": TWICE,
    f"{QUANTIZE} --out img": "img is a folder",
    "quantize edge --images img --out edge/a.bin": READ,
    "infer q.safetensors --image img/0.png --json q.safetensors": READ,
    "infer digits --image img/0.png --json img/0.png": READ,
    "infer digits --image img/0.png --engine rtl --trace t --json t": TWICE,
    "infer digits --image img/0.png --engine rtl --trace img/0.png": READ,
    "simulate q.safetensors --trace q.safetensors": READ,
    "simulate digits --image img/0.png --trace img/0.png": READ,
    "simulate digits --trace t --json t": TWICE,
    "simulate digits --accelergy out --json out/ERT.yaml": TWICE,
    "simulate digits --accelergy power.csv": "power.csv is no folder",
    "simulate digits --accelergy power.csv/a": "power.csv/a: power.csv is no folder",
    "verilog --out out --json out/deltamoe.json": TWICE,
    "verilog --out power.csv": "power.csv is no folder",
    "package --as fusesoc --out out": "out exists already",
    "package --as fusesoc --out new --json new": "new is no file beside new",
    "package --as fusesoc --out new --json new/p.json": "new/p.json is no file beside new",
    "package --as fusesoc --out power.csv": "power.csv is no folder",
    "package --as fusesoc --out -": "-: only --json prints",
    "sweep spec.yaml --csv spec.yaml": READ, "sweep spec.yaml --csv t --json t": TWICE,
    "sweep spec.yaml --out out --csv out/sweep.db": TWICE,
    "sweep spec.yaml --out power.csv": "power.csv is no folder",
    "compare study.yaml --csv study.yaml": READ, "compare study.yaml --csv t --json t": TWICE,
    "compare study.yaml --out out --json out/report.html": TWICE,
    "compare study.yaml --csv -": "-: only --json prints",
    "simulate digits --trace -": "-: only --json prints",
    "verilog --out -": "-: only --json prints",
    f"{VIDEO} --out img": "img/video.png would be one of the pictures of --input",
    f"{VIDEO} --out img/.": "would be one of the pictures",
    f"{VIDEO} --json img/0.png": READ, f"{VIDEO} --out power.csv": "power.csv is no folder",
    "accuracy q.safetensors --json q.safetensors": READ,
    "accuracy digits --out out --json out/accuracy.png": TWICE,
    f"{CALIBRATE} --out power.csv": READ, f"{CALIBRATE} --out t --json t": TWICE,
    f"{CALIBRATE} --out t --json power.csv": READ,
    "demo --out power.csv": "power.csv is no folder", "demo --out out --json out/page.html": TWICE,
    "train digits --out power.csv": "power.csv is no folder",
    "train digits --out out --json out/digits.safetensors": TWICE,
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of input, which is the current one."""
    shutil.copy(WEIGHTS / "digits.safetensors", tmp_path / "x.safetensors")
    shutil.copy(WEIGHTS / "digits.quantized.safetensors", tmp_path / "q.safetensors")
    (tmp_path / "link").symlink_to("x.safetensors")
    os.link(tmp_path / "x.safetensors", tmp_path / "hard")
    for name, text in {"power.csv": "", "spec.yaml": SPEC, "study.yaml": SMALL, "img/0.png": "",
                       "edge/a.bin": "", "out/kept": ""}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("line", REFUSED)
def test_a_result_in_the_place_of_an_input_or_of_another_is_refused(
        line: str, folder: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture) -> None:
    before = contents(folder)
    code, out, err = run(monkeypatch, capsys, *line.split())
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")
    assert REFUSED[line] in err
    assert contents(folder) == before


def test_a_link_to_itself_is_refused(folder: Path) -> None:
    (folder / "loop").symlink_to("loop")
    with pytest.raises(ValueError, match=r"^loop is a symbolic link that leads to itself$"):
        check_outputs([Path("loop")])


def test_a_folder_that_was_removed_is_said_of_the_file(
        folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "gone").mkdir()
    monkeypatch.chdir(folder / "gone")
    (folder / "gone").rmdir()
    with pytest.raises(FileNotFoundError) as caught:
        check_outputs([Path("x.json")])
    assert caught.value.filename == "x.json"


def test_a_file_by_way_of_a_missing_folder_is_no_folder(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"^nosuch/\.\./power\.csv is no folder$"):
        check_outputs(folders={Path("nosuch/../power.csv"): ["x"]})


@pytest.mark.parametrize("way", ["/proc/self/cwd/q.safetensors",
                                 "/proc/thread-self/cwd/q.safetensors"])
def test_a_file_by_way_of_a_process_is_a_file(way: str, folder: Path) -> None:
    with pytest.raises(ValueError, match="is read by the same command"):
        check_outputs([Path(way)], read=["q.safetensors"])


def test_streams_and_standard_output_may_take_several_results(folder: Path) -> None:
    check_outputs([Path("/dev/null"), Path("/dev/null"), None], json=Path("-"),
                  read=["/dev/null", None, "nosuch"])


def test_results_beside_inputs_are_allowed(folder: Path) -> None:
    """What is in the folder of the pictures and no picture is not read."""
    (folder / "img" / "q.safetensors").write_bytes(b"of the run before")
    check_outputs([Path("img/q.safetensors"), Path("img/new")],
                  read=["x.safetensors", *video.pictures("img", Path("nosuch"))],
                  folders={Path("a/b/c"): ["d"], Path("img"): ["e"]})
    assert not Path("a").exists()


def test_a_folder_to_be_made_takes_other_results_and_one_below_it_does_not(folder: Path) -> None:
    new = {Path("a/b"): ["c"]}
    check_outputs([Path("a/b/d"), Path("a/e"), Path("img/../a/b/f")], folders=new)
    with pytest.raises(ValueError, match=r"^a/b/c would overwrite a/b/c"):
        check_outputs([Path("a/b/c")], folders=new)
    for path in ("a/b/g/h", "a/g/h", "nosuch/h"):
        with pytest.raises(ValueError, match=rf"^{path}: there is no folder {Path(path).parent}$"):
            check_outputs([Path(path)], folders=new)
    assert not Path("a").exists()


def test_two_sweeps_in_one_folder_are_refused(
        folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """The second in one line, and the first's record stays."""
    code = ("import sys; from pathlib import Path; from deltamoe.host.outputs import alone\n"
            "with alone(Path('out')):\n    print(flush=True); sys.stdin.read()")
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, text=True,
                          stdout=subprocess.PIPE,
                          ) as other:
        assert other.stdout.readline() == "\n"
        ended, out, err = run(monkeypatch, capsys, "sweep", "spec.yaml", "--out", "out")
        assert (ended, out, err) == (2, "", (
            "error: out: another process works in this folder; wait for it, or choose another\n"))
        other.communicate("")
    assert [path.name for path in Path("out").iterdir()] == ["kept"]
    with outputs.alone(Path("out")), outputs.alone(Path("new/folder")):
        assert Path("new/folder").is_dir()


def test_what_cannot_be_written_to_is_said_first(
        folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a superuser everything can, so what the system says is set here."""
    monkeypatch.setattr(outputs.os, "access", lambda path, mode: path != Path("img"))
    for files, folders in (([Path("img/a")], {}), ([], {Path("img/b/c"): ["d"]})):
        with pytest.raises(ValueError, match=r"^img/.*: the folder img cannot be written to$"):
            check_outputs(files, folders=folders)
    check_outputs([Path("out/a")])
