"""The instances that have announced themselves, and their records: which datagrams are accepted, and for how long."""

import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from fastrpc.registries.lan.datagrams import ANNOUNCE, GOODBYE, TIME_BYTES, LanDatagram, records_of

__all__ = ["LanMembers"]

#: Seconds after which a record without an announcement is removed: two announcements may be lost. Clients stop using it
#: within 15 seconds, as the search for such records and a second look at the list take less than one second.
RECORD_SECONDS = 14.0

#: Seconds by which the clock of an instance may differ that has not answered our query.
CLOCK_SECONDS = 30.0

#: Seconds for which the sequence of a silent instance is kept: after that its datagrams are too old to be admitted.
KEPT_SECONDS = 2 * CLOCK_SECONDS + RECORD_SECONDS

#: Seconds for which an answer to a query is accepted.
NONCE_SECONDS = 2.0

#: Most instances.
MOST_INSTANCES = 10_000

#: Most records of all instances together.
MOST_RECORDS = 40_000


@dataclass(slots=True)
class _Instance:
    sequence: int
    heard_at: float
    #: The instant of the last announcement of each record.
    records: dict[tuple[str, bytes], float] = field(default_factory=dict)


class LanMembers:
    """Keeps the other instances, without I/O.

    Args:
        clock: returns an instant in seconds that never decreases.
        wall_clock: returns the time of day.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._wall_clock = wall_clock
        self._instances: dict[bytes, _Instance] = {}
        self._services: dict[str, dict[tuple[bytes, bytes], None]] = {}
        # Our queries that may still be answered, and until when.
        self._nonces: dict[bytes, float] = {}
        # The sequence of the last query of each instance, the latest last.
        self._asked: dict[bytes, int] = {}
        self._records = 0
        #: Grows with each change of a list.
        self.version = 0
        #: Whether an instance has announced itself that only an answer to a query can admit.
        self.has_stranger = False

    def records(self, service: str) -> list[tuple[str, bytes]]:
        """Return the records of a service, each with a name for messages.

        The records of the instance that started last come first, as for each address the first record counts.
        """
        latest = reversed(self._services.get(service, {}))
        found = sorted(latest, key=lambda each: each[0][:TIME_BYTES], reverse=True)
        return [
            (f"{instance.hex()[-8:]}-{hash(record) & 0xFFFF_FFFF:08x}", record) for instance, record in found
        ]

    def services(self) -> list[str]:
        return list(self._services)

    def has_others(self, instance: bytes) -> bool:
        """Return whether an instance other than this one has a record."""
        return any(key[0] != instance for records in self._services.values() for key in records)

    def query(self) -> bytes:
        """Return the nonce of a new query."""
        now = self._clock()
        self._nonces = {nonce: until for nonce, until in self._nonces.items() if until > now}
        nonce = secrets.token_bytes(16)
        self._nonces[nonce] = now + NONCE_SECONDS
        self.has_stranger = False
        return nonce

    def takes_query(self, datagram: LanDatagram) -> bool:
        """Return whether a query has to be answered: it is newer than its instance's last query, so no replay.

        The time in a stranger's query is not checked: its clock may differ, which is why it queries.
        """
        last = self._asked.pop(datagram.instance, -1)
        self._asked[datagram.instance] = max(last, datagram.sequence)
        if len(self._asked) > MOST_INSTANCES:
            del self._asked[next(iter(self._asked))]
        return datagram.sequence > last

    def take(self, datagram: LanDatagram) -> None:
        """Apply an announcement or a goodbye, if it is accepted.

        Raises:
            RecordError: the body is malformed, and nothing is applied.
        """
        if datagram.kind not in (ANNOUNCE, GOODBYE):
            return
        known = self._instances.get(datagram.instance)
        if known is None:
            if not self._admits(datagram):
                self.has_stranger = True
                return
        elif datagram.sequence <= known.sequence:
            return
        records = records_of(datagram)
        now = self._clock()
        if known is None:
            if len(self._instances) >= MOST_INSTANCES:
                return
            known = self._instances[datagram.instance] = _Instance(0, now)
        known.sequence, known.heard_at = datagram.sequence, now
        if datagram.kind == GOODBYE:
            self._remove(datagram.instance, known, records)
            return
        for each in records:
            if each not in known.records:
                if self._records >= MOST_RECORDS:
                    continue
                self._add(datagram.instance, each)
            known.records[each] = now

    def expire(self) -> None:
        """Remove the records that were not announced for too long."""
        now = self._clock()
        for instance, known in list(self._instances.items()):
            old = [each for each, heard_at in known.records.items() if heard_at <= now - RECORD_SECONDS]
            self._remove(instance, known, old)
            if not known.records and known.heard_at <= now - KEPT_SECONDS:
                del self._instances[instance]

    def _admits(self, datagram: LanDatagram) -> bool:
        """Return whether an unknown instance is present now, and its datagrams are no replay by another host."""
        if self._nonces.get(datagram.nonce, 0.0) > self._clock():
            return True
        return abs(self._wall_clock() - datagram.milliseconds / 1000) <= CLOCK_SECONDS

    def _add(self, instance: bytes, each: tuple[str, bytes]) -> None:
        service, record = each
        self._services.setdefault(service, {})[instance, record] = None
        self._records += 1
        self.version += 1

    def _remove(self, instance: bytes, known: _Instance, records: Iterable[tuple[str, bytes]]) -> None:
        for each in records:
            if known.records.pop(each, None) is None:
                continue
            service, record = each
            listed = self._services[service]
            del listed[instance, record]
            if not listed:
                del self._services[service]
            self._records -= 1
            self.version += 1
