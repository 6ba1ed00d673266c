"""A folder with other tables than a store's: names, texts, numbers and damage, as a broker has them."""

import os
import sqlite3
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from fastrpc import BrokerError, Status
from fastrpc.stores.sqlite.file import FileKind
from fastrpc.stores.sqlite.folder import SqliteFolder, Sync

BROKER = FileKind(
    name="broker",
    number="sequence",
    application=0x66727062,
    schema=3,
    script="""
BEGIN;
CREATE TABLE messages (sequence INTEGER PRIMARY KEY, content BLOB NOT NULL);
CREATE TABLE numbers (latest INTEGER NOT NULL, is_incomplete INTEGER NOT NULL);
INSERT INTO numbers VALUES (0, 0);
COMMIT;
""",
    page_bytes=4096,
    copies=1,
    error=BrokerError,
    if_held="end it, or copy a free folder: fastrpc broker copy FOLDER NEW",
    if_later="use the version of fastrpc that wrote it: fastrpc broker copy FOLDER NEW",
    if_damaged="read all that is whole: fastrpc broker copy FOLDER NEW",
)


class MessageTables:
    """Tables of messages; an empty content is damage."""

    kind = BROKER

    def damage_in(self, connection: sqlite3.Connection) -> str | None:
        found = connection.execute("SELECT sequence FROM messages WHERE content = x''").fetchone()
        return None if found is None else f"message {found[0]} is empty"

    def latest(self, connection: sqlite3.Connection) -> int:
        (latest,) = connection.execute("SELECT latest FROM numbers").fetchone()
        return int(latest)

    def was_unsynced(self, connection: sqlite3.Connection) -> bool:
        return False

    def raise_to(self, connection: sqlite3.Connection, number: int, *, is_incomplete: bool) -> None:
        connection.execute("UPDATE numbers SET latest = ?, is_incomplete = ?", (number, is_incomplete))


def read(connection: sqlite3.Connection) -> tuple[list[int], int]:
    """Return the sequences of the messages, and the latest number."""
    found = [
        sequence for (sequence,) in connection.execute("SELECT sequence FROM messages ORDER BY sequence")
    ]
    return found, MessageTables().latest(connection)


def publish(folder: SqliteFolder, sequence: int, content: bytes = b"content") -> None:
    def write(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO messages VALUES (?, ?)", (sequence, content))
        connection.execute("UPDATE numbers SET latest = ?", (sequence,))

    folder.commit(write, number=sequence, size=len(content))


def opened(place: Path, sync: Sync = "full") -> tuple[SqliteFolder, list[int], int]:
    folder = SqliteFolder(place, MessageTables(), sync=sync)
    return folder, *folder.open(read)


def refusal(place: Path) -> BrokerError:
    with pytest.raises(BrokerError) as caught:
        opened(place)
    return caught.value


def left_as_killed(place: Path, sync: Sync = "full") -> None:
    """Keep two messages, and leave the files as a killed process does."""
    folder, _, _ = opened(place, sync)
    publish(folder, 1)
    publish(folder, 2)
    files = {path: path.read_bytes() for path in place.iterdir()}
    folder.close()
    for path, content in files.items():
        path.write_bytes(content)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "messages"


def test_a_closed_folder_continues_with_its_own_files_and_tables(place: Path) -> None:
    folder, found, latest = opened(place)
    assert (found, latest) == ([], 0)
    publish(folder, 1)
    names = {"broker.db", "broker.db-wal", "broker.db-shm", "broker.sequences"}
    assert {path.name for path in place.iterdir()} == names
    assert folder.file_bytes() > 4096
    folder.close()
    folder.close()
    folder, found, latest = opened(place)
    assert (found, latest) == ([1], 1)
    folder.close()


def test_a_commit_that_fails_keeps_no_written_change(place: Path) -> None:
    folder, _, _ = opened(place)
    publish(folder, 1)

    def write(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO messages VALUES (2, x'00')")
        raise RuntimeError("the change is wrong")

    with pytest.raises(RuntimeError, match="the change is wrong"):
        folder.commit(write, number=2, size=1)
    publish(folder, 2)
    folder.close()
    folder, found, latest = opened(place)
    assert (found, latest) == ([1, 2], 2)
    folder.close()


def test_a_full_disk_refuses_a_commit_with_the_error_of_the_kind(place: Path) -> None:
    folder, _, _ = opened(place)
    (pages,) = folder.connection.execute("PRAGMA page_count").fetchone()
    folder.connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(BrokerError, match=r"the disk of .*broker\.db is full") as caught:
        publish(folder, 1, b"x" * 100_000)
    assert (caught.value.status, caught.value.processed) == (Status.RESOURCE_EXHAUSTED, "no")
    folder.close()


def test_a_value_takes_room_in_the_log_and_in_the_file_once_for_each_copy(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _, _ = opened(place)
    free = 64 * 1024 * 1024 + 1000
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=free, f_frsize=1))
    assert folder.room() == 500
    twice = MessageTables()
    monkeypatch.setattr(twice, "kind", replace(BROKER, copies=2), raising=True)
    assert SqliteFolder(place, twice).room() == 250
    folder.close()


@pytest.mark.parametrize(("sync", "is_incomplete"), [("full", 0), ("normal", 1)])
def test_no_number_that_may_have_been_given_comes_twice(place: Path, sync: Sync, is_incomplete: int) -> None:
    left_as_killed(place, sync)
    folder, found, latest = opened(place, sync)
    assert found == [1, 2]
    assert latest > 1_000_000
    query = "SELECT is_incomplete FROM numbers"
    assert folder.connection.execute(query).fetchone() == (is_incomplete,)
    publish(folder, latest + 1)
    folder.close()
    folder, found, _ = opened(place, sync)
    assert found == [1, 2, latest + 1]
    folder.close()


def test_lost_commits_are_told_by_the_logger_and_in_the_words_of_the_kind(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    left_as_killed(place)
    (place / "broker.db-wal").unlink()
    folder, found, latest = opened(place)
    folder.close()
    assert found == []
    assert latest > 1_000_000
    [record] = caplog.records
    assert record.name == "fastrpc.broker"
    assert (
        "has lost its last commits, 2 of its log: it has sequence 0, acknowledged was 2"
        in record.getMessage()
    )
    assert "the next sequence is above" in record.getMessage()


def test_a_second_process_is_refused_in_the_words_of_the_kind(place: Path) -> None:
    folder, _, _ = opened(place)
    error = refusal(place)
    assert error.message == f"another broker holds {place}"
    assert error.hint == BROKER.if_held
    folder.close()
    folder, _, _ = opened(place)
    folder.close()


def test_a_folder_that_others_can_enter_is_refused(place: Path) -> None:
    place.mkdir(mode=0o755)
    place.chmod(0o755)
    assert "its mode is 755" in refusal(place).message


@pytest.mark.parametrize(
    ("pragma", "text", "hint"),
    [
        ("user_version = 4", "has schema 4, this fastrpc knows 3", BROKER.if_later),
        ("application_id = 7", "is not a broker of fastrpc", None),
    ],
)
def test_a_file_of_another_program_or_version_is_refused(
    place: Path, pragma: str, text: str, hint: str | None
) -> None:
    folder, _, _ = opened(place)
    folder.close()
    with sqlite3.connect(place / "broker.db") as connection:
        connection.execute(f"PRAGMA {pragma}")
    connection.close()
    error = refusal(place)
    assert (text in error.message, error.status, error.hint) == (True, Status.FAILED_PRECONDITION, hint)


@pytest.mark.parametrize("damage", ["table", "content", "numbers", "missing"])
def test_damage_is_refused_and_names_the_way_out(place: Path, damage: str) -> None:
    folder, _, _ = opened(place)
    publish(folder, 1)
    folder.close()
    if damage == "numbers":
        (place / "broker.sequences").write_bytes(b"x" * 600)
    elif damage == "missing":
        (place / "broker.db").unlink()
    else:
        with sqlite3.connect(place / "broker.db") as connection:
            statement = "DROP TABLE numbers" if damage == "table" else "UPDATE messages SET content = x''"
            connection.execute(statement)
        connection.close()
    error = refusal(place)
    assert error.status is Status.DATA_LOSS
    assert "is damaged" in error.message
    assert error.hint == f"nothing was overwritten; {BROKER.if_damaged}"


def test_a_folder_that_is_not_open_has_no_connection(place: Path) -> None:
    with pytest.raises(BrokerError, match="is closed"):
        publish(SqliteFolder(place, MessageTables()), 1)
