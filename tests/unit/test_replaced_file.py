"""A file is replaced as a whole, or stays unchanged."""

import os
import stat
from pathlib import Path

import pytest

from fastrpc.replaced_file import replaced_file


def test_the_new_content_comes_at_the_end_of_the_block(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with replaced_file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


def test_a_new_file_is_readable_for_its_owner_alone(tmp_path: Path) -> None:
    with replaced_file(tmp_path / "a"):
        pass
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


def test_an_error_leaves_the_old_content_and_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), replaced_file(path) as file:
        file.write(b"new")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_file_that_cannot_be_replaced_leaves_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(IsADirectoryError), replaced_file(tmp_path / "a") as file:
        file.write(b"new")
    assert os.listdir(tmp_path) == ["a"]


def test_without_a_buffer_each_piece_is_written_at_once(tmp_path: Path) -> None:
    with replaced_file(tmp_path / "a", buffering=0) as file:
        file.write(b"new")
        assert os.fstat(file.fileno()).st_size == 3
