"""Gauges of the locks and elections that this process holds or waits for."""

import os
from collections.abc import Iterator
from typing import Final, Protocol

from fastrpc.gauges import Gauge, tells_gauges

__all__ = ["Contender", "Contenders", "contenders"]

#: Most names of elections with separate gauges; further names count as `_other`.
_MOST_NAMES: Final = 200


class Contender(Protocol):
    """A lock, a slot of a semaphore or an election."""

    name: str
    is_election: bool

    @property
    def is_held(self) -> bool: ...


class Contenders:
    """The contenders that hold their lock or wait for it."""

    def __init__(self) -> None:
        self.locks: set[Contender] = set()
        tells_gauges(self)

    def gauges(self) -> Iterator[Gauge]:
        """Return the gauges of locks and elections."""
        held = waiting = 0
        leading: dict[str, int] = {}
        for lock in self.locks.copy():
            if not lock.is_held:
                waiting += 1
            elif not lock.is_election:
                held += 1
            else:
                name = lock.name if lock.name in leading or len(leading) < _MOST_NAMES else "_other"
                leading[name] = leading.get(name, 0) + 1
        yield "fastrpc_locks_held", (), held
        yield "fastrpc_locks_waiting", (), waiting
        for name, terms in leading.items():
            yield "fastrpc_leader", (name,), terms


# The contenders by process id, since a forked child does not hold its parent's locks.
_of_process: dict[int, Contenders] = {}


def contenders() -> set[Contender]:
    """Return the set of contenders of this process, to which locks add themselves."""
    found = _of_process.get(os.getpid())
    if found is None:
        found = _of_process[os.getpid()] = Contenders()
    return found.locks
