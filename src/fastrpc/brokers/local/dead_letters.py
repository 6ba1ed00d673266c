"""The dead letters of one group."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from fastrpc.brokers.local.records import Death, Record

__all__ = ["DeadLetters"]


class DeadLetters:
    """The dead messages of a group by number, in the order in which they died.

    Args:
        has_bodies: whether the bodies are in memory; otherwise a journal has them.
    """

    def __init__(self, *, has_bodies: bool) -> None:
        self._has_bodies = has_bodies
        self._deaths: dict[int, Death] = {}
        self._last = 0
        #: Bytes of all dead letters.
        self.size = 0

    def __len__(self) -> int:
        return len(self._deaths)

    def add(
        self, record: Record, deliveries: int, reason: str, error: str, died_at: datetime
    ) -> tuple[int, Death]:
        """Add a dead letter; return it with its number."""
        number, death = self._last + 1, Death(record, deliveries, reason, error, died_at)
        self.restore(number, death)
        return number, death

    def restore(self, number: int, death: Death) -> None:
        """Add a dead letter of a journal. Its number is greater than all present numbers."""
        self._last = number
        self._deaths[number] = death if self._has_bodies else death.with_body(b"")
        self.size += death.size

    def of(self, ids: Collection[str]) -> list[tuple[int, Death]]:
        """Return the deaths of the messages with these ids, or all if no id is given, with their numbers."""
        chosen = frozenset(ids)
        return [
            (number, death)
            for number, death in self._deaths.items()
            if not chosen or death.record.id in chosen
        ]

    def take(
        self, ids: Collection[str], bodies: Mapping[int, bytes] | None = None
    ) -> list[tuple[int, Death]]:
        """Remove the dead letters with these ids, or all if no id is given. Return them with their numbers.

        Args:
            bodies: bodies that were read from a journal, by number; dead letters without a body there stay.
        """
        taken = _with_bodies(self.of(ids), bodies)
        for number, death in taken:
            del self._deaths[number]
            self.size -= death.size
        return taken

    def all(self, bodies: Mapping[int, bytes] | None = None) -> list[Death]:
        """Return all deaths, the oldest first; with `bodies` of a journal, only deaths that have a body there."""
        return [death for _, death in _with_bodies(self._deaths.items(), bodies)]


def _with_bodies(
    deaths: Iterable[tuple[int, Death]], bodies: Mapping[int, bytes] | None
) -> list[tuple[int, Death]]:
    if bodies is None:
        return list(deaths)
    return [(number, death.with_body(bodies[number])) for number, death in deaths if number in bodies]
