"""This program on the network: one thread receives datagrams, announces records, and answers queries."""

import contextlib
import itertools
import logging
import random
import secrets
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from fastrpc.errors import StoreError
from fastrpc.gauges import count as count_event
from fastrpc.registries.base.record import RecordError
from fastrpc.registries.lan.datagrams import (
    ANNOUNCE,
    DATAGRAM_BYTES,
    GOODBYE,
    NO_NONCE,
    QUERY,
    TIME_BYTES,
    LanDatagram,
    bodies_of,
    checked_datagram,
    is_datagram,
    signed_datagram,
    signer_of,
)
from fastrpc.registries.lan.keys import LanKeys
from fastrpc.registries.lan.members import RECORD_SECONDS, LanMembers
from fastrpc.registries.lan.multicast import Multicast
from fastrpc.watched_file import WatchedFile

__all__ = ["LanNode"]

logger = logging.getLogger("fastrpc.registry")

#: The most seconds between two announcements, and the random fraction by which the interval is shortened. Three
#: intervals fit into the lifetime of a record.
ANNOUNCE_SECONDS, JITTER = 4.5, 0.1

#: An answer is sent within this many seconds after a query, and at least this many seconds after the last announcement.
#: It answers all queries that have arrived by then. An earlier announcement does not count as an answer, because a
#: client that has just started has not received it.
ANSWER_SECONDS = 0.1

#: The most queries that are answered together. Each answer has the nonce of its query.
MOST_ANSWERS = 8

#: The least seconds between two queries for unknown instances with wrong clocks, which only an answer can admit.
STRANGER_SECONDS = 1.0

#: Seconds from the start to each query. The later queries are sent because datagrams may be lost.
QUERIES = (0.0, 0.3, 1.0)

#: Seconds to wait for answers after the first query.
SETTLE_SECONDS = 0.15

#: How many goodbyes are sent for a record, and the seconds between them.
GOODBYES, GOODBYE_SECONDS = 3, 0.05

#: Seconds between two searches for expired records.
EXPIRE_SECONDS = 0.25

#: The most datagrams that are read in a tenth of a second. The system drops the others.
TURN_DATAGRAMS, TURN_SECONDS = 2_000, 0.1

#: After BUSY_DATAGRAMS in TURN_SECONDS, the next datagrams are read together, PAUSE_SECONDS later. Waking up for each
#: datagram would take longer than refusing it.
BUSY_DATAGRAMS, PAUSE_SECONDS = 100, 0.003

#: The most datagrams that are read before the clock is checked again.
BATCH_DATAGRAMS = 256

#: A time that is never reached, and a time in the past.
NEVER, LONG_AGO = float("inf"), float("-inf")


class LanNode:
    """The records of this program, and the records that others announce.

    Args:
        interface: the only interface to use; None for all interfaces.
    """

    def __init__(self, keys: WatchedFile[LanKeys], interface: str | None) -> None:
        self._keys = keys
        self._interface = interface
        self.members = LanMembers()
        #: Held while records are read or changed; notified of each change of a list. Re-entrant: a finalizer may close
        #: a lookup on any line of the thread that holds this.
        self.changed = threading.Condition(threading.RLock())
        self.error: OSError | None = None
        #: The number of datagrams whose signature fits none of our keys.
        self.strangers = 0
        # The number of datagrams that the system has dropped so far.
        self._dropped = 0
        self._told = 0
        self._own: Counter[tuple[str, bytes]] = Counter()
        self._leaving: dict[tuple[str, bytes], int] = {}
        # True while a new record replaces a leaving record. Then an announcement precedes each goodbye, because a
        # single announcement may be lost.
        self._is_replacing = False
        started = int(time.time() * 1000).to_bytes(TIME_BYTES, "big")
        self._instance = started + secrets.token_bytes(16 - TIME_BYTES)
        self._sequence = itertools.count(1)
        # The nonces of queries that have to be answered.
        self._nonces: list[bytes] = []
        # The times at which something is due or was last done. `_query_at` has the times of the queries not sent yet.
        self._announce_at = self._answer_at = self._goodbye_at = NEVER
        self._announced_at = self._flooded_at = self._asked_at = self._expire_at = self._join_at = LONG_AGO
        self._query_at: list[float] = []
        self._thread: threading.Thread | None = None
        self._settled_at = self._confirmed_at = 0.0
        self._is_closed = False

    def start(self) -> None:
        """Open the sockets, start to listen, and query all records.

        Raises:
            StoreError: no socket could be opened.
        """
        with self.changed:
            if self._thread is not None or self._is_closed:
                return
            try:
                self._multicast = Multicast(self._interface)
            except OSError as error:
                raise StoreError(f"no socket for announcements could be opened: {error}") from error
            self._woken, self._waker = socket.socketpair()
            self._woken.setblocking(False)
            now = time.monotonic()
            self._query_at = [now + seconds for seconds in QUERIES]
            self._settled_at = now + SETTLE_SECONDS
            self._confirmed_at = now + QUERIES[1] + SETTLE_SECONDS
            thread = threading.Thread(target=self._run, name="fastrpc registry lan", daemon=True)
            thread.start()
            self._thread = thread

    @property
    def version(self) -> int:
        """A number that increases with each change of a list."""
        return self.members.version

    def records(self, services: Iterable[str]) -> dict[str, list[tuple[str, bytes]]]:
        """Return the records of services. The caller holds `changed`."""
        return {service: self.members.records(service) for service in services}

    def publish(self, service: str, record: bytes) -> None:
        """Announce a record from now on."""
        self.start()
        with self.changed:
            self._own[service, record] += 1
            self._leaving.pop((service, record), None)
            self._announce_at = LONG_AGO
        self._wake()

    def withdraw(self, service: str, record: bytes) -> None:
        """Withdraw a record that `publish` announces."""
        with self.changed:
            self._own[service, record] -= 1
            if self._own[service, record] <= 0:
                del self._own[service, record]
                self._leaving[service, record] = GOODBYES
                self._goodbye_at = LONG_AGO
        self._wake()

    def replace(self, service: str, before: bytes, record: bytes) -> None:
        """Announce a record in place of another, then withdraw the previous record."""
        with self.changed:
            self._is_replacing = True
            self.publish(service, record)
            self.withdraw(service, before)

    def wait(self, is_over: Callable[[], bool], wait_seconds: float, is_found: Callable[[], bool]) -> None:
        """Wait for answers to the first query, then until `is_over()`. The caller holds `changed`.

        Until `is_found()`, also wait for answers to the second query: a datagram may be lost, and a busy machine
        answers late.
        """
        self.changed.wait_for(lambda: self._is_closed, self._settled_at - time.monotonic())
        self.changed.wait_for(lambda: self._is_closed or is_found(), self._confirmed_at - time.monotonic())
        self.changed.wait_for(lambda: self._is_closed or is_over(), wait_seconds)

    def hears_others(self) -> bool:
        """Return whether an instance other than this one announces a record. The caller holds `changed`."""
        return self.members.has_others(self._instance)

    def close(self) -> None:
        """Send the last goodbyes and end the thread."""
        with self.changed:
            self._is_closed = True
            self.changed.notify_all()
            thread = self._thread
        if thread is not None:
            self._wake()
            thread.join(RECORD_SECONDS)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._waker.send(b"\0")

    def _run(self) -> None:
        """Run until closed; the body of the thread."""
        with selectors.DefaultSelector() as selector, self._woken, self._waker:
            for one in (self._woken, *self._multicast.sockets):
                selector.register(one, selectors.EVENT_READ)
            try:
                while not self._is_closed:
                    self._turn(selector)
                while self._leaving:
                    self._say_goodbye()
            finally:
                self._multicast.close()

    def _turn(self, selector: selectors.BaseSelector) -> None:
        """Read the datagrams of a tenth of a second, then do the work that is due."""
        until, left = time.monotonic() + TURN_SECONDS, TURN_DATAGRAMS
        keys = self._keys.value
        while left > 0 and (seconds := self._seconds_to(until)) > 0:
            before = left
            for found, _ in selector.select(seconds):
                if found.fileobj is self._woken:
                    with contextlib.suppress(BlockingIOError):
                        self._woken.recv(4096)
                else:
                    left -= self._receive(found.fileobj, keys)  # type: ignore[arg-type]
            if 0 < left < before and TURN_DATAGRAMS - left > BUSY_DATAGRAMS:
                self._pause(min(PAUSE_SECONDS, self._seconds_to(until)))
        before, self._dropped = self._dropped, self._multicast.dropped()
        if left <= 0 or self._dropped > before:
            self._note_flood()
        if left <= 0:
            self._pause(until - time.monotonic())
        self._keys.look()
        with self.changed:
            now = time.monotonic()
            # Do not expire records during and shortly after a flood, in which announcements may have been dropped.
            if now >= self._expire_at and now - self._flooded_at > RECORD_SECONDS:
                self._expire_at = now + EXPIRE_SECONDS
                self.members.expire()
            self._act()
            self._tell()

    def _seconds_to(self, instant: float) -> float:
        """Return the seconds until `instant` or an earlier due event; 0 or less if it is past or the node is closed."""
        with self.changed:
            return 0.0 if self._is_closed else min(instant, self._due()) - time.monotonic()

    def _pause(self, seconds: float) -> None:
        with self.changed:
            self.changed.wait_for(lambda: self._is_closed, seconds)

    def _receive(self, one: socket.socket, keys: LanKeys) -> int:
        """Read the datagrams that have arrived; return their number."""
        count = strangers = 0
        is_named = self.strangers > 0
        with self.changed:
            while count < BATCH_DATAGRAMS:
                try:
                    if is_named:
                        data = one.recv(DATAGRAM_BYTES + 1)
                    else:
                        data, sender = one.recvfrom(DATAGRAM_BYTES + 1)
                except OSError:
                    # No more datagrams have arrived, or an interface was removed.
                    break
                count += 1
                datagram = checked_datagram(data, keys)
                if datagram is None:
                    if is_datagram(data):
                        strangers += 1
                        if not is_named:
                            is_named = True
                            self._name_stranger(data, sender[0], keys)
                    continue
                if datagram.kind == QUERY:
                    self._note_query(datagram)
                    continue
                try:
                    self.members.take(datagram)
                except RecordError as error:
                    logger.warning("a datagram of %s is ignored: %s", datagram.instance.hex()[:8], error)
            self._tell()
        if strangers:
            self.strangers += strangers
            count_event("lan_unverified", times=strangers)
        return count

    def _tell(self) -> None:
        """Wake the waiting threads if a list has changed."""
        if self.members.version != self._told:
            self._told = self.members.version
            self.changed.notify_all()

    def _note_query(self, datagram: LanDatagram) -> None:
        if not self._own or datagram.instance == self._instance or len(self._nonces) >= MOST_ANSWERS:
            return
        if not self.members.takes_query(datagram):
            return
        self._nonces.append(datagram.nonce)
        if self._answer_at == NEVER:
            soon = time.monotonic() + random.uniform(0.0, ANSWER_SECONDS)
            self._answer_at = max(soon, self._announced_at + ANSWER_SECONDS)

    def _name_stranger(self, data: bytes, host: str, keys: LanKeys) -> None:
        """Log the first datagram with a wrong signature, because a wrong key makes the network look empty."""
        signer = signer_of(data)
        if signer.encode() in keys:
            logger.warning("%s sends announcements whose signature is wrong; further ones are counted", host)
            return
        logger.warning(
            "%s announces servers with the key %r, and this program has %s: with another LAN pass or key file "
            "neither finds the other's servers; further such datagrams are counted",
            host,
            signer,
            ", ".join(repr(name.decode()) for name in keys),
        )

    def _note_flood(self) -> None:
        now = time.monotonic()
        if now - self._flooded_at > RECORD_SECONDS:
            text = "more datagrams arrive than are read, at most %d a second: others are dropped, no record expires"
            logger.warning(text, TURN_DATAGRAMS / TURN_SECONDS)
        self._flooded_at = now

    def _due(self) -> float:
        return min(self._announce_at, self._answer_at, self._goodbye_at, *self._query_at[:1])

    def _act(self) -> None:
        """Send everything that is due."""
        now = time.monotonic()
        if now >= self._goodbye_at:
            if self._is_replacing:
                self._send(ANNOUNCE, list(self._own), NO_NONCE)
            self._say_goodbye()
            self._goodbye_at = now + GOODBYE_SECONDS if self._leaving else NEVER
        if now >= min(self._announce_at, self._answer_at):
            for nonce in self._nonces or [NO_NONCE]:
                self._send(ANNOUNCE, list(self._own), nonce)
            self._announced_at, self._nonces = now, []
            self._answer_at = NEVER
            spread = random.uniform(1 - JITTER, 1.0)
            self._announce_at = now + ANNOUNCE_SECONDS * spread if self._own else NEVER
        if now >= self._join_at:
            self._join_at = now + ANNOUNCE_SECONDS
            with contextlib.suppress(OSError):
                self._multicast.join()
        is_due = bool(self._query_at) and now >= self._query_at[0]
        if is_due or (self.members.has_stranger and now - self._asked_at >= STRANGER_SECONDS):
            del self._query_at[:is_due]
            self._asked_at = now
            self._emit(QUERY, self.members.query(), b"")

    def _say_goodbye(self) -> None:
        self._send(GOODBYE, list(self._leaving), NO_NONCE)
        self._leaving = {each: left - 1 for each, left in self._leaving.items() if left > 1}
        self._is_replacing = self._is_replacing and bool(self._leaving)

    def _send(self, kind: int, records: Sequence[tuple[str, bytes]], nonce: bytes) -> None:
        for body in bodies_of(records):
            self._emit(kind, nonce, body)

    def _emit(self, kind: int, nonce: bytes, body: bytes) -> None:
        milliseconds = int(time.time() * 1000)
        datagram = LanDatagram(kind, milliseconds, self._instance, next(self._sequence), nonce, body)
        try:
            self._multicast.send(signed_datagram(datagram, self._keys.value))
            self.error = None
        except OSError as error:
            if self.error is None:
                logger.warning("announcements cannot be sent: %s", error)
            self.error = error
