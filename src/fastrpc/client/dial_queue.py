"""Which endpoints are dialled next: few at a time, those that are most likely to answer first.

At most 64 endpoints are dialled at a time, four of them begun in one turn of the loop: those that answered before
first, then those of which nothing is known. An endpoint that a call names goes before all of them.
"""

import asyncio
import contextvars
from typing import Protocol

__all__ = ["MOST_DIALS", "DialQueue", "Dialled"]

#: Attempts to connect under way at the same time. Too low makes a client with many endpoints slow to know them, too
#: high lets those that are away keep the descriptors from the one that is there.
MOST_DIALS = 64

#: Of those, how many begin in one turn of the loop: each takes a good part of a millisecond.
BEGUN_TOGETHER = 4


class Dialled(Protocol):
    """What is dialled."""

    @property
    def dial_rank(self) -> int:
        """How likely it answers, from 0 for the most likely to 3."""

    def dial(self) -> None:
        """Begin an attempt; `DialQueue.ended` follows."""


class DialQueue:
    """The dials of one client: those under way, and those that wait, by rank and then by age."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop
        self._begun = 0
        self._under_way: set[Dialled] = set()
        # By rank; dictionaries keep the order in which the dials were asked for.
        self._waiting: tuple[dict[Dialled, None], ...] = ({}, {}, {}, {})

    def __contains__(self, subchannel: Dialled) -> bool:
        return any(subchannel in waiting for waiting in self._waiting)

    @property
    def under_way(self) -> int:
        """How many attempts are being made."""
        return len(self._under_way)

    def ask(self, subchannel: Dialled, *, is_wanted: bool = False) -> None:
        """Dial as soon as there is a place; before all others where a call waits for this very endpoint."""
        if subchannel in self._under_way:
            return
        self.forget(subchannel)
        self._waiting[0 if is_wanted else subchannel.dial_rank][subchannel] = None
        self._go_on()

    def forget(self, subchannel: Dialled) -> None:
        """Do not dial what waits."""
        for waiting in self._waiting:
            waiting.pop(subchannel, None)

    def ended(self, subchannel: Dialled) -> None:
        """An attempt is over: the next one may begin."""
        self._under_way.discard(subchannel)
        self._go_on()

    def close(self) -> None:
        """Begin nothing more."""
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
