"""The queue of dials: a few at a time, and first the dials that most likely succeed.

At most 64 dials are in progress, and at most four begin in one turn of the loop. Endpoints that answered before come
first, then unknown ones. An endpoint that a call needs ranks with the endpoints that answered before. The endpoint of a
call's key precedes all others.
"""

import asyncio
import contextvars
from typing import Protocol

__all__ = ["MOST_DIALS", "DialQueue", "Dialled"]

#: Dials in progress at the same time. Too low makes a client with many endpoints slow to connect, too high lets dials
#: to unreachable endpoints use up all descriptors.
MOST_DIALS = 64

#: Most dials that begin in one turn of the loop: each dial blocks the loop for a large part of a millisecond.
BEGUN_TOGETHER = 4


class Dialled(Protocol):
    """The interface of an entry of the queue."""

    @property
    def dial_rank(self) -> int:
        """The rank of the dial, from 0 (most likely to succeed) to 3."""

    def dial(self) -> None:
        """Begin a dial; `DialQueue.ended` follows."""


class DialQueue:
    """The dials of one client: dials in progress, and waiting dials by rank and then by age."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop
        self._begun = 0
        self._under_way: set[Dialled] = set()
        # One dictionary for the endpoints of keys, then one for each rank; dictionaries keep the order of the requests.
        self._waiting: tuple[dict[Dialled, None], ...] = ({}, {}, {}, {}, {})

    def __contains__(self, subchannel: Dialled) -> bool:
        return any(subchannel in waiting for waiting in self._waiting)

    @property
    def under_way(self) -> int:
        """The number of dials in progress."""
        return len(self._under_way)

    def ask(self, subchannel: Dialled, *, is_wanted: bool = False, goes_first: bool = False) -> None:
        """Queue a dial: with `is_wanted` in the first rank, with `goes_first` before all ranks."""
        if subchannel in self._under_way or subchannel in self._waiting[0]:
            return
        self.forget(subchannel)
        place = 0 if goes_first else 1 if is_wanted else 1 + subchannel.dial_rank
        self._waiting[place][subchannel] = None
        self._go_on()

    def forget(self, subchannel: Dialled) -> None:
        """Remove a dial from the queue."""
        for waiting in self._waiting:
            waiting.pop(subchannel, None)

    def ended(self, subchannel: Dialled) -> None:
        """End a dial, and begin the next one."""
        self._under_way.discard(subchannel)
        self._go_on()

    def close(self) -> None:
        """Drop all queued dials; no further dial begins."""
        for waiting in self._waiting:
            waiting.clear()

    def _go_on(self) -> None:
        for waiting in self._waiting:
            while waiting and len(self._under_way) < MOST_DIALS and self._begun < BEGUN_TOGETHER:
                subchannel = next(iter(waiting))
                del waiting[subchannel]
                self._under_way.add(subchannel)
                if self._begun == 0:
                    self.loop.call_soon(self._begin_turn, context=contextvars.Context())
                self._begun += 1
                subchannel.dial()

    def _begin_turn(self) -> None:
        self._begun = 0
        self._go_on()
