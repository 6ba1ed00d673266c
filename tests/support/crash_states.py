"""The disk after a power cut: from the recorded changes of a folder, the contents it may have had at any instant.

After a cut a disk has all that was synced, and of each sector of 512 bytes one of the states that it had since. A sync
of a file keeps its size, one of a folder the names in it. A file is shortened in one step, as SQLite expects it too:
the disk has none of the changes behind a step that it lacks.
"""

import os
import random
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.source_tree import ROOT

__all__ = [
    "ACKNOWLEDGED",
    "Disk",
    "Record",
    "build_recorder",
    "cut_states",
    "cut_states_of_each_step",
    "note",
    "read_records",
    "recorded",
    "write_files",
]

SECTOR_BYTES: Final = 512

#: The kind of the records that a program adds by `note`.
ACKNOWLEDGED: Final = "A"

_SOURCE: Final = Path(__file__).with_name("recorded_io.c")

#: Kind, bytes of the path, offset, bytes of the data.
_HEAD: Final = struct.Struct("=cIQQ")


@dataclass(frozen=True, slots=True)
class Record:
    """A change of the folder; `recorded_io.c` has the kinds."""

    kind: str
    path: str
    offset: int
    data: bytes


def build_recorder(folder: Path) -> Path:
    """Compile the library that records, and return its path."""
    library = folder / "recorded_io.so"
    compiler = os.environ.get("CC", "cc").split()
    subprocess.run([*compiler, "-shared", "-fPIC", "-O1", "-o", library, _SOURCE, "-ldl"], check=True)
    return library


def recording(library: Path, folder: Path, log: Path) -> dict[str, str]:
    """Return the environment of a program whose changes of the folder are recorded."""
    # A sanitizer comes first.
    preloaded = f"{os.environ.get('LD_PRELOAD', '')} {library}".strip()
    return {**os.environ, "LD_PRELOAD": preloaded, "RECORDED_FOLDER": str(folder), "RECORDED_LOG": str(log)}


def note(descriptor: int, data: bytes) -> None:
    """Add a record to the log that a descriptor appends to."""
    os.write(descriptor, _HEAD.pack(ACKNOWLEDGED.encode(), 0, 0, len(data)) + data)


def read_records(log: Path) -> Sequence[Record]:
    """Return all records of a log, in order."""
    content, at, found = log.read_bytes(), 0, []
    while at < len(content):
        kind, path_size, offset, size = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        path = content[at : at + path_size].decode()
        found.append(Record(kind.decode(), path, offset, content[at + path_size : at + path_size + size]))
        at += path_size + size
    return found


def recorded(
    library: Path, folder: Path, files: Mapping[str, bytes], module: str, *options: str
) -> Sequence[Record]:
    """Run a program in a new folder with files, and return how it changed them.

    Args:
        options: of the program, after the folder and the log of its notes.
    """
    log = folder.with_name(f"{folder.name}.log")
    write_files(folder, files)
    command = [sys.executable, "-m", module, str(folder), str(log), *options]
    subprocess.run(command, check=True, cwd=ROOT, env=recording(library, folder, log))
    records, disk = read_records(log), Disk(files)
    for record in records:
        disk.apply(record)
    assert disk.seen() == {path.name: path.read_bytes() for path in folder.iterdir()}
    return records


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make a folder with files."""
    folder.mkdir(0o700, parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def cut_states(
    records: Sequence[Record],
    files: Mapping[str, bytes],
    take: Callable[[Record], None],
    count: int,
    chance: random.Random,
) -> Iterator[dict[str, bytes]]:
    """Yield the states in which power cuts leave files; `take` gets each write that was acknowledged before a cut.

    Half of the cuts are at random instants, the other half at changes of files other than the file of the commits.
    """
    disk = Disk(files)
    rare = [
        at for at, one in enumerate(records) if not one.path.endswith("-wal") and one.kind != ACKNOWLEDGED
    ]
    places = [
        chance.choice(rare) if number % 2 else chance.randrange(len(records)) for number in range(count)
    ]
    at = 0
    for place in sorted(places):
        for record in records[at:place]:
            if record.kind == ACKNOWLEDGED:
                take(record)
            else:
                disk.apply(record)
        at = place
        yield disk.after_cut(chance)


def cut_states_of_each_step(
    records: Sequence[Record], files: Mapping[str, bytes], count: int, chance: random.Random
) -> Iterator[dict[str, bytes]]:
    """Yield what cuts of the power leave of files that change: for each change `count` cuts behind it.

    A program that only opens and closes a folder has few changes: each is tried.
    """
    disk = Disk(files)
    for record in records:
        disk.apply(record)
        for _ in range(count):
            yield disk.after_cut(chance)


class _File:
    """A file: its synced content, and the changes since."""

    def __init__(self, content: bytes = b"") -> None:
        self.synced = bytearray(content)
        # Offset and data; a truncation has None.
        self._pending: list[tuple[int, bytes | None]] = []

    def change(self, offset: int, data: bytes | None) -> None:
        self._pending.append((offset, data))

    def sync(self) -> None:
        for offset, data in self._pending:
            _apply(self.synced, offset, data)
        self._pending.clear()

    def after_cut(self, chance: random.Random, kept: float) -> bytes:
        """Return a content that the disk may have; `kept` is the probability that a sector has its latest state."""
        steps = self._steps()
        shortened = len(steps) - 1
        if chance.random() >= kept:
            shortened = chance.randrange(len(steps))
        content = bytearray(self.synced)
        for number, (changes, shortest) in enumerate(steps[: shortened + 1]):
            content = _partly(content, changes, chance, kept)
            if number < shortened:
                del content[shortest:]
        return bytes(content)

    def _steps(self) -> list[tuple[list[tuple[int, bytes | None]], int]]:
        """Return the changes before each step that shortens the file, with its new size; then the changes behind it."""
        steps: list[tuple[list[tuple[int, bytes | None]], int]] = []
        changes: list[tuple[int, bytes | None]] = []
        size = len(self.synced)
        for offset, data in self._pending:
            if data is None and offset < size:
                steps.append((changes, offset))
                changes = []
            else:
                changes.append((offset, data))
            size = offset if data is None else max(size, offset + len(data))
        return [*steps, (changes, size)]


def _partly(
    synced: bytearray, pending: Sequence[tuple[int, bytes | None]], chance: random.Random, kept: float
) -> bytearray:
    """Return a content that the disk may have after changes of which none shortens it."""
    sizes = [len(synced)]
    sectors: dict[int, list[tuple[int, bytes]]] = {}
    for offset, data in pending:
        changed = data or b""
        sizes.append(max(sizes[-1], offset + len(changed)))
        for sector in range(offset // SECTOR_BYTES, -(-(offset + len(changed)) // SECTOR_BYTES)):
            sectors.setdefault(sector, []).append((offset, changed))
    content = synced.ljust(sizes[-1], b"\0")
    for sector, changes in sectors.items():
        count = len(changes) if chance.random() < kept else chance.randrange(len(changes))
        begin = sector * SECTOR_BYTES
        for offset, changed in changes[:count]:
            first, last = max(begin, offset), min(begin + SECTOR_BYTES, offset + len(changed))
            content[first:last] = changed[first - offset : last - offset]
    del content[sizes[-1] if chance.random() < kept else chance.choice(sizes) :]
    return content


class Disk:
    """A folder and its files, as they are on the disk and as the program sees them."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._seen = {name: _File(content) for name, content in files.items()}
        self._synced = dict(self._seen)
        # Names that were given to files, moved or removed since the folder was synced.
        self._pending: list[tuple[str, str, _File]] = []

    def apply(self, record: Record) -> None:
        """Take the next change."""
        kind, path = record.kind, record.path
        if kind == "O" and path not in self._seen:
            self._rename("", path, _File())
        elif kind == "O" and record.offset:
            self._seen[path].change(0, None)
        elif kind == "W":
            self._seen[path].change(record.offset, record.data)
        elif kind == "T":
            self._seen[path].change(record.offset, None)
        elif kind == "S" and path:
            self._seen[path].sync()
        elif kind == "S":
            self._synced = dict(self._seen)
            self._pending.clear()
        elif kind == "R":
            self._rename(path, record.data.decode(), self._seen[path])
        elif kind == "U":
            self._rename(path, "", self._seen[path])

    def seen(self) -> dict[str, bytes]:
        """Return the content of the folder without a cut."""
        return {name: file.after_cut(random.Random(0), 1.0) for name, file in self._seen.items()}

    def after_cut(self, chance: random.Random) -> dict[str, bytes]:
        """Return a content of the folder that a power cut now may leave."""
        kept = chance.choice([0.0, 0.1, 0.5, 0.9, 1.0])
        names = dict(self._synced)
        for source, target, file in self._pending:
            if chance.random() < kept:
                _move(names, source, target, file)
        return {name: file.after_cut(chance, kept) for name, file in names.items()}

    def _rename(self, source: str, target: str, file: _File) -> None:
        _move(self._seen, source, target, file)
        self._pending.append((source, target, file))


def _move(names: dict[str, _File], source: str, target: str, file: _File) -> None:
    """Give a file its first name, another name, or none; if the earlier name is missing, nothing changes."""
    if source and names.get(source) is not file:
        return
    names.pop(source, None)
    if target:
        names[target] = file


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        content.extend(bytes(offset - len(content)))
        return
    content.extend(bytes(max(offset - len(content), 0)))
    content[offset : offset + len(data)] = data
