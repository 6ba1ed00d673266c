"""Gauges: what objects of this process tell about their state whenever a monitor asks.

Counters lie in the compiled core. A gauge has no place of its own: an object tells it when it is asked, so that nothing
is kept up to date for a monitor that nobody runs.
"""

import os
import weakref
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeAlias

__all__ = ["Gauge", "Gauged", "gauges", "tells_gauges"]

#: The name of a metric, the values of its labels in their order, and its value.
Gauge: TypeAlias = tuple[str, tuple[str, ...], float]


class Gauged(Protocol):
    """An object with gauges."""

    def gauges(self) -> Iterable[Gauge]:
        """Return its gauges now. Called in any thread, so it copies what may change meanwhile."""


# By id: a copy of a dict's values is atomic, the iteration over a WeakSet is not. With the process, as the objects of a
# parent tell nothing about its child.
_sources: dict[int, tuple[int, weakref.ref[Gauged]]] = {}


def tells_gauges(source: Gauged) -> None:
    """Ask an object for its gauges from now on, for as long as it lives."""
    key = id(source)

    def forget(reference: "weakref.ref[Gauged]") -> None:
        _sources.pop(key, None)

    _sources[key] = (os.getpid(), weakref.ref(source, forget))


def gauges() -> Iterator[Gauge]:
    """Yield the gauges of all objects of this process."""
    process_id = os.getpid()
    for maker, reference in list(_sources.values()):
        source = reference()
        if source is not None and maker == process_id:
            yield from source.gauges()
