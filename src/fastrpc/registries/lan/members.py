"""The instances that have announced themselves, and their records: which datagrams are accepted, and for how long."""

import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from fastrpc.registries.lan.datagrams import ANNOUNCE, GOODBYE, TIME_BYTES, LanDatagram, records_of

__all__ = ["LanMembers"]

#: Seconds without an announcement after which a record is removed. Two announcements may be lost before that. Clients
#: stop using the record within 15 seconds: the search for such records and a second query take less than one second.
RECORD_SECONDS = 14.0

#: The most seconds by which the clock of an unknown instance may differ from ours, unless it answers our query.
CLOCK_SECONDS = 30.0

#: Seconds for which the sequence number of a silent instance is kept. Replays of older datagrams are refused because of
#: their time.
KEPT_SECONDS = 2 * CLOCK_SECONDS + RECORD_SECONDS

#: Seconds for which an answer to a query is accepted.
NONCE_SECONDS = 2.0

#: The most instances.
MOST_INSTANCES = 10_000

#: The most records of all instances together.
MOST_RECORDS = 40_000


@dataclass(slots=True)
class _Instance:
    sequence: int
    heard_at: float
    #: The time of the last announcement of each record.
    records: dict[tuple[str, bytes], float] = field(default_factory=dict)


class LanMembers:
    """Stores the announced instances and their records, without I/O.

    Args:
        clock: returns monotonic time in seconds.
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
        # The nonces of our queries, and the time until which answers are accepted.
        self._nonces: dict[bytes, float] = {}
        # The sequence number of the last query of each instance. The most recent query is last.
        self._asked: dict[bytes, int] = {}
        self._records = 0
        #: Increases with each change of a list.
        self.version = 0
        #: True if an unknown instance with a wrong clock has announced itself. Only its answer to a query can admit it.
        self.has_stranger = False

    def records(self, service: str) -> list[tuple[str, bytes]]:
        """Return the records of a service, each with a name for messages.

        Records of the instance that started last come first, because only the first record of an address counts.
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
        """Return whether to answer a query. A query that is not newer than its instance's last one is a replay.

        The time in the query is not checked: an instance with a wrong clock queries because it depends on answers.
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
        """Remove records that were not announced for `RECORD_SECONDS`."""
        now = self._clock()
        for instance, known in list(self._instances.items()):
            old = [each for each, heard_at in known.records.items() if heard_at <= now - RECORD_SECONDS]
            self._remove(instance, known, old)
            if not known.records and known.heard_at <= now - KEPT_SECONDS:
                del self._instances[instance]

    def _admits(self, datagram: LanDatagram) -> bool:
        """Return whether a datagram of an unknown instance is no replay: it answers our query, or it is recent."""
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
