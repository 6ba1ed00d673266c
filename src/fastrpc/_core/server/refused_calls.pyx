"""Calls that are not started: their counts and their answers.

::

    a step of the gate ──► refuse ──► note: counters of the method, limits, watch, log
                              └─────► Outcomes.refuse

An engine that answers a call itself only calls `note`.
"""

import logging

cimport cython

from fastrpc._core.base.sound_text cimport sound_text
from fastrpc._core.base.status cimport (
    DEADLINE_EXCEEDED,
    PERMISSION_DENIED,
    RESOURCE_EXHAUSTED,
    UNAUTHENTICATED,
    UNAVAILABLE,
)
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.limiting.limiters cimport END_LATE, END_UNSTARTED, leave_all
from fastrpc._core.server.served_connection cimport ServedConnection
from fastrpc._core.streams.stream_channel cimport StreamChannel

from fastrpc._core.base.histogram import OTHER_METHODS, count_refusal, default_registry
from fastrpc.status import Status

cdef enum:
    # The pause before a retry, in milliseconds, that is stated for a method that may still appear.
    ABSENT_PAUSE_MS = 2000

logger = logging.getLogger("fastrpc.server")
DEBUG = logging.DEBUG


@cython.final
cdef class CallCounters:
    """The counters of a server's calls, by protocol and method."""

    def __init__(self):
        self.unknown_method = default_registry.counters(OTHER_METHODS, "server")
        self._by_protocol = {}

    def by_method(self, str protocol not None):
        """Return the counters of a protocol's calls by method; None for the native one, whose routes hold them."""
        return None if protocol == "native" else self._by_protocol.setdefault(protocol, {})

    cdef MethodCounters of(self, ServerCall call, MethodRoute route):
        """Return the counters of a call. `route` is None for an unknown method."""
        cdef ServedConnection connection = call.connection
        cdef dict by_method = connection.counters
        cdef MethodCounters counters
        cdef str protocol
        if by_method is None:
            return self.unknown_method if route is None else route.counters
        protocol = call.protocol_name()
        if protocol is not connection.protocol:
            by_method = self.by_method(protocol)
        name = OTHER_METHODS if route is None else route.method
        counters = by_method.get(name)
        if counters is None:
            counters = by_method[name] = default_registry.counters(name, "server", protocol)
        return counters


@cython.final
cdef class RefusedCalls:
    """Refuses and counts calls, for all connections of one server."""

    def __init__(self, CallCounters counters not None):
        self.counters = counters

    cdef int refuse(
        self, ServerCall call, int status, str text, bint is_faulty=False, int told=-1, uint32_t pause_ms=0
    ) except -1:
        """Count and refuse a call that is not started; `is_faulty`: the same call would be refused again.

        Args:
            told: the status that its caller gets, if its protocol has another one for this fault.
            pause_ms: the pause before a retry.
        """
        cdef ServedConnection connection = call.connection
        call.pushback_ms = pause_ms
        self.note(call, status if told < 0 else told, text)
        if call.stream is not None:
            (<StreamChannel>call.stream).close(None)
        # Set before the refusal, because the engine may try to end the call again during the refusal.
        call.was_ended = True
        try:
            connection.outcomes.refuse(call, status, sound_text(text), is_faulty)
        except BaseException as error:
            connection.answer_last(call, error, connection.outcomes.is_unanswered(call), False)
        call.pushback_ms = 0
        return 0

    cdef int note(self, ServerCall call, int status, str text) except -1:
        """Count and log a call that ends without having started."""
        cdef MethodCounters counters = self.counters.of(call, call.route)
        self.count += 1
        if call.permit is not None:
            leave_all(call.permit, 0, now_ns(), END_LATE if status == DEADLINE_EXCEEDED else END_UNSTARTED)
            call.permit = None
        counters.started()
        counters.ended(status, now_ns() - call.started_ns)
        if self.watch is not None:
            self.watch.refused(call, status, text)
        if status == UNAUTHENTICATED:
            count_refusal("unauthenticated")
        elif status == PERMISSION_DENIED:
            count_refusal("denied")
        if logger.isEnabledFor(DEBUG):
            peer = call.get_peer()
            logger.debug(
                "refused a call of %s: %s",
                peer,
                text,
                extra={
                    "event": "call_refused",
                    "method": None if call.route is None else call.route.method,
                    "status": Status(status).name,
                    "peer": None if peer is None else str(peer.address),
                },
            )
        return 0

    cdef int refuse_late_in(self, ServerCall call, str step) except -1:
        """Refuse a call whose deadline passed during a step. The text omits the method, which may be unknown."""
        self.expired += 1
        return self.refuse(call, DEADLINE_EXCEEDED, f"the deadline passed while {step}; the call was not started")

    cdef int refuse_absent(self, ServerCall call, str text) except -1:
        """Refuse a call of a method that may still appear."""
        return self.refuse(call, UNAVAILABLE, text, False, -1, ABSENT_PAUSE_MS)

    cdef int refuse_client(self, ServerCall call, tuple refusal) except -1:
        """Refuse a call because of the client address that a trusted proxy reports.

        `refusal` is an HTTP status and a text.
        """
        if refusal[0] == 403:
            return self.refuse(call, PERMISSION_DENIED, refusal[1])
        return self.refuse(call, RESOURCE_EXHAUSTED, refusal[1], False, -1, REFUSED_PAUSE_MS)
