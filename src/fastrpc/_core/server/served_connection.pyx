"""The served connection: the state of one connection for the gate, and what the gate asks of it.

::

    gate ──► outcomes, groups                         the protocol's part in its calls (`link/contract`)
      └────► identity, calls in flight, held bytes    the same for every protocol

A ServedConnection holds the protocol-independent state of one connection: the peer's identity, the calls in flight, the
bytes they hold. Calls and contexts of handlers hold it and may outlive the engine, so an engine that lost its byte
stream clears the reference to itself.
"""

import logging

from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.exc cimport PyErr_SetObject, PyErr_WriteUnraisable

from fastrpc._core.base.status cimport INTERNAL, INVALID_ARGUMENT
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport STATE_GONE
from fastrpc._core.link.contract cimport Handling
from fastrpc._core.wire.frame cimport ONE_WAY

from fastrpc._core.loop.drain_event import DrainEvent
from fastrpc.errors import CallError
from fastrpc.status import Status
from fastrpc.user_code import pass_interrupt as raise_interrupt

logger = logging.getLogger("fastrpc.server")

# The default of `piece_bytes`. It is so large that the remaining memory is checked for each request.
cdef int64_t ANY_SIZE = <int64_t>1 << 62

process_held = 0


cdef int64_t hold_bytes(int64_t change) noexcept:
    global process_held
    process_held += change
    return process_held


cdef int report(str text, object error) except -1:
    """Log an error of the server. An error of the log, which users configure, is passed to `sys.unraisablehook`."""
    try:
        logger.error("fastrpc: %s", text, exc_info=error)
    except BaseException as problem:
        PyErr_SetObject(type(problem), problem)
        PyErr_WriteUnraisable(text)
    return 0


cdef int pass_interrupt(object loop, object error) except -1:
    if isinstance(error, KeyboardInterrupt):
        raise_interrupt(loop)
    return 0


cdef Marshal marshal_by_codec(MethodRoute route, int codec, object gate):
    if route.marshals is None:
        route.marshals = {}
    marshal = route.marshals.get(codec)
    if marshal is None:
        marshal = route.marshals[codec] = gate.dispatcher.marshal_of(route, codec)
    return <Marshal?>marshal


cdef class PlainDialect(Dialect):
    """The dialect of protocols without special texts. It returns None, so that the dispatcher's text is used."""

    cdef str unknown_method(self, Call call, str method, object services):
        return None

    cdef str unknown_codec(self, Call call):
        return None

    cdef str unknown_compressor(self, Call call):
        return None

    cdef int corrupt_status(self, Call call) except -1:
        return INVALID_ARGUMENT

    cdef int unfit_status(self, Call call) except -1:
        return INVALID_ARGUMENT

    cdef bint has_status_details(self, Call call) except -1:
        return False

    cdef int compressor(self, Call call, int number) except -1:
        return 0


cdef class PlainHandling(Handling):
    """The handling of calls of a protocol that has neither forms nor mounted applications."""

    cdef object form_of(self, Call call):
        return None

    cdef int note_mistakes(self, Call call, bytes payload, str first) except -1:
        return 0

    cdef int hold(self, Call call) except -1:
        return 0


# The flow and the outcomes of a connection whose protocol has not set any: each of their methods raises.
NO_FLOW = Flow.__new__(Flow)
cdef Outcomes NO_OUTCOMES = Outcomes.__new__(Outcomes)
PLAIN_GROUPS = (<ContractGroups>ContractGroups.__new__(ContractGroups)).with_own(
    PlainDialect.__new__(PlainDialect), None, NO_FLOW, PlainHandling.__new__(PlainHandling)
)


cdef class ServedConnection:
    """The state of one connection and its served calls, as the gate sees it."""

    def __cinit__(self, *arguments, **options):
        self.piece_bytes = ANY_SIZE
        self.max_message = self.max_metadata = 0xFFFFFFFF
        self.now = now_ns()
        self.outcomes = NO_OUTCOMES
        self.groups = PLAIN_GROUPS

    def __init__(self, gate not None, str protocol not None):
        self.gate = gate
        self.protocol = protocol
        self.counters = gate.counters.by_method(protocol)

    def __dealloc__(self):
        # The counts are not 0 if the loop was closed before the connection: it was then not notified of its end.
        hold_bytes(-self._sum())

    cdef inline int64_t _sum(self) noexcept:
        return (
            self.request_held + self.record_held + self.answer_held + self.output_held + self.tail_held + self.part_held
            + self.stream_held
        )

    @property
    def held_bytes(self):
        """The bytes that the connection holds: requests, call records, answers, output, deferred reads, streams."""
        return self._sum()

    @property
    def running(self):
        """The calls whose handlers did not end in their first turn of the loop."""
        return tuple(self.held or ())

    @property
    def waiting(self):
        """The calls that wait for their start."""
        return tuple(self.queue or ())

    def abandon(self):
        """Close the connection because an outcome could not be sent."""

    def describe_peer(self):
        """Return a description of the peer, which remains available after the connection has ended; None if unknown."""
        return self.peer_info

    def note_probe(self):
        """Note that a call was a health probe."""

    # The last resort

    cdef int tell_failure(self, Call call, Failure failure) except -1:
        try:
            return self.outcomes.fail(call, failure)
        except BaseException as error:
            return self.answer_last(call, error, self.outcomes.is_unanswered(call), failure.has_run)

    cdef int answer_last(self, Call call, object error, bint is_unanswered, bint has_run) except -1:
        name = "a call" if call.route is None else call.route.method
        report(f"the answer of {name} cannot be written", error)
        if call.flags & ONE_WAY or self.is_closed or call.state == STATE_GONE:
            # The caller expects no answer, or cannot receive it.
            return pass_interrupt(self.gate.loop_state.loop, error)
        # Drop the metadata, which may have caused the error.
        call.sent_metadata = None
        try:
            if is_unanswered:
                self.outcomes.fail(call, Failure(INTERNAL, f"{name} failed, and so did its answer", has_run=has_run))
            else:
                self.abandon()
        except BaseException as problem:
            self.crash(problem)
        return pass_interrupt(self.gate.loop_state.loop, error)

    # The end of a credential

    cdef list streams_under_way(self):
        """Return the streaming calls in progress, which end when their credential expires."""
        return []

    # The identity of the peer

    cdef int prove(self, object identity, uint64_t expires_ns) except -1:
        """Set the proven identity of the peer."""
        self.identity = identity
        self.proven_name = identity.name
        self.expires_ns = expires_ns
        self.is_expired = False
        self.answers = None
        return 0

    cdef int expire(self) except -1:
        """Note that the credential has expired. Further calls are unauthenticated."""
        self.identity = None
        self.expires_ns = 0
        self.is_expired = True
        self.answers = None
        return 0

    cdef int check_size(self, Call call, str what, bytes payload, uint64_t own) except -1:
        """Raise CallError if a payload is longer than the peer accepts, or than the server's own limit.

        Args:
            what: the name of the payload for the error text, such as "the answer".
        """
        cdef uint64_t taken = self.most_message(), limit = min(own, taken)
        if <uint64_t>PyBytes_GET_SIZE(payload) > limit:
            who = "the client takes" if limit == taken else "the server sends"
            raise CallError(
                Status.RESOURCE_EXHAUSTED,
                f"{what} of {call.route.method} has {len(payload)} bytes, {who} at most {limit} (Limits.message_bytes)",
            )
        return 0

    # Defaults that an engine may override

    cdef uint64_t most_message(self) noexcept:
        """Return the size of the largest answer that the peer accepts."""
        return self.max_message

    cdef uint32_t most_metadata(self) noexcept:
        """Return the size of the largest metadata of an answer that the peer accepts."""
        return self.max_metadata if self.groups.forms is None else self.groups.forms.most_metadata()

    cdef int note_answer(self, Call call, int status, dict fields, object compress) except -1:
        """Store the HTTP parts of an answer that a gateway sends on. This is for calls without forms (`link/contract`)."""
        return 0

    cdef bint takes_codec(self, Call call) except -1:
        """Return whether the peer accepts an answer in the installed codec of its request."""
        return True

    cdef int64_t cut_bytes(self) except? -1:
        """Return the bytes of output that count as memory and do not prevent calls from starting."""
        return 0

    cdef int64_t passed_bytes(self) except? -1:
        """Return the bytes of messages that other answers can overtake. Up to `send_hard`, calls start despite them."""
        return 0

    cdef int weigh_answer(self) except -1:
        """Count the output again after a large answer."""
        return 0

    cpdef int return_credit(self) except -1:
        """Return the withheld credit to the peer."""
        return 0

    cdef bint waits_for_turn(self) noexcept:
        """Return whether received bytes wait for a turn of the loop. Reading pauses meanwhile."""
        return False

    cdef int look_by(self, uint64_t due_ns) except -1:
        """Schedule `CallAdmission.look_at` for `due_ns`. If an earlier check is scheduled, that check schedules the next."""
        cdef uint64_t now = now_ns()
        if self.look_due_ns and self.look_due_ns <= due_ns:
            return 0
        self.look_due_ns = due_ns
        self.gate.loop_state.loop.call_later((due_ns - min(due_ns, now)) / 1e9, self.gate.admission.look_at, self)
        return 0

    cdef int end_turn(self) except -1:
        """Flush the answers of waiting calls that were just started."""
        return 0

    cdef int crash(self, object error) except -1:
        """Close the connection after an internal error of its engine, and log the error."""
        report(f"internal error in a connection of protocol {self.protocol}", error)
        self.abandon()
        return 0

    # Drain

    def drain_event(self):
        """The event that is set when this connection starts to drain."""
        if self.drain_signal is None:
            self.drain_signal = DrainEvent()
            if self.is_draining:
                self.drain_signal.set()
        return self.drain_signal

    def note_drain(self):
        """Refuse further calls, and notify handlers that the connection drains: `current_call().draining`."""
        self.is_draining = True
        self.holding |= HOLD_DRAIN
        if self.drain_signal is not None:
            self.drain_signal.set()
