"""The ledger of messages: files of events that outlive the processes which write them, and the promises about them.

Each event is a line `instant event id key number`. The instants are of one clock of the machine, so that events of all
processes have one order.
"""

import os
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

__all__ = ["Event", "EventLog", "Losses", "Unhandled", "problems", "read_events"]

Kind = Literal["sent", "kept", "error", "start", "done", "acked"]


@dataclass(frozen=True, order=True, slots=True)
class Event:
    """One event of one message."""

    instant: int

    #: sent, kept and error by a publisher; start, done and acked by a subscriber. kept and acked are answers of the
    #: broker.
    kind: str
    id: str
    key: str

    #: The number among the messages of the key, in the order in which they were published.
    number: int

    @classmethod
    def parse(cls, line: str) -> Self:
        instant, kind, id, key, number = line.split()
        return cls(int(instant), kind, id, key, int(number))


class EventLog:
    """A file to which one process appends; each line is with the kernel once it is noted."""

    def __init__(self, folder: Path, name: str) -> None:
        self._file = os.open(folder / f"{name}.events", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, kind: Kind, id: str, key: str, number: int) -> None:
        """Append an event."""
        os.write(self._file, f"{time.monotonic_ns()} {kind} {id} {key} {number}\n".encode("ascii"))


def read_events(folder: Path, name: str = "*") -> list[Event]:
    """Return all events in the files of a folder, or in the file of one process, in their order."""
    lines = (
        line
        for file in folder.glob(f"{name}.events")
        for line in file.read_text(encoding="ascii").splitlines()
    )
    return sorted(Event.parse(line) for line in lines)


class Unhandled:
    """The ids of messages that the broker kept and no subscriber has handled; each line is read once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {}
        self._kept: set[str] = set()
        self._done: set[str] = set()

    def now(self) -> set[str]:
        """Return them as the files tell."""
        for file in self._folder.glob("*.events"):
            with file.open("rb") as events:
                events.seek(self._read.get(file, 0))
                whole, end, _ = events.read().rpartition(b"\n")
            self._read[file] = self._read.get(file, 0) + len(whole) + len(end)
            for line in whole.decode("ascii").splitlines():
                event = Event.parse(line)
                known = {"kept": self._kept, "done": self._done}.get(event.kind)
                if known is not None:
                    known.add(event.id)
        return self._kept - self._done


@dataclass(frozen=True, slots=True)
class Losses:
    """The answers that a broker may forget in a kill, as its authors document it."""

    #: Seconds before a kill from which it may forget deliveries and acknowledgements, and from which messages.
    ack_seconds: float = 0.0
    message_seconds: float = 0.0

    #: When it was killed and when it was back, in nanoseconds. A process may note an answer after the kill.
    kills: list[tuple[int, int]] = field(default_factory=list)

    #: The ids of messages that the broker does not have at the end. It would have delivered any other one.
    absent: set[str] = field(default_factory=set)

    def take_message(self, kept: Event) -> bool:
        """Tell whether a kill may have taken a message."""
        return kept.id in self.absent and any(
            killed - self.message_seconds * 1e9 <= kept.instant < back for killed, back in self.kills
        )

    def take_ack(self, begun: Event, acked: Event, again: Event) -> bool:
        """Return whether a kill may explain a delivery after an acknowledgement: the kill lost the acknowledgement, or
        the delivery before it; then the broker has delivered the message again before the acknowledgement came.
        """
        if not self.ack_seconds:
            return False
        before = self.ack_seconds * 1e9
        return any(
            (killed - before <= acked.instant < back and killed < again.instant)
            or (killed - before <= begun.instant < back and killed < acked.instant)
            for killed, back in self.kills
        )


def problems(
    events: Iterable[Event],
    *,
    dead: Collection[str] = (),
    is_ordered: bool = False,
    losses: Losses | None = None,
) -> list[str]:
    """Return each broken promise as a line.

    Args:
        dead: the ids of dead letters.
        is_ordered: whether the messages of a key were to be handled one after the other.
        losses: the losses that the broker may cause; None: none.
    """
    losses = losses or Losses()
    of: dict[str, list[Event]] = defaultdict(list)
    for event in sorted(events):
        of[event.id].append(event)
    found = [line for id, history in of.items() for line in _problems_of(history, id in dead, losses)]
    return found + (list(_out_of_order(of, dead)) if is_ordered else [])


def _problems_of(history: list[Event], is_dead: bool, losses: Losses) -> Iterator[str]:
    """Yield the broken promises of one message."""
    first = {event.kind: event for event in reversed(history)}
    id = history[0].id
    if "start" in first and "sent" not in first:
        yield f"{id}: it was delivered and never published"
    if "kept" in first and "done" not in first and not is_dead and not losses.take_message(first["kept"]):
        yield f"{id}: the broker kept it, and it was never handled"
    begun: Event | None = None
    acked: Event | None = None
    for event in history:
        if event.kind == "acked":
            acked = event
        elif event.kind == "start":
            if acked is None:
                begun = event
            elif begun is None or not losses.take_ack(begun, acked, event):
                yield f"{id}: it was delivered again behind an ack that the broker kept"
            else:
                begun, acked = event, None


def _out_of_order(of: dict[str, list[Event]], dead: Collection[str]) -> Iterator[str]:
    """Yield the messages that started before an earlier one of their key was handled."""
    by_key: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for id, history in of.items():
        by_key[history[0].key].append((history[0].number, id))
    for key, messages in by_key.items():
        latest: tuple[int, str] | None = None
        for _, id in sorted(messages):
            starts = [event.instant for event in of[id] if event.kind == "start"]
            if starts and latest is not None and starts[0] < latest[0]:
                yield f"{key}: {id} started before {latest[1]} was handled"
            ends = [event.instant for event in of[id] if event.kind == "done"]
            if ends and id not in dead:
                latest = max(latest or (0, ""), (ends[0], id))
