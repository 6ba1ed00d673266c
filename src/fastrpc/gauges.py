"""Gauges, which objects of this process compute when metrics are read, and counters of rare events.

Counters of calls are in the compiled core. A gauge is not stored: its object computes it on request, so a process whose
metrics are not read pays nothing.
"""

import logging
import os
import weakref
from collections.abc import Iterable, Iterator
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

__all__ = [
    "COUNTS",
    "BoundedNames",
    "Calling",
    "Gauge",
    "Gauged",
    "clients",
    "count",
    "gauges",
    "tells_gauges",
]

logger = logging.getLogger("fastrpc.server")

#: The name of a metric, the values of its labels in their order, and its value.
Gauge: TypeAlias = tuple[str, tuple[str, ...], float]


#: Events of this process so far, by kind, then by the values of their labels, joined by line feeds. Kinds without
#: labels start at 0, because a monitor notices the first event only if it has read a 0 before.
COUNTS: Final[dict[str, dict[str, int]]] = {
    "locks_lost": {"": 0},
    "lan_unverified": {"": 0},
    "settings_rejected": {},
    "schedule_runs": {},
    "messages": {},
    "relay_pairs": {},
    "relay_bytes": {},
    "relay_refused": {},
}

#: The most names that have a series; all further names share `_other`.
_MOST_NAMES: Final = 200


class BoundedNames:
    """The names with a separate metric series: the first names used. A name keeps its series after its object's end."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def label(self, name: str) -> str:
        """Return the name, or `_other` if there are too many names."""
        if name not in self._names:
            if len(self._names) >= _MOST_NAMES:
                return "_other"
            self._names.add(name)
        return name


# For each event the names that its labels may have.
_names: Final = {event: BoundedNames() for event in COUNTS}


def count(event: str, *labels: str, times: int = 1) -> None:
    """Count an event; `times=0` only creates its series. The first label is a name, of which there may be many."""
    counts = COUNTS[event]
    key = "\n".join((_names[event].label(labels[0]), *labels[1:])) if labels else ""
    counts[key] = counts.get(key, 0) + times


class Gauged(Protocol):
    """An object with gauges."""

    def gauges(self) -> Iterable[Gauge]:
        """Return the gauges of the object now. Called in any thread, so it copies state that may change meanwhile."""


@runtime_checkable
class Calling(Gauged, Protocol):
    """An object with gauges that calls endpoints."""

    def endpoint_rows(self) -> list[dict[str, Any]]:
        """Return for each endpoint its row in the table of an admin page."""


# The classes of objects whose failure was logged already.
_failing: set[type] = set()

# The registered objects by id, because copying a dict's values is atomic and iterating over a WeakSet is not. Each has
# the id of the process that registered it, because the objects of a parent do not describe its child.
_sources: dict[int, tuple[int, weakref.ref[Gauged]]] = {}


def tells_gauges(source: Gauged) -> None:
    """Register an object whose gauges are read for as long as it lives."""
    key = id(source)

    def forget(reference: "weakref.ref[Gauged]") -> None:
        _sources.pop(key, None)

    _sources[key] = (os.getpid(), weakref.ref(source, forget))


def _living() -> Iterator[Gauged]:
    process_id = os.getpid()
    for maker, reference in list(_sources.values()):
        source = reference()
        if source is not None and maker == process_id:
            yield source


def clients() -> Iterator[Calling]:
    """Yield the connection pools of the clients of this process."""
    return (source for source in _living() if isinstance(source, Calling))


def gauges() -> Iterator[Gauge]:
    """Yield the gauges of all objects of this process. An object that fails does not affect the others."""
    for source in _living():
        try:
            yield from list(source.gauges())
        except Exception:
            if type(source) not in _failing:
                _failing.add(type(source))
                logger.exception("a %s cannot report its gauges", type(source).__name__)
