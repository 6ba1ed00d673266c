"""A broker with publishers and subscribers, each of which is killed at random instants and started again."""

import random
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from tests.support.kept_process import KeptProcess
from tests.support.messages.ledger import Losses, Unhandled, problems, read_events

__all__ = ["RATE", "BrokerProcess", "Crowd", "Worker"]

#: Messages a second of all publishers.
RATE = 500

#: Bytes of events between two kills, at most: the bytes of a quarter of a second.
MOST_BYTES = 20_000

#: Seconds within which an event happens after any kill: the lease of a message and the patience of clients.
WAIT_SECONDS = 90.0


class BrokerProcess(Protocol):
    """A broker that keeps its address and its messages over kill and start."""

    @property
    def url(self) -> str: ...

    def start(self) -> None: ...
    def kill(self) -> None: ...


class Worker(KeptProcess):
    """A publisher or a subscriber, whose file of events says that it works."""

    def __init__(self, module: str, url: str, folder: Path, name: str, options: Sequence[str]) -> None:
        super().__init__(folder / f"{name}.log")
        self._command = ["-m", f"tests.support.messages.{module}", url, str(folder), name, *options]
        self._events = folder / f"{name}.events"

    def command(self) -> list[str]:
        return [sys.executable, *self._command]

    def is_ready(self) -> bool:
        return self._events.exists()


class Crowd:
    """Two publishers and three subscribers of one group.

    Args:
        broker: is started.
        folder: gets their events, and the log of each process.
        losses: the losses that a kill of the broker may cause; None: none.
        ids: returns the ids of all messages that the broker has, where a kill may take some.
    """

    def __init__(
        self,
        broker: BrokerProcess,
        folder: Path,
        *,
        is_ordered: bool,
        losses: Losses | None = None,
        ids: Callable[[], Collection[str]] | None = None,
    ) -> None:
        self._broker = broker
        self._folder = folder
        self._is_ordered = is_ordered
        self.losses = losses or Losses()
        self._ids = ids
        ordered = ["ordered"] if is_ordered else []
        self.publishers = [
            Worker("publisher", broker.url, folder, f"p{number}", [str(RATE / 2), "25"])
            for number in range(2)
        ]
        self.subscribers = [
            Worker("subscriber", broker.url, folder, f"s{number}", ordered) for number in range(3)
        ]

    def survive(self, kills: int, seed: int) -> list[str]:
        """Kill broker, subscribers and publishers, each kind `kills` times; return the broken promises."""
        chance = random.Random(seed)
        kinds = [kind for kind in ("broker", "subscriber", "publisher") for _ in range(kills)]
        chance.shuffle(kinds)
        with ExitStack() as stack:
            for worker in (*self.subscribers, *self.publishers):
                stack.callback(worker.kill)
                worker.start()
            self._await_events(MOST_BYTES)
            for kind in kinds:
                self._await_events(chance.randrange(MOST_BYTES))
                one = {"subscriber": self.subscribers, "publisher": self.publishers}.get(kind)
                victim = self._broker if one is None else chance.choice(one)
                killed_at = time.monotonic_ns()
                victim.kill()
                victim.start()
                if kind == "broker":
                    self.losses.kills.append((killed_at, time.monotonic_ns()))
            # An event of each process comes after the last kill.
            self._await_events(MOST_BYTES)
            for publisher in self.publishers:
                publisher.kill()
            self._await_all_handled()
        return problems(read_events(self._folder), is_ordered=self._is_ordered, losses=self.losses)

    def count(self, kind: str) -> int:
        """Return the number of events of a kind."""
        word = f" {kind} ".encode("ascii")
        return sum(file.read_bytes().count(word) for file in self._folder.glob("*.events"))

    def _await_events(self, more: int) -> None:
        """Wait until `more` further bytes of events were written."""
        wanted = self._written() + more
        for _ in _looks("no more events are written"):
            if self._written() >= wanted:
                return

    def _await_all_handled(self) -> None:
        unhandled = Unhandled(self._folder)
        if self._ids is not None:
            self.losses.absent.update(unhandled.now().difference(self._ids()))
        for _ in _looks("messages that the broker kept are not handled"):
            if unhandled.now() <= self.losses.absent:
                return

    def _written(self) -> int:
        return sum(file.stat().st_size for file in self._folder.glob("*.events"))


def _looks(failure: str) -> Iterator[None]:
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        yield
        time.sleep(0.01)
    raise AssertionError(f"{failure} within {WAIT_SECONDS} s")
