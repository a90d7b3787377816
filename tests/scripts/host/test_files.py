"""Files: whole or not at all, the mode of the umask, errors that name them."""

import os
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deltamoe.host.files import write, write_all, write_folder

ROOT = Path(__file__).parents[3]
USER = 54321
"""A user without entry in the table of users."""


@contextmanager
def umask(value: int) -> Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file grow beyond ``size``; Python ignores the signal, so writing fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(("mask", "expected"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_new_file_has_the_mode_of_the_umask(mask: int, expected: int, tmp_path: Path) -> None:
    with umask(mask):
        write(tmp_path / "new", "text")
        write(tmp_path / "program", b"\x7f", mode=0o777)
    assert mode(tmp_path / "new") == expected
    assert mode(tmp_path / "program") == 0o777 & ~mask


def test_replaced_file_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "old"
    path.write_text("old and longer")
    path.chmod(0o664)
    with umask(0o077):
        write(path, "new")
    assert (path.read_text(), mode(path)) == ("new", 0o664)


def test_symbolic_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "target").write_text("old")
    for link, target in (("link", "folder/target"), ("new", "folder/later")):
        (tmp_path / link).symlink_to(target)
        write(tmp_path / link, link)
        assert (tmp_path / link).is_symlink()
        assert (tmp_path / target).read_text() == link


def test_device_stays_one(tmp_path: Path) -> None:
    write(Path(os.devnull), "nothing")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write(Path("/dev/full"), "something")
    assert caught.value.filename == "/dev/full"


def test_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = "long " * 50_000
    with subprocess.Popen(["wc", "-c", pipe], stdout=subprocess.PIPE, text=True) as reader:
        write(pipe, text)
        assert int(reader.communicate()[0].split()[0]) == len(text)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_no_file_is_written_if_one_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "first").write_text("old")
    (tmp_path / "second").mkdir()
    with pytest.raises(OSError, match="Is a directory") as caught:
        write_all({tmp_path / "first": "new", tmp_path / "second": "new"})
    assert caught.value.filename == str(tmp_path / "second")
    assert (tmp_path / "first").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second"]


def test_a_file_too_large_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with largest_file(4096), pytest.raises(OSError, match="File too large") as caught:
        write(tmp_path / "file", b"x" * 10_000)
    assert caught.value.filename == str(tmp_path / "file")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_a_full_disk_leaves_the_old_file(small_disk: Path) -> None:
    (small_disk / "file").write_text("old")
    with pytest.raises(OSError, match="No space left on device") as caught:
        write(small_disk / "file", b"x" * 100_000)
    assert caught.value.filename == str(small_disk / "file")
    assert [path.read_text() for path in small_disk.iterdir()] == ["old"]


def test_a_folder_appears_with_all_of_its_files(tmp_path: Path) -> None:
    write_folder(tmp_path / "above/new", {"a": "text", "b/c": b"bytes"})
    assert {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*")
            if path.is_file()} == {Path("above/new/a"): b"text", Path("above/new/b/c"): b"bytes"}
    assert [path.name for path in (tmp_path / "above").iterdir()] == ["new"]


def test_a_folder_of_which_one_file_fails_does_not_appear(tmp_path: Path) -> None:
    with largest_file(4096), pytest.raises(OSError, match="File too large"):
        write_folder(tmp_path / "new", {"first": "x", "second": "x" * 10_000})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_left(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with pytest.raises(OSError, match="File exists") as caught:
        write_folder(tmp_path / "new", {"first": "x"})
    assert caught.value.filename == str(tmp_path / "new")
    assert list(tmp_path.rglob("*")) == [tmp_path / "new"]


def test_name_may_be_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    write(tmp_path / ("n" * 255), "text")
    with pytest.raises(OSError, match="File name too long"):
        write(tmp_path / ("n" * 256), "text")


def test_write_protected_file_is_left(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "file").chmod(0o444)
    tmp_path.chmod(0o777)
    code = ("import os, sys; from pathlib import Path; from deltamoe.host.files import write\n"
            f"os.geteuid() or os.setuid({USER})\n"
            f"write(Path('file'), 'new')")
    script = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True,
                            text=True, check=False)
    assert "PermissionError: [Errno 13] Permission denied: 'file'" in script.stderr
    assert (tmp_path / "file").read_text() == "old"


@pytest.mark.parametrize("text", ["µ", "\udcff"])
def test_text_is_utf8_whatever_the_locale(text: str, tmp_path: Path,
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("locale.getpreferredencoding", lambda *_: "ascii")
    write(tmp_path / "file", text)
    assert (tmp_path / "file").read_bytes() == text.encode("utf-8", "backslashreplace")
