"""The dead letters of one group."""

from collections.abc import Collection
from datetime import datetime

from fastrpc.brokers.local.records import Death, Record

__all__ = ["DeadLetters"]


class DeadLetters:
    """Keeps deaths by number, in their order."""

    def __init__(self) -> None:
        self._deaths: dict[int, Death] = {}
        self._last = 0
        #: Bytes of all.
        self.size = 0

    def __len__(self) -> int:
        return len(self._deaths)

    def add(
        self, record: Record, deliveries: int, reason: str, error: str, died_at: datetime
    ) -> tuple[int, Death]:
        """Keep a death; return it with its number."""
        number, death = self._last + 1, Death(record, deliveries, reason, error, died_at)
        self.restore(number, death)
        return number, death

    def restore(self, number: int, death: Death) -> None:
        """Keep a death under its number, which is beyond all others."""
        self._last = number
        self._deaths[number] = death
        self.size += death.size

    def take(self, ids: Collection[str]) -> list[tuple[int, Death]]:
        """Remove the deaths of messages, of all without ids; return them with their numbers."""
        chosen = frozenset(ids)
        taken = [
            (number, death)
            for number, death in self._deaths.items()
            if not chosen or death.record.id in chosen
        ]
        for number, death in taken:
            del self._deaths[number]
            self.size -= death.size
        return taken

    def all(self) -> list[Death]:
        """Return all deaths, the oldest first."""
        return list(self._deaths.values())
