"""Noticing that sources changed."""

import os
from pathlib import Path

import pytest

from fastrpc.workers.reloader import SourceFiles


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "part.py").write_text("a = 1")
    return tmp_path


def test_nothing_changed_at_first(folder: Path) -> None:
    assert SourceFiles(folder).changed() is None


def test_change_is_reported_once(folder: Path) -> None:
    files = SourceFiles(folder)
    os.utime(folder / "package" / "part.py", ns=(1, 1))
    assert files.changed() == Path("package/part.py")
    assert files.changed() is None


def test_new_and_removed_files_are_changes(folder: Path) -> None:
    files = SourceFiles(folder)
    (folder / "new.py").write_text("")
    assert files.changed() == Path("new.py")
    (folder / "new.py").unlink()
    assert files.changed() == Path("new.py")


@pytest.mark.parametrize("name", [".hidden/a.py", "__pycache__/a.py", "environment/lib/a.py", "notes.txt"])
def test_files_that_are_not_sources_of_the_app_are_left_out(folder: Path, name: str) -> None:
    (folder / "environment").mkdir()
    (folder / "environment" / "pyvenv.cfg").write_text("")
    files = SourceFiles(folder)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("")
    assert files.changed() is None
