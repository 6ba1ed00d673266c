"""The page `/figures`: cumulative counts of each method, and the resources of each process.

A reader may pass the `revision` of an answer back as `after`. Then methods that have not changed since are omitted.
With a revision of another server or an earlier start, nothing is omitted.
"""

import json
import os
import secrets
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from fastrpc._core.base.histogram import MethodCounters
from fastrpc.server.admin.turns import in_turns

__all__ = ["FigureChanges", "Figures", "json_of_methods", "method_figures", "process_facts"]

#: Revisions begin at a random number below this. So they stay exact in JavaScript.
_FIRST_REVISIONS = 1 << 52

#: The folder of process files on Linux.
_PROCESSES = Path("/proc")

_encoded = partial(json.dumps, default=str, separators=(",", ":"))


class Figures(NamedTuple):
    """The figures of a server at one moment."""

    #: Facts about the server, its services and its processes.
    facts: dict[str, Any]
    #: The counters of methods, both as a server and as a client.
    methods: Iterable[MethodCounters]


class FigureChanges:
    """Finds the methods that changed between two answers. Used by one thread."""

    def __init__(self) -> None:
        self._revision = self._first = secrets.randbelow(_FIRST_REVISIONS)
        # For each set of labels the last numbers, and the revision in which they first appeared.
        self._seen: dict[tuple[str, ...], tuple[tuple[float, ...], int]] = {}

    def changed(
        self, methods: Iterable[MethodCounters], after: int | None
    ) -> tuple[int, list[MethodCounters]]:
        """Return the new revision, and the methods that changed after an earlier revision.

        Args:
            after: the revision of an earlier answer. None or an unknown revision returns all methods.
        """
        if after is None or not self._first < after <= self._revision:
            after = self._first
        self._revision += 1
        changed = []
        for one in in_turns(methods):
            key = (one.service, one.method, one.side, one.protocol)
            numbers = (
                one.ended_calls,
                one.in_flight,
                one.received_bytes,
                one.sent_bytes,
                one.sum_seconds,
            )
            before, since = self._seen.get(key, (None, self._first))
            if before != numbers:
                since = self._revision
                self._seen[key] = numbers, since
            if since > after:
                changed.append(one)
        return self._revision, changed

    def page(self, figures: Figures, after: int | None) -> bytes:
        """Return the figures as JSON."""
        revision, methods = self.changed(figures.methods, after)
        return json_of_methods(
            {**figures.facts, "revision": revision}, map(method_figures, in_turns(methods))
        )

    def rows(self, figures: Figures) -> dict[str, Any]:
        """Return the figures for the HTML page: all methods, without buckets."""
        revision, methods = self.changed(figures.methods, None)
        rows = [method_figures(one) for one in in_turns(methods)]
        for row in rows:
            del row["buckets"]
        return {**figures.facts, "revision": revision, "methods": rows}


def json_of_methods(facts: Mapping[str, Any], methods: Iterable[Mapping[str, Any]]) -> bytes:
    """Return facts and methods as JSON, one line for each method. Encode each separately to let other threads run."""
    head, rows = _encoded(facts), ",\n".join(map(_encoded, methods))
    return f'{head[:-1]},"methods":[\n{rows}\n]}}\n'.encode()


def method_figures(counters: MethodCounters) -> dict[str, Any]:
    """Return the counts of a method. `buckets` has [limit in seconds or None, count] of each non-empty bucket."""
    row = counters.snapshot()
    row["buckets"] = [
        [None if bound == float("inf") else bound, count] for bound, count in row["buckets"] if count
    ]
    return row


def process_facts(process_id: int | None = None) -> dict[str, Any]:
    """Return the resource use of a process: this one, or on Linux also another process of the same user.

    Returns:
        `processor_seconds` of all threads, `resident_bytes`, and `descriptors`, the number of open files. A number is
        None if this system does not report it.
    """
    facts: dict[str, Any] = {"process_id": os.getpid() if process_id is None else process_id}
    facts |= {"processor_seconds": None, "resident_bytes": None, "descriptors": None}
    if (_PROCESSES / "self/statm").exists():
        return facts | _facts_of_linux(_PROCESSES / str(facts["process_id"]))
    if process_id in (None, os.getpid()):
        facts["processor_seconds"] = time.process_time()
    return facts


def _facts_of_linux(folder: Path) -> dict[str, Any]:
    try:
        # User and system time are fields 12 and 13 after the program's name, which may contain spaces and parentheses.
        ticks = (
            (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[11:13]
        )
        pages = (folder / "statm").read_text(encoding="ascii").split()[1]
    except OSError:  # The process has ended.
        return {}
    found: dict[str, Any] = {
        "processor_seconds": sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"),
        "resident_bytes": int(pages) * os.sysconf("SC_PAGE_SIZE"),
    }
    with suppress(OSError):  # The system hides the open files of another user.
        found["descriptors"] = len(os.listdir(folder / "fd"))
    return found
