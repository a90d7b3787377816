"""The package: one top-level name, and nothing missing from the wheel."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"rtl": "deltamoe.rtl", "golden": "deltamoe.golden", "sim": "deltamoe.sim",
           "boards": "deltamoe.boards", "scripts": "deltamoe"}


def exported(folder: Path) -> Path:
    """Write the files of the checkout that belong to it into ``folder``."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, folder / name
        if source.is_file() and not source.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    return folder


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built where one was built before, of a module that there no longer is."""
    source, folder = exported(tmp_path_factory.mktemp("source")), tmp_path_factory.mktemp("wheel")
    (source / "build/lib/deltamoe").mkdir(parents=True)
    (source / "build/lib/deltamoe/stale.py").touch()
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps",
                    "--no-build-isolation", "--wheel-dir", folder, source], check=True)
    return next(folder.glob("*.whl"))


def test_packages_are_those_of_the_tree() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {".".join((name, *init.parent.relative_to(ROOT / folder).parts))
             for folder, name in FOLDERS.items() for init in (ROOT / folder).rglob("__init__.py")}
    assert sorted(listed) == sorted(found)


def test_wheel_has_one_name_and_every_file(wheel: Path) -> None:
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    assert {name.split("/")[0] for name in names} == {"deltamoe"}
    tracked = {Path(*FOLDERS[folder].split("."), path.relative_to(ROOT / folder)).as_posix()
               for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()
               and path.suffix in {".py", ".json", ".c", ".h", ".cpp", ".v", ".tcl", ".yaml",
                                   ".safetensors"}}
    assert set(names) == tracked


def test_wheel_runs_beside_a_package_of_the_same_folders(wheel: Path, tmp_path: Path) -> None:
    """In a folder with a ``golden.py`` and beside a package that owns ``scripts``."""
    installed, work = tmp_path / "installed", tmp_path / "work"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target",
                    installed, wheel], check=True)
    (installed / "scripts").mkdir()
    (installed / "scripts/__init__.py").write_text("raise SystemExit('the wrong scripts')\n")
    work.mkdir()
    for name in FOLDERS:
        (work / f"{name}.py").write_text(f"raise SystemExit('the wrong {name}')\n")
    environment = os.environ | {"PYTHONPATH": str(installed)}

    def ran(*words: str) -> str:
        return subprocess.run([sys.executable, *words], cwd=work, env=environment, check=True,
                              capture_output=True, text=True).stdout

    where = ran("-c", "import deltamoe; print(deltamoe.__file__)")
    assert Path(where.strip()).is_relative_to(installed)
    assert "m3vit-tiny-129" in ran("-m", "deltamoe", "list")
    example = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert example, "the README has no Python example"
    assert ran("-c", example[1])
