"""The call ledger: the answers of clients compared with the work of handlers, promises L1 to L6.

Every call carries a nonce. The server's `Journal` notes each start and end of a handler, in a file where
a server may be killed; the client's `Ledger` notes how each call ended. `problems` compares both.
"""

import hashlib
import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Entry", "Journal", "Ledger", "differences"]

#: L1: a call ends at the latest so long after its deadline.
LATENESS_SECONDS = 0.1
NONCE_BYTES = 16


class Journal:
    """The work of handlers. With a path it outlives the process that writes it, after any end."""

    def __init__(self, path: Path | None = None) -> None:
        self._lines: list[str] = []
        self._lock = threading.Lock()
        # One write of a short line in append mode is not mixed with writes of other processes.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file = None if path is None else os.open(path, flags, 0o600)

    @classmethod
    def read(cls, path: Path) -> "Journal":
        """Return the journal that other processes wrote."""
        journal = cls()
        journal._lines = path.read_text(encoding="ascii").splitlines()
        return journal

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def started(self, nonce: bytes) -> None:
        """Note that a handler began."""
        self._note("start", nonce)

    def ended(self, nonce: bytes, answer: bytes) -> None:
        """Note that a handler finished with this answer."""
        self._note("end", nonce, digest(answer))

    def failed(self, nonce: bytes) -> None:
        """Note that a handler ended without an answer."""
        self._note("fail", nonce)

    @contextmanager
    def handling(self, nonce: bytes, answer: bytes) -> Iterator[None]:
        """Note start and end around the body of a handler that answers `answer`."""
        self.started(nonce)
        try:
            yield
        except BaseException:
            self.failed(nonce)
            raise
        self.ended(nonce, answer)

    def starts(self) -> Counter[bytes]:
        """Return how often the handler of each call began."""
        return Counter(bytes.fromhex(words[1]) for words in self._events() if words[0] == "start")

    def answers(self) -> dict[bytes, set[str]]:
        """Return the digests of the answers each call's handlers gave."""
        found: dict[bytes, set[str]] = {}
        for words in self._events():
            if words[0] == "end":
                found.setdefault(bytes.fromhex(words[1]), set()).add(words[2])
        return found

    def running(self) -> list[bytes]:
        """Return the calls whose handlers began more often than they ended."""
        balance: Counter[bytes] = Counter()
        for words in self._events():
            balance[bytes.fromhex(words[1])] += 1 if words[0] == "start" else -1
        return [nonce for nonce, count in balance.items() if count > 0]

    def _events(self) -> list[list[str]]:
        with self._lock:
            return [line.split() for line in self._lines]

    def _note(self, what: str, nonce: bytes, *words: str) -> None:
        line = " ".join((what, nonce.hex(), *words))
        with self._lock:
            self._lines.append(line)
            if self._file is not None:
                os.write(self._file, f"{line}\n".encode("ascii"))


@dataclass(eq=False, slots=True)
class Entry:
    """One call as its client saw it."""

    nonce: bytes
    expected: bytes
    idempotent: bool
    #: An instant of the ledger's clock, None without a limit.
    deadline: float | None
    #: Each end: its instant, and the answer or the error.
    ends: list[tuple[float, bytes | BaseException]] = field(default_factory=list)

    @property
    def processed(self) -> str | None:
        """Return what the error says about the handler, None if it says nothing."""
        error = self.ends[0][1] if self.ends else None
        return getattr(error, "processed", None)


class Ledger:
    """All calls of a test."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.entries: list[Entry] = []
        #: How many ends were noted.
        self.ended = 0

    def begin(
        self, *, expected: bytes | None = None, idempotent: bool = False, timeout: float | None = None
    ) -> Entry:
        """Note a call; its answer must be `expected`, by default its own nonce."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        deadline = None if timeout is None else self._clock() + timeout
        entry = Entry(nonce, nonce if expected is None else expected, idempotent, deadline)
        with self._lock:
            self.entries.append(entry)
        return entry

    def succeeded(self, entry: Entry, answer: bytes) -> None:
        """Note that a call gave an answer."""
        self._end(entry, answer)

    def failed(self, entry: Entry, error: BaseException) -> None:
        """Note that a call raised."""
        self._end(entry, error)

    def _end(self, entry: Entry, result: bytes | BaseException) -> None:
        entry.ends.append((self._clock(), result))
        # Counted, as tests look at it in each turn of the loop: to go through half a million calls stalls that.
        with self._lock:
            self.ended += 1

    async def run(self, entry: Entry, call: Awaitable[bytes]) -> bytes | BaseException:
        """Await a call, note how it ended, and return its answer or its error; cancellation propagates."""
        try:
            answer = await call
        except Exception as error:
            self.failed(entry, error)
            return error
        except BaseException as error:
            self.failed(entry, error)
            raise
        self.succeeded(entry, answer)
        return answer

    def run_blocking(self, entry: Entry, call: Callable[[], bytes]) -> bytes | BaseException:
        """Do the same for a call that blocks."""
        try:
            answer = call()
        except Exception as error:
            self.failed(entry, error)
            return error
        self.succeeded(entry, answer)
        return answer

    def problems(self, *journals: Journal) -> list[str]:
        """Return each broken promise as a line; an empty list is a good ledger."""
        starts: Counter[bytes] = Counter()
        answers: dict[bytes, set[str]] = {}
        for journal in journals:
            starts += journal.starts()
            for nonce, found in journal.answers().items():
                answers.setdefault(nonce, set()).update(found)
        lines = [
            f"{entry.nonce.hex()[:8]}: {problem}"
            for entry in self.entries
            for problem in entry_problems(entry, starts[entry.nonce], answers.get(entry.nonce, set()))
        ]
        strays = starts.keys() - {entry.nonce for entry in self.entries}
        return lines + [f"{nonce.hex()[:8]}: L2 a handler ran for no call" for nonce in sorted(strays)]


def entry_problems(entry: Entry, starts: int, answers: set[str]) -> Iterator[str]:
    """Yield the mistakes of one call."""
    if len(entry.ends) != 1:
        yield f"L1 it ended {len(entry.ends)} times"
        return
    ended_at, result = entry.ends[0]
    if entry.deadline is not None and ended_at > entry.deadline + LATENESS_SECONDS:
        yield f"L1 it ended {ended_at - entry.deadline:.3f} s after its deadline"
    if not entry.idempotent and starts > 1:
        yield f"L3 it started {starts} times and is not idempotent"
    if isinstance(result, bytes):
        if result != entry.expected:
            yield "L2 the answer is another call's"
        if digest(result) not in answers:
            yield "L2 it succeeded, but no handler finished with this answer"
    elif entry.processed == "no" and starts:
        yield f"L4 it says not processed and started {starts} times: {result!r}"
    elif entry.processed == "yes" and not starts:
        yield f"L5 it says processed and never started: {result!r}"


def differences(base: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return where counts differ from their base (L6): streams, handlers, timers, tasks, bytes, credit."""
    lines = []
    for name in sorted(base.keys() | after.keys()):
        before, now = base.get(name), after.get(name)
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            lines += differences(before, now, f"{prefix}{name}.")
        elif before != now:
            lines.append(f"L6 {prefix}{name}: {before} before, {now} after")
    return lines


def digest(answer: bytes) -> str:
    """Return a short name for an answer."""
    return hashlib.blake2b(answer, digest_size=12).hexdigest()
