"""The last events of a fleet."""

import time
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

__all__ = ["MOST_EVENTS", "FleetEvent", "FleetEvents"]

MOST_EVENTS: Final = 10_000

#: Characters of the text of an event: servers choose the names in it.
EVENT_TEXT: Final = 300


class FleetEvent(msgspec.Struct, frozen=True):
    """An endpoint, a server or a registry changed."""

    #: Seconds since 1970.
    time: float
    #: "appeared", "changed", "gone", "restarted", "unreadable", "readable", "cut" (its figures were dropped), "breaker
    #: opened", "registry lost" or "registry back".
    kind: str
    service: str
    #: The address of an endpoint or of a server's admin pages; "" for a registry.
    place: str
    text: str


class FleetEvents:
    """Keeps the last events."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._kept: deque[FleetEvent] = deque(maxlen=MOST_EVENTS)
        #: Events so far, including dropped ones.
        self.total = 0

    @property
    def dropped(self) -> int:
        """The number of events that are no longer kept."""
        return self.total - len(self._kept)

    def add(self, kind: str, *, service: str = "", place: str = "", text: str = "") -> None:
        self._kept.append(FleetEvent(self._clock(), kind, service, place, text[:EVENT_TEXT]))
        self.total += 1

    def last(self, count: int, *, service: str | None = None, place: str | None = None) -> list[FleetEvent]:
        """Return the last events, the newest first: of one service or place, or of all."""
        found: list[FleetEvent] = []
        for event in reversed(self._kept):
            if service in (None, event.service) and place in (None, event.place):
                found.append(event)
                if len(found) == count:
                    break
        return found
