"""The scoreboard: memory shared by the processes of one server, so that each can read the state of the others.

::

    the header     a row of 8 words per place: its process, heartbeat and connections, and its valid records;
                   then one row for the whole server, and the connections that the supervisor refused, by reason
    records        two for each row and kind: one is valid while the other is written

The supervisor makes it before the first fork. A process writes only into its own place. If the process is killed, its
counts stay, and the next process in the place adds to them. Counts sent as messages would be lost with the sender or
the receiver; files would need a writable directory, which containers often lack.

Storing a single word makes a record valid, so a process may be killed at any instant. Each place has a socket pair for
questions and for the notice that an answer was written. Both ends stay open when the process in the place ends.
"""

import contextlib
import mmap
import os
import secrets
import socket
import tempfile
import time
import zlib
from enum import IntEnum

from fastrpc.handlers.method_limits import EDGE_REASONS, EdgeReason

__all__ = ["Kind", "ProcessPlace", "Role", "Scoreboard", "kind_of"]

#: WORDS: the number of words of a place. WORD_BYTES: the bytes of a word.
WORDS = 8
WORD_BYTES = 8

#: The words of a row: the id of the running process, or 0; its role; the instant of its last heartbeat in ns; its state
#: (STARTS and others); the numbers of its accepted and open connections; then for each kind which of the two records is
#: valid, or 0.
PROCESS, ROLE, BEAT, READY, CONNECTIONS, VALID = range(6)

#: The values of READY: the process starts, runs, accepts calls.
STARTS, RUNS, TAKES_CALLS = range(3)

#: In the row of the whole server, the word of the first kind has the number of times that the record was replaced.
VERSION = 0

#: The upper half of the word for connections has the accepted ones, the lower half the open ones.
HALF_WORD = 1 << 32

#: The space of one record, enough for about 100,000 methods. The file is sparse: only written bytes need memory. A
#: limit of the file size (`ulimit -f`) applies to the full size.
RECORD_BYTES = 64 << 20

#: The head of a record: the number of its bytes, and their checksum.
PREFIX_BYTES = 16

#: The number of times that a read is tried while a record is being rewritten.
LOOKS = 5


class Role(IntEnum):
    """The role of a process."""

    WORKER = 1
    ANNOUNCER = 2


class Kind(IntEnum):
    """The kinds of records: a process's counts, its last answer for a page, and its last answer for an act."""

    COUNTED = 0
    ANSWER = 1
    ACT = 2


def kind_of(question: str) -> Kind:
    """Return the kind of record for the answer to a question. Questions of acts end with an argument."""
    return Kind.ACT if " " in question else Kind.ANSWER


class ProcessPlace:
    """The place of one process."""

    def __init__(self, board: "Scoreboard", index: int) -> None:
        self.index = index
        self._board = board
        self._row = index * WORDS
        #: The socket of the asking process, and of the answering process.
        self.asking, self.answering = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for end in (self.asking, self.answering):
            end.setblocking(False)

    # For the supervisor

    def prepare(self, role: Role) -> None:
        """Prepare the place for a process that is about to start. The counts of the previous process stay."""
        words = self._board.words
        words[self._row + READY] = STARTS
        words[self._row + CONNECTIONS] = 0
        self.beat()
        words[self._row + ROLE] = role

    def give(self, process: int) -> None:
        """Assign the place to a process."""
        self._board.words[self._row + PROCESS] = process

    def take_back(self) -> None:
        """Mark the place as free after its process has ended."""
        self._board.words[self._row + PROCESS] = 0

    # For the process

    def beat(self) -> None:
        """Write a heartbeat."""
        self._board.words[self._row + BEAT] = time.monotonic_ns()

    def set_ready(self, is_ready: bool) -> None:
        """Write a heartbeat, and whether the process accepts calls."""
        self._board.words[self._row + READY] = TAKES_CALLS if is_ready else RUNS

    def set_connections(self, taken: int, is_open: int) -> None:
        """Write how many connections the process has accepted in total, and how many are open now."""
        # Both numbers are stored together, so readers never see one without the other.
        self._board.words[self._row + CONNECTIONS] = (taken % HALF_WORD) * HALF_WORD + is_open

    def write(self, kind: Kind, record: bytes) -> None:
        """Replace the record."""
        self._board.write(self.index, kind, record)

    # For every process

    @property
    def process(self) -> int:
        """The id of the running process, or 0."""
        return self._board.words[self._row + PROCESS]

    @property
    def role(self) -> int:
        """The role of the process."""
        return self._board.words[self._row + ROLE]

    @property
    def is_ready(self) -> bool:
        return self._board.words[self._row + READY] == TAKES_CALLS

    @property
    def has_begun(self) -> bool:
        """Whether the process has written a heartbeat and so answers questions."""
        return self._board.words[self._row + READY] != STARTS

    @property
    def silent_seconds(self) -> float:
        """The seconds since the last heartbeat."""
        return (time.monotonic_ns() - self._board.words[self._row + BEAT]) / 1e9

    def connections(self, handed: int) -> int:
        """Return the number of open connections, including sent connections that the process has not received yet.

        Args:
            handed: the number of connections sent in total.
        """
        taken, is_open = divmod(self._board.words[self._row + CONNECTIONS], HALF_WORD)
        return is_open + (handed - taken) % HALF_WORD

    def read(self, kind: Kind) -> bytes:
        """Return the record, empty before the first one."""
        return self._board.read(self.index, kind)

    @property
    def kept_version(self) -> int:
        """The number of times that the record of the whole server was replaced."""
        return self._board.kept_version

    def kept(self) -> bytes:
        """Return the record of the whole server, empty before the first one."""
        return self._board.kept()


class Scoreboard:
    """The shared memory and its places."""

    def __init__(self, places: int) -> None:
        self._file = _shared_file()
        # The words after the rows count refusals.
        rows = places + 1
        self._refused_at = {reason: rows * WORDS + number for number, reason in enumerate(EDGE_REASONS)}
        self._server = places
        words = rows * WORDS + len(EDGE_REASONS)
        header = -(-words * WORD_BYTES // mmap.PAGESIZE) * mmap.PAGESIZE
        os.ftruncate(self._file, header)
        self._records_at = header
        self._map = mmap.mmap(self._file, header)
        #: An identity of the server for readers of its figures. It changes with each start.
        self.identity = secrets.token_hex(8)
        #: `words`: all rows, and the counts of refusals. Words are aligned, so they are read and stored atomically.
        self.words = memoryview(self._map).cast("Q")
        self.places = [ProcessPlace(self, index) for index in range(places)]

    def living(self) -> list[ProcessPlace]:
        """Return the places of running processes."""
        return [place for place in self.places if place.process]

    def free_place(self) -> ProcessPlace:
        """Return a place that no process has."""
        return next(place for place in self.places if not place.process)

    def count_refused(self, reason: EdgeReason) -> None:
        """Count a connection that the supervisor refused. Only the supervisor may call this."""
        self.words[self._refused_at[reason]] += 1

    def refused(self) -> dict[str, int]:
        """Return how many connections the supervisor refused, by reason."""
        return {reason: self.words[at] for reason, at in self._refused_at.items()}

    @property
    def kept_version(self) -> int:
        """The number of times that the record of the whole server was replaced."""
        return self.words[self._server * WORDS + VERSION]

    def kept(self) -> bytes:
        """Return the record of the whole server, empty before the first one."""
        return self.read(self._server, Kind(0))

    def keep(self, record: bytes) -> None:
        """Replace the record of the whole server. Only one process may call this.

        Raises:
            ValueError: the record is longer than its space.
        """
        self.write(self._server, Kind(0), record)
        # The version changes after the record, so a reader that sees the new version reads the new record.
        self.words[self._server * WORDS + VERSION] += 1

    def write(self, index: int, kind: Kind, record: bytes) -> None:
        """Write the record of a place, and make it valid.

        Raises:
            ValueError: the record is longer than its space.
        """
        if len(record) > RECORD_BYTES - PREFIX_BYTES:
            raise ValueError(
                f"the record has {len(record):,} bytes, the limit is {RECORD_BYTES - PREFIX_BYTES:,}"
            )
        word = index * WORDS + VALID + kind
        half = 2 if self.words[word] == 1 else 1
        prefix = len(record).to_bytes(8, "little") + zlib.crc32(record).to_bytes(8, "little")
        at = self._record_at(index, kind, half)
        _write_all(self._file, prefix, at)
        _write_all(self._file, record, at + PREFIX_BYTES)
        self.words[word] = half

    def read(self, index: int, kind: Kind) -> bytes:
        """Return the record of a place."""
        for _ in range(LOOKS):
            half = self.words[index * WORDS + VALID + kind]
            if half == 0:
                return b""
            at = self._record_at(index, kind, half)
            prefix = os.pread(self._file, PREFIX_BYTES, at)
            record = _read_all(self._file, int.from_bytes(prefix[:8], "little"), at + PREFIX_BYTES)
            if zlib.crc32(record) == int.from_bytes(prefix[8:], "little"):
                return record
        return b""

    def _record_at(self, index: int, kind: Kind, half: int) -> int:
        return self._records_at + ((index * len(Kind) + kind) * 2 + half - 1) * RECORD_BYTES

    def close(self) -> None:
        """Close the memory and the sockets in this process."""
        for place in self.places:
            place.asking.close()
            place.answering.close()
        self.words.release()
        with contextlib.suppress(BufferError):
            self._map.close()
        os.close(self._file)


def _shared_file() -> int:
    """Return the descriptor of an anonymous memory file."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("fastrpc-scoreboard", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _write_all(file: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, at)
        view, at = view[written:], at + written


def _read_all(file: int, size: int, at: int) -> bytes:
    parts = []
    while size > 0 and (part := os.pread(file, size, at)):
        parts.append(part)
        size, at = size - len(part), at + len(part)
    return b"".join(parts)
