"""The guards of a gate: the rights of callers, and their limits.

::

    call ──► judge ──► OK ──────────────────────────► limits ──► the next steps of `Gate`
               │  └──► refuse_access       ▲             └─────► refused
               └─────► WAITS ──► verify ──► take         give_up: its deadline passed first

    limits   of the method ──► key: the method, the peer, … ──► a token, or a place ──► the next limit
                                                            └─► none: all are given back, the call is refused

`passes` runs these steps for a complete call; while it waits, other calls of its connection continue. For a long
request the engine runs them before the rest is received (`SenderCheck`).
"""

import logging

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.contextvars cimport PyContext_CopyCurrent, PyContext_Enter, PyContext_Exit

from fastrpc._core.base.status cimport CANCELLED, INTERNAL, OK, PERMISSION_DENIED, RESOURCE_EXHAUSTED
from fastrpc._core.base.status cimport UNAUTHENTICATED, UNAVAILABLE
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport MethodRoute
from fastrpc._core.limiting.limiters cimport END_UNSTARTED, Permit, key_of, leave_all
from fastrpc._core.server.access cimport WAITS
from fastrpc._core.server.admission cimport LaterSteps
from fastrpc._core.server.deadlines cimport set_deadline
from fastrpc._core.server.refused_calls cimport REFUSED_PAUSE_MS
from fastrpc._core.server.served_call cimport is_sheddable
from fastrpc._core.server.served_connection cimport ServedConnection
from fastrpc._core.server.served_stream cimport ServedStream, new_served_stream
from fastrpc._core.wire.frame cimport ONE_WAY, STREAM_IN, STREAM_OUT

from fastrpc._core.base.histogram import count_refusal

cdef uint64_t MILLISECOND_NS = 1_000_000
# The longest pause that a frame can state: the next number means "never" (PROTOCOL.md).
cdef uint64_t LONGEST_PAUSE_MS = 0xFFFFFFFE

cdef dict KINDS = {"peer": KEY_PEER, "identity": KEY_IDENTITY, "metadata": KEY_METADATA}

logger = logging.getLogger("fastrpc.server")


@cython.final
cdef class BoundLimit:
    """A limit, bound to one method."""

    def __init__(self, limiter not None, str per not None, bytes name not None, str text not None):
        if isinstance(limiter, RateLimiter):
            self.rate = limiter
        else:
            self.concurrency = <ConcurrencyLimiter?>limiter
        kind, _, self.entry = per.partition(":")
        self.kind = <KeyKind><int>KINDS.get(kind, KEY_FIXED)
        self.key = key_of(name)
        self.text = text

    cdef uint64_t key_for(self, ServerCall call) except 0:
        cdef ServedConnection connection = call.connection
        if self.kind == KEY_FIXED:
            return self.key
        if self.kind == KEY_PEER:
            if call.client is not None:
                return key_of(call.client._limit_name())
            if not connection.peer_key:
                connection.peer_key = key_of(connection.gate.dispatcher.peer_name(connection))
            return connection.peer_key
        identity = call.own_identity if call.keeps_identity else connection.identity
        if identity is None:
            # No identity has this name. Metadata is ignored, as an unauthenticated caller could change it with each call.
            return key_of(b"anonymous")
        if self.kind == KEY_IDENTITY:
            return key_of(identity.name.encode())
        return key_of(b"=" + call.metadata.get(self.entry, "").encode())


@cython.final
cdef class CallLimits:
    """The limits of one server."""

    def __init__(self, bind not None):
        self._bind = bind

    @cython.nonecheck(False)
    cdef BoundLimit take(self, ServerCall call):
        """Count a call on all limits of its method, and return None. If a limit is reached, count on none and return it."""
        cdef MethodRoute route = call.route
        cdef tuple limits = route.limits
        cdef Py_ssize_t index
        if limits is None:
            limits = route.limits = <tuple?>self._bind(route.method)
        for index in range(len(limits)):
            if not _take_one(self, <BoundLimit>limits[index], call):
                for taken in limits[:index]:
                    if (<BoundLimit>taken).rate is not None:
                        (<BoundLimit>taken).rate.give_back()
                leave_all(call.permit, 0, 0, END_UNSTARTED)
                call.permit = None
                return <BoundLimit>limits[index]
        return None


@cython.nonecheck(False)
cdef bint _take_one(CallLimits server_limits, BoundLimit limit, ServerCall call) except -1:
    cdef uint64_t key = limit.key_for(call), wait_ns
    cdef Permit permit
    cdef Py_ssize_t place
    if limit.rate is not None:
        wait_ns = <uint64_t>limit.rate.take(key, call.connection.now, is_sheddable(call))
        if wait_ns == 0:
            return True
        server_limits.refused_by_rate += 1
    elif limit.concurrency.adaptive is None or not call.flags & (ONE_WAY | STREAM_IN | STREAM_OUT):
        place = limit.concurrency.enter(key, is_sheddable(call))
        if place >= 0:
            permit = Permit.__new__(Permit)
            permit.limiter = limit.concurrency
            permit.place = place
            permit.next = call.permit
            call.permit = permit
            return True
        server_limits.refused_by_concurrency += 1
        wait_ns = limit.concurrency.pause()
    else:
        # An adaptive limit ignores streams, whose duration says nothing about the server's load, and one-way calls, for
        # which no caller waits.
        return True
    server_limits.pause_ms = <uint32_t>min((wait_ns + MILLISECOND_NS - 1) // MILLISECOND_NS, LONGEST_PAUSE_MS)
    return False


@cython.final
cdef class Guards:
    """The guards of a gate: the rights of callers, and their limits."""

    def __init__(
        self, HandlerRunner runner not None, CallAdmission admission not None, RefusedCalls refusals not None,
        uint64_t default_timeout_ns,
    ):
        self.runner = runner
        self.admission = admission
        self.refusals = refusals
        self.default_timeout_ns = default_timeout_ns

    def require(self, Access access):
        """Check the rights of callers on all connections; None ends the checks."""
        self.access = access
        self.has_guards = not (access is None and self.limits is None)

    def limit(self, CallLimits limits):
        """Apply limits to calls on all connections; None removes them."""
        self.limits = limits
        self.has_guards = not (self.access is None and limits is None)

    # Single steps

    cdef int set_caller_deadline(self, ServerCall call) noexcept:
        """Set the deadline of a call whose caller is not identified yet."""
        # The method's timeout is no cap here, as it would distinguish a forbidden method from an unknown one.
        return set_deadline(self.default_timeout_ns, call, 0)

    cdef int take(self, ServerCall call, object identity, int status, object seconds) except? -2:
        """Apply the verdict on a credential; return OK, or the status to refuse the call with."""
        return status if identity is None else self.access.take_own(call, identity, seconds)

    cdef bint give_up(self, ServerCall call) except -1:
        """Return whether to answer a call now whose deadline passed before its verdict; else the verdict does."""
        return self.access is not None and self.access.own_credentials.give_up(call)

    cdef bint knows_peer(self, object engine) except -1:
        """Identify a peer by its certificate; return False if the verdict takes time."""
        return self.access is None or self.access.authentication.opened(engine)

    cdef bint may_call(self, object identity, object route) except -1:
        """Return whether a caller may call a route. An unknown method (`route` is None) counts as forbidden."""
        return self.access is None or route is not None and self.access.allows(identity, route)

    # Refusals

    cdef int refuse_access(self, ServerCall call, str method, int status) except -1:
        """Refuse a call whose caller may not call the method; return 0."""
        cdef uint32_t pause_ms = 0
        cdef str shown = method if call.sent_name is None else call.sent_name.decode("ascii", "backslashreplace")
        if status == UNAUTHENTICATED:
            why = "the credential has expired" if call.connection.is_expired else "the caller is not authenticated"
        elif status == PERMISSION_DENIED:
            absent = self.runner.dispatcher.absent_text(method) if call.route is None else None
            if absent is not None and self.access.may_learn(call.identity, method):
                return self.refusals.refuse_absent(call, absent)
            why = "the caller may not call it, or it does not exist"
        elif status == RESOURCE_EXHAUSTED:
            why = "too many credentials of its host were refused"
            count_refusal("rate")
            pause_ms = REFUSED_PAUSE_MS
        else:
            why = "the credential cannot be verified now"
        self.access.own_credentials.note_refused(call, method, status)
        is_faulty = status not in (UNAVAILABLE, RESOURCE_EXHAUSTED)
        return self.refusals.refuse(call, status, f"{shown}: {why}", is_faulty, -1, pause_ms)

    cdef int refuse_undecided(self, ServerCall call, str method, object error) except -1:
        """Refuse a call for which `authorize` raised. The error fails only this call."""
        logger.error("fastrpc: it could not be decided about %s", method, exc_info=error)
        self.refusals.refuse(call, INTERNAL, f"{method}: it could not be decided whether the call may start")
        return self.runner.pass_interrupt(error)

    # A complete call

    cdef bint passes(self, ServerCall call, uint64_t names, bytes payload) except -1:
        """Return whether a call continues now; otherwise it was refused, or waits for a verdict."""
        return (
            (self.access is None or self.has_access(call, call.route.method, names, payload))
            and (self.limits is None or self.is_within_limits(call))
        )

    cdef bint has_access(self, ServerCall call, str method, uint64_t names, bytes payload) except -1:
        """Return whether the caller may call the method; otherwise the call was refused, or waits for a verdict."""
        cdef int status
        try:
            status = self.access.judge(call)
        except BaseException as error:
            self.refuse_undecided(call, method, error)
            return False
        if status == WAITS:
            _wait_for_verdict(self, call, method, names, payload)
            return False
        return status == OK or self.refuse_access(call, method, status)

    def conclude_access(
        self, ServerCall call not None, str method not None, uint64_t names, bytes payload not None, identity, int status,
        seconds,
    ):
        """Continue a call whose separate credential was verified. `identity` is None after a refusal with `status`."""
        cdef ServedConnection connection = call.connection
        context = call.waiting_context
        if not self.is_still_wanted(call, method, "its credential was verified"):
            connection.end_turn()
            return
        try:
            self.access.renew_if_due(connection)
            status = self.take(call, identity, status, seconds)
            if status != OK:
                self.refuse_access(call, method, status)
            else:
                PyContext_Enter(context)
                try:
                    if self.limits is None or self.is_within_limits(call):
                        (<LaterSteps?>connection.gate).let_in(call, names, payload)
                finally:
                    PyContext_Exit(context)
                    self.runner.leave_task()
        except BaseException as error:
            self.refuse_undecided(call, method, error)
        connection.end_turn()

    def note_late(self, ServerCall call not None):
        """Answer a call whose deadline passed while its credential is verified. The end of any other step answers it."""
        if not self.give_up(call):
            return
        _take_back(self, call)
        self.refusals.refuse_late_in(call, "its credential was verified")
        call.connection.end_turn()

    cdef bint is_still_wanted(self, ServerCall call, str method, str step) except -1:
        """End a call's wait for a step; return False if the call has ended or was refused meanwhile."""
        cdef ServedConnection connection = call.connection
        _take_back(self, call)
        if connection.is_closed or call.was_ended:
            # No answer is sent, so the end is only counted.
            self.refusals.note(call, CANCELLED, f"{method} was cut off while {step}")
            if call.stream is not None:
                (<ServedStream>call.stream).end()
        elif call.was_cancelled:
            self.refusals.refuse(call, CANCELLED, f"{method} was cancelled before it started")
        elif call.is_expired:
            self.refusals.refuse_late_in(call, step)
        else:
            return True
        return False

    cdef bint is_within_limits(self, ServerCall call) except -1:
        """Count a call on its limits, or refuse it and return False. `limits` must not be None."""
        cdef BoundLimit over = self.limits.take(call)
        if over is None:
            return True
        count_refusal("concurrency" if over.rate is None else "rate")
        self.limits.refusing = over
        self.refusals.refuse(
            call, RESOURCE_EXHAUSTED, f"{call.route.method}: {over.text}", False, -1, self.limits.pause_ms
        )
        self.limits.refusing = None
        return False


cdef int _wait_for_verdict(Guards guards, ServerCall call, str method, uint64_t names, bytes payload) except -1:
    """Let a call wait until its separate credential is verified. It counts as in progress and can be cancelled.

    Other calls of the connection continue.
    """
    cdef MethodRoute route = call.route
    if not guards.admission.has_room(call, payload):
        return 0
    if route is not None:
        if route.flags & (STREAM_IN | STREAM_OUT) and not (call.flags ^ route.flags) & (STREAM_IN | STREAM_OUT):
            # Created now, because messages may arrive before the verdict.
            new_served_stream(call)
    guards.set_caller_deadline(call)
    call.weight = PyBytes_GET_SIZE(payload)
    call.waiting_context = PyContext_CopyCurrent()
    guards.runner.watch(call)
    guards.access.own_credentials.wait(guards, call, method, names, payload)
    return 0


cdef int _take_back(Guards guards, ServerCall call) except -1:
    """End the wait of a call for a step."""
    call.waiting_context = None
    call.connection.now = call.connection.turn_ns = now_ns()
    return guards.runner.unwatch(call)
