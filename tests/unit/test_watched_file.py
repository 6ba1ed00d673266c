"""A file is read again when it changed and rests; an unusable file keeps the old value."""

import logging
import os
from pathlib import Path

import pytest

from fastrpc.errors import ConfigError
from fastrpc.watched_file import LOOK_SECONDS, MOST_BYTES, WatchedFile

LOGGER = logging.getLogger("fastrpc.audit")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def read(text: str) -> int:
    if not text.strip().isdigit():
        raise ConfigError("it is not a number", hint="write 7")
    return int(text)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def watched(path: Path, clock: Clock) -> WatchedFile[int]:
    # By this wall clock every file was touched just now, so that two looks have to agree.
    return WatchedFile(path, "the number", read, logger=LOGGER, clock=clock, wall_clock=lambda: 0.0)


def test_a_change_is_taken_once_two_looks_agree(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "number"
    path.write_text("1")
    file = watched(path, clock)
    path.write_text("22")
    assert not file.look()
    clock.now += LOOK_SECONDS
    assert not file.look()
    path.write_text("333")
    clock.now += LOOK_SECONDS
    assert not file.look()
    clock.now += LOOK_SECONDS
    assert file.look()
    assert (file.value, file.version) == (333, 1)
    clock.now += LOOK_SECONDS
    assert not file.look()


def test_a_file_that_nobody_touches_is_taken_at_the_first_look(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "number"
    path.write_text("1")
    file = WatchedFile(
        path, "the number", read, logger=LOGGER, clock=clock, wall_clock=lambda: os.stat(path).st_ctime + 60
    )
    path.write_text("22")
    clock.now += LOOK_SECONDS
    assert file.look()
    assert file.value == 22


def test_a_replaced_link_is_a_change(tmp_path: Path, clock: Clock) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "number").write_text("1" if name == "first" else "2")
    current = tmp_path / "current"
    current.symlink_to(tmp_path / "first")
    file = watched(current / "number", clock)
    (tmp_path / "next").symlink_to(tmp_path / "second")
    os.replace(tmp_path / "next", current)
    for _ in range(2):
        clock.now += LOOK_SECONDS
        file.look()
    assert file.value == 2


@pytest.mark.parametrize("content", [b"x", b"", b"\xff\xfe", b"9" * (MOST_BYTES + 1), None])
def test_unusable_files_keep_the_old_value_and_warn_once(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    path = tmp_path / "number"
    path.write_text("1")
    file = watched(path, clock)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    for _ in range(4):
        clock.now += LOOK_SECONDS
        assert not file.look()
    assert file.value == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    path.write_text("22")
    for _ in range(2):
        clock.now += LOOK_SECONDS
        file.look()
    assert file.value == 22


def test_the_error_at_first_names_file_reason_and_hint(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "number"
    path.write_text("x")
    with pytest.raises(ConfigError, match="the number '.*number': it is not a number") as caught:
        watched(path, clock)
    assert caught.value.hint == "write 7"


def test_content_that_is_of_no_use_is_read_once(tmp_path: Path, clock: Clock) -> None:
    path, asked = tmp_path / "number", []

    def counting(text: str) -> int:
        asked.append(text)
        return read(text)

    path.write_text("1")
    file = WatchedFile(path, "the number", counting, logger=LOGGER, clock=clock, wall_clock=lambda: 0.0)
    path.write_text("broken")
    for _ in range(5):
        clock.now += LOOK_SECONDS
        assert not file.look()
    assert asked == ["1", "broken"]
    # Who asks for it gets it.
    assert not file.reload()
    assert asked == ["1", "broken", "broken"]
    path.write_text("7")
    for _ in range(2):
        clock.now += LOOK_SECONDS
        file.look()
    assert file.value == 7


def test_an_opener_decides_which_files_are_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "number"
    path.write_text("1")
    is_fine = True

    def opener(name: str, flags: int) -> int:
        if not is_fine:
            raise ConfigError("it is of another user", hint="copy it")
        return os.open(name, flags)

    file = WatchedFile(path, "the number", read, logger=LOGGER, opener=opener)
    path.write_text("22")
    is_fine = False
    assert not file.reload()
    assert file.value == 1
    assert f"the number {str(path)!r}: it is of another user (copy it)" in caplog.text
    is_fine = True
    assert file.reload()
    assert file.value == 22
