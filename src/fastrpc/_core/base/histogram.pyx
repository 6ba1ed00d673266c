"""Outcomes and durations of each method's calls.

Counting a call is a few additions to C fields, see the .pxd; the functions here run only for snapshots.
"""

cimport cython
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

import math

from fastrpc.status import Status

cdef enum:
    # Most methods that a registry counts separately, on both sides together. Callers may invent method names, so there
    # is a limit. An entry takes about 1.2 KiB.
    LIMIT = 4096

cdef double NANOSECOND = 1e-9
cdef double SECOND_NS = 1e9
cdef tuple STATUS_NAMES = tuple([Status(number).name for number in range(STATUSES)])
cdef tuple SIDES = ("client", "server")

OTHER_METHODS = "_other"

REFUSALS = dict.fromkeys(
    (
        "address",
        "concurrency",
        "connection_rate",
        "decode",
        "denied",
        "drain",
        "handshake",
        "memory",
        "queue",
        "rate",
        "stranger",
        "unauthenticated",
    ),
    0,
)
RETRIES = {}
DROPPED = {}
CLIENT_REFUSALS = dict.fromkeys(
    ("deadline", "decode", "denied", "other", "overloaded", "unauthenticated", "unavailable", "unimplemented"), 0
)

cdef dict CLIENT_REASONS = {
    Status.DEADLINE_EXCEEDED: "deadline",
    Status.INVALID_ARGUMENT: "decode",
    Status.PERMISSION_DENIED: "denied",
    Status.RESOURCE_EXHAUSTED: "overloaded",
    Status.UNAUTHENTICATED: "unauthenticated",
    Status.UNAVAILABLE: "unavailable",
    Status.UNIMPLEMENTED: "unimplemented",
}


def count_refusal(str reason not None):
    """Count a call that was not started, or a connection that was not served."""
    REFUSALS[reason] += 1


def count_unstarted(int status, Py_ssize_t calls=1):
    """Count a client's calls or attempts that no server started. Status CANCELLED is not counted."""
    if status != Status.CANCELLED:
        CLIENT_REFUSALS[CLIENT_REASONS.get(status, "other")] += calls


def count_retry(str reason not None):
    """Count a further attempt of a call."""
    RETRIES[reason] = RETRIES.get(reason, 0) + 1


def count_dropped(str protocol not None):
    """Count a metadata entry that was not sent."""
    DROPPED[protocol] = DROPPED.get(protocol, 0) + 1


cdef tuple labels_of(str name):
    """Split a method's full name at its last dot into service and method; a path has no service."""
    if name == OTHER_METHODS:
        return OTHER_METHODS, OTHER_METHODS
    service, is_path, method = name.partition("./")
    if is_path:
        return service, f"/{method}"
    service, _, method = name.rpartition(".")
    return service, method


cdef double upper_seconds(int bucket) noexcept:
    """Return the largest value that a bucket counts."""
    cdef int doubling = (bucket - 1) >> PART_BITS
    cdef uint64_t parts = ((bucket - 1) & ((1 << PART_BITS) - 1)) + 1
    if bucket == 0:
        return seconds_of(<uint64_t>1 << LOWEST_BITS)
    if bucket == BUCKETS - 1:
        return math.inf
    return seconds_of(((<uint64_t>1 << PART_BITS) + parts) << (LOWEST_BITS - PART_BITS + doubling))


cdef double seconds_of(uint64_t ticks) noexcept:
    """Convert ticks to seconds by a single division, so that 0.5 ms is exactly 0.0005."""
    return <double>(ticks * TICKS_NS) / (TICKS * SECOND_NS)


@cython.final
cdef class MethodCounters:

    def __cinit__(self, str name not None, str side not None, str protocol not None="native"):
        if side not in SIDES:
            raise ValueError(f"side is {side!r}, it must be one of {', '.join(SIDES)}")
        self.service, self.method = labels_of(name)
        self.side = side
        self.protocol = protocol

    def __repr__(self):
        counted = f"{self.ended_calls} ended, {self.in_flight} in flight"
        return f"<MethodCounters {self.service} {self.method} {self.side} {self.protocol}: {counted}>"

    @property
    def ended_calls(self):
        cdef uint64_t total = 0
        cdef int number
        for number in range(STATUSES):
            total += self._ended[number]
        return total

    @property
    def sum_seconds(self):
        return <double>self._elapsed_ns * NANOSECOND

    def count_started(self):
        self.started()

    def count_ended(self, int status, uint64_t elapsed_ns):
        self.ended(status, elapsed_ns)

    def count_moved(self, uint64_t received_bytes, uint64_t sent_bytes):
        self.moved(received_bytes, sent_bytes)

    def snapshot(self):
        # Creating Python objects may start a collection, which may end calls: copy the numbers first.
        cdef uint64_t[STATUSES] ended
        cdef uint64_t[BUCKETS] buckets
        cdef double sum_seconds = <double>self._elapsed_ns * NANOSECOND
        cdef int64_t in_flight = self.in_flight
        cdef uint64_t received_bytes = self.received_bytes
        cdef uint64_t sent_bytes = self.sent_bytes
        cdef int index
        memcpy(ended, self._ended, sizeof(ended))
        memcpy(buckets, self._buckets, sizeof(buckets))
        return {
            "service": self.service,
            "method": self.method,
            "side": self.side,
            "protocol": self.protocol,
            "in_flight": in_flight,
            "calls": {STATUS_NAMES[index]: ended[index] for index in range(STATUSES) if ended[index]},
            "received_bytes": received_bytes,
            "sent_bytes": sent_bytes,
            "buckets": [(upper_seconds(index), buckets[index]) for index in range(BUCKETS)],
            "sum_seconds": sum_seconds,
        }

    def quantile(self, double q):
        cdef uint64_t calls = self.ended_calls
        cdef uint64_t passed = 0
        cdef double rank = q * <double>calls
        cdef double lower
        cdef int bucket
        if not 0 <= q <= 1:
            raise ValueError(f"quantile is {q}, it must be between 0 and 1")
        for bucket in range(BUCKETS):
            if self._buckets[bucket] and <double>(passed + self._buckets[bucket]) >= rank:
                lower = upper_seconds(bucket - 1) if bucket else 0.0
                if bucket == BUCKETS - 1:
                    return lower
                return lower + (upper_seconds(bucket) - lower) * (
                    (rank - <double>passed) / <double>self._buckets[bucket]
                )
            passed += self._buckets[bucket]
        return math.nan

    def merge(self, other):
        if isinstance(other, MethodCounters):
            self._merge_counters(other)
        else:
            self._merge_snapshot(other)

    cdef void _merge_counters(self, MethodCounters other) noexcept:
        cdef int index
        self.in_flight += other.in_flight
        for index in range(STATUSES):
            self._ended[index] += other._ended[index]
        for index in range(BUCKETS):
            self._buckets[index] += other._buckets[index]
        self._elapsed_ns += other._elapsed_ns
        self.received_bytes += other.received_bytes
        self.sent_bytes += other.sent_bytes

    cdef int _merge_snapshot(self, object snapshot) except -1:
        """Add the numbers of a snapshot; an invalid one changes nothing."""
        # The values are collected in temporary counters, so that an invalid snapshot changes nothing.
        cdef MethodCounters other = MethodCounters(OTHER_METHODS, self.side)
        cdef int index = 0
        buckets = snapshot["buckets"]
        if len(buckets) != BUCKETS:
            raise ValueError(f"snapshot has {len(buckets)} buckets, it must have {BUCKETS}")
        for _, count in buckets:
            other._buckets[index] = count
            index += 1
        for name, count in snapshot["calls"].items():
            other._ended[<int>Status[name]] = count
        if sum(snapshot["calls"].values()) != sum([count for _, count in buckets]):
            raise ValueError("snapshot has different numbers of calls in its buckets and by status")
        other.in_flight = snapshot["in_flight"]
        other._elapsed_ns = round(snapshot["sum_seconds"] / NANOSECOND)
        other.received_bytes = snapshot["received_bytes"]
        other.sent_bytes = snapshot["sent_bytes"]
        self._merge_counters(other)
        return 0


@cython.final
cdef class Durations:

    def count(self, uint64_t elapsed_ns):
        self.counted(elapsed_ns)

    def snapshot(self):
        # Copy the numbers first, since creating Python objects may start a collection, which may end calls.
        cdef uint64_t[BUCKETS] buckets
        cdef double sum_seconds = <double>self._elapsed_ns * NANOSECOND
        memcpy(buckets, self._buckets, sizeof(buckets))
        return {
            "buckets": [(upper_seconds(index), buckets[index]) for index in range(BUCKETS)],
            "sum_seconds": sum_seconds,
        }


queue_waits = Durations()
client_waits = Durations()


def count_wait(uint64_t elapsed_ns):
    """Count the time that a call waited for its start."""
    queue_waits.counted(elapsed_ns)


def waits_snapshot(str side="server"):
    """Return the times that calls waited for their start on a server, or for a free slot of their server."""
    return (client_waits if side == "client" else queue_waits).snapshot()


@cython.final
cdef class CallTotals:

    def snapshot(self):
        cdef int index
        return {
            "calls": self._calls,
            "retries": self._retries,
            "succeeded": self._ended[0],
            "failed": {STATUS_NAMES[index]: self._ended[index] for index in range(1, STATUSES) if self._ended[index]},
            "sent_bytes": self._sent_bytes,
            "received_bytes": self._received_bytes,
            "connections": self.connections,
        }


@cython.final
cdef class CounterRegistry:

    def __cinit__(self):
        self._counters = {}

    cpdef MethodCounters counters(self, str name, str side, str protocol="native"):
        # By the labels: two names that look the same to Prometheus must not be two series.
        cdef tuple key = (*labels_of(name), side, protocol)
        cdef MethodCounters found = self._counters.get(key)
        if found is None:
            if len(self._counters) >= LIMIT and name != OTHER_METHODS:
                return self.counters(OTHER_METHODS, side, protocol)
            found = self._counters[key] = MethodCounters(name, side, protocol)
        return found

    def __iter__(self):
        # A copy, as the registry may change while the caller iterates.
        return iter(list(self._counters.values()))

    def __len__(self):
        return len(self._counters)


default_registry = CounterRegistry()
