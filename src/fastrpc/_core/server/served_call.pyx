"""A call being served: its scope, its arguments and its stage; and the calls that wait for their start.

Waiting calls start in the order of the priorities 2, 0, 1, then by arrival. After a stall of the loop, the calls of a
connection are held until its socket was once read empty.
"""

import asyncio
import logging
from asyncio import CancelledError

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memcmp

from fastrpc._core.base.priority_queue cimport PRIORITY_HIGH, PRIORITY_SHEDDABLE, RANK_NORMAL, RANK_SHEDDABLE
from fastrpc._core.base.status cimport DEADLINE_EXCEEDED
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport NO_DEADLINE, STATE_CANCELLED, STATE_GONE, STATE_NEW, Draining
from fastrpc._core.calls.call_log cimport find_request_entry
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.payload.arguments cimport BoundArguments
from fastrpc._core.payload.metadata cimport encode_metadata, is_too_large
from fastrpc._core.server.http_answer cimport checked_answer, told_entry
from fastrpc._core.server.served_connection cimport HOLD_QUEUE, HOLD_STALL, marshal_by_codec
from fastrpc._core.streams.stream_channel cimport StreamChannel
from fastrpc._core.wire.frame cimport ONE_WAY

from fastrpc._core.loop.drain_event import DrainEvent
from fastrpc._core.payload.metadata import encode_pairs, pairs_of
from fastrpc.errors import CallError
from fastrpc.status import Status

cdef enum:
    # A hold ends after MOST_LOOKS turns of the loop, MOST_CAUGHT_UP bytes of requests, or MOST_WAITING waiting calls of
    # which the oldest is one-way, even if there is more to read. A single turn may read megabytes.
    MOST_LOOKS = 6
    PATIENT_LOOKS = 24
    # A hold may be extended by this many times its length while the connection waits for its turn to read. With a
    # thousand busy connections these turns are long.
    PATIENT_HOLDS = 2
    MOST_CAUGHT_UP = 1_048_576
    MOST_WAITING = 1_000

    # A line is compacted when it has this many more gaps than calls.
    SPARE_PLACES = 64

logger = logging.getLogger("fastrpc.server")

cdef class ServerCall(Call):
    """A call being served, which `current_call()` returns."""

    cdef object get_peer(self):
        if self.client is not None:
            return self.client
        if self.connection is None:
            return None
        return self.connection.describe_peer() if self.groups.forms is None else self.groups.forms.peer(self)

    cdef str protocol_name(self):
        return self.connection.protocol if self.groups.forms is None else self.groups.forms.protocol(self)

    cdef Marshal marshal(self):
        if self.groups.forms is None:
            return marshal_by_codec(self.route, self.codec, self.connection.gate)
        return self.groups.forms.marshal(self)

    cdef bytes get_request_entry(self):
        # A request id of the caller is passed on even without a log.
        if self.request_entry is None and (self.is_logged == 1 or self.received_metadata is not None):
            find_request_entry(self, self.is_logged == 1)
        return self.request_entry

    @property
    def identity(self):
        """The caller's proven identity; None for an unauthenticated caller."""
        return self.own_identity if self.keeps_identity or self.connection is None else self.connection.identity

    @identity.setter
    def identity(self, identity):
        self.own_identity = identity
        self.keeps_identity = True

    @property
    def cancelled(self):
        """Whether the caller cancelled the call or its deadline passed. May be read from any thread."""
        return bool(self.was_cancelled) or self.is_expired

    @property
    def draining(self):
        """An awaitable that completes when the server or this connection drains."""
        return Draining(DrainEvent() if self.connection is None else self.connection.drain_event())

    def http(self, *, status=None, headers=None, compress=None):
        """Set the status and header fields of the HTTP answer, as documented at `Call.http`."""
        self.note_http(status, headers, compress, False)

    cdef int note_http(self, object status, object headers, object compress, bint is_forwarded) except -1:
        """Set the fields. The fields that a gateway forwards already have their directives about caching."""
        cdef dict fields = checked_answer(self.route, status, headers, is_forwarded)
        if compress is not None and type(compress) is not bool:
            raise TypeError(f"compress is {compress!r}, it must be True, False or None")
        if self.was_ended:
            raise RuntimeError("the call has ended: call http() in its handler")
        if self.connection is None:
            return 0
        status = 0 if status is None else status
        if self.groups.forms is None:
            return self.connection.note_answer(self, status, fields, compress)
        return self.groups.forms.note_answer(self, status, fields, compress)

    def sleep(self, seconds):
        """Wait in an interceptor."""
        return asyncio.sleep(seconds)

    @property
    def arguments(self):
        """The decoded arguments that the handler gets."""
        if type(self.given) is bytes:
            return (self.given,)
        if type(self.given) is BoundArguments:
            return (*self.given.args, *self.given.kwargs.values())
        return () if self.given is None else self.given

    @property
    def age_seconds(self):
        """The seconds since the request arrived."""
        cdef uint64_t now = now_ns()
        return <double>(now - min(now, self.started_ns)) * 1e-9

    @property
    def codec_id(self):
        """The number of the codec of the request and of the answer."""
        return self.codec

    def _has_lapsed(self):
        """Return whether the call's credential has expired since its admission. May be called from any thread."""
        return self.connection is not None and self.route is not None and has_lapsed(self, now_ns())

    def _is_stopped(self):
        """Return whether the handler was stopped from outside, so that a CancelledError is not the handler's own."""
        cdef StreamChannel stream = <StreamChannel>self.stream
        return (
            self.was_ended
            or self.cancelled
            or self.state == STATE_GONE
            or self.connection is None
            or self.connection.is_closed
            or (self.task is not None and self.task.cancelling() > 0)
            or (stream is not None and stream.output_ended and self.route.gives_stream)
        )

    @cython.nonecheck(False)
    cdef bint make_new(self) noexcept:
        """Reset a call for reuse, except fields that every REQUEST sets; return False if the call cannot be reused."""
        if (
            not self.is_plain()
            or self.is_held
            or self.is_running
            or self.was_cancelled
            or self.is_expired
            or self.never_started
            or self.has_sent_head
            or self.charge
            or self.waiting_payload is not None
            or self.has_own_credential
            or self.client is not None
            or self.outcome_error is not None
            or self.task is not None
            or self._thread_job is not None
        ):
            return False
        self.state = STATE_NEW
        self.was_ended = self.has_trailers = False
        self.deadline_ns = NO_DEADLINE
        self.weight = 0
        self.connection = None
        self.route = None
        self.given = None
        self.is_logged = False
        self.keeps_identity = False
        self.own_identity = None
        self.sent_name = None
        self.forget_received()
        if self.outcome_status is not None:
            # Interceptors set the outcome.
            self.outcome_status = None
            self._gave_none = False
            self._dropped_proceed = False
        return True

    cdef int note_name(self, const char* name, Py_ssize_t size) except -1:
        """Set the method name that the caller sent, if it is not the method's own name."""
        cdef bytes own = self.route.name
        if PyBytes_GET_SIZE(own) != size or memcmp(PyBytes_AS_STRING(own), name, <size_t>size) != 0:
            self.sent_name = name[:size]
        return 0

    cdef int stop(self) except -1:
        """Cancel the handler. Its answer is sent when it has stopped."""
        if self.route is not None and self.route.is_application:
            return self.groups.handling.leave_handler(self)
        if self.is_expired and self._thread_job is not None:
            self.answer_late(self._thread_job.leave())
        if self.task is not None:
            self.task.cancel()
        elif self.is_running:
            self.connection.gate.dispatcher.stop(self)
        elif self.waiting_context is not None:
            self.connection.gate.dispatcher.stop_unpacking(self)
        if self.stream is not None:
            # End both directions, so that nothing more is received or sent even if the handler ignores its cancellation.
            (<StreamChannel>self.stream).end_output(CancelledError())
            (<StreamChannel>self.stream).end_input(CancelledError())
        return 0

    cdef int answer_late(self, bint has_begun) except -1:
        """Answer a call whose deadline passed and whose handler cannot be stopped. Drop the handler's own result."""
        cdef ServedConnection connection = self.connection
        if self.was_ended or self.flags & ONE_WAY:
            return 0
        self.was_ended = True
        self.told_status = DEADLINE_EXCEEDED
        connection.now = now_ns()
        text = f"{self.route.method}: its deadline passed"
        if not has_begun:
            failure = Failure(DEADLINE_EXCEEDED, f"{text} before a thread was free", has_run=False)
        else:
            failure = Failure(DEADLINE_EXCEEDED, text, goes_on=True)
        return connection.tell_failure(self, failure)

    cdef int pack_metadata(self) except -1:
        """Encode `reply_metadata`, to be sent with the next output. It is cleared even if it cannot be encoded."""
        cdef object metadata = self._reply_metadata
        cdef bytes sent
        self._reply_metadata = None
        try:
            sent = encode_metadata(metadata if self.has_trailers else metadata.entries)
            if type(self.head) is list:
                # A gateway asked for the HTTP status and fields.
                sent += told_entry(<list>self.head)
            self._check_size(sent)
            if self.groups.forms is not None:
                self.groups.forms.check_sent(self, sent)
        except Exception as error:
            raise self.route.definition.faults.of_metadata(error, self.route.method)
        self.sent_metadata = sent
        return 0

    def _check_size(self, bytes sent not None):
        """Raise if the answer's metadata exceeds the caller's limit. Its form was checked before."""
        cdef uint32_t limit = self.connection.most_metadata()
        if not is_too_large(sent, limit):
            return
        text = (
            f"{self.route.method}: the metadata of its answer is over the {limit} bytes that the "
            "client takes (Limits.metadata_bytes)"
        )
        logger.error("%s", text)
        raise CallError(Status.INTERNAL, text)

    def _pack_fitting(self):
        """Encode `reply_metadata`, to be sent with a failure. Drop and log each entry that cannot be sent."""
        metadata, self._reply_metadata = self._reply_metadata, None
        parts = []
        for pair in pairs_of(metadata if self.has_trailers else metadata.entries):
            try:
                part = encode_pairs((pair,))
                if self.groups.forms is not None:
                    self.groups.forms.check_sent(self, part)
            except (CallError, TypeError, ValueError) as problem:
                text = "%s: the metadata %.100a of its error is dropped: %s"
                logger.error(text, self.route.method, pair[0], getattr(problem, "message", problem))
            else:
                parts.append(part)
        sent = b"".join(parts)
        self._check_size(sent)
        self.sent_metadata = sent or None

    # Streams

    def wrap_sent(self, function):
        """In an interceptor, make a function replace each sent message. The first function gets the yielded message."""
        cdef StreamChannel stream = self._stream_to_wrap()
        stream.sent_wraps = [*(stream.sent_wraps or ()), function]

    def wrap_received(self, function):
        """In an interceptor, make a function replace each message that the handler receives."""
        cdef StreamChannel stream = self._stream_to_wrap()
        stream.received_wraps = [*(stream.received_wraps or ()), function]

    def _stream_to_wrap(self):
        if self.stream is None:
            raise RuntimeError(f"{self.route.method} has no messages to wrap: it is {self.kind}, or over")
        if self.given is None or not self.never_started:
            raise RuntimeError(f"{self.route.method}: call wrap_sent() and wrap_received() before `proceed`")
        return self.stream

    async def send_metadata(self):
        """Send the contents of `reply_metadata` now, before the first message of the answer's stream.

        With gRPC, metadata may also be sent before a unary answer.

        Raises:
            RuntimeError: the answer is not a stream, or the first metadata was sent already.
        """
        if self.stream is not None and self.route.gives_stream:
            self.stream.commit_metadata()
        elif self.has_trailers:
            self._send_head()
        else:
            raise RuntimeError(f"the answer of {self.method} is not a stream: its metadata goes with it")

    def _compress_by(self, str name):
        """Compress the answer with the named compressor if the peer accepts it; None = do not compress it."""
        self.compressor = 0
        for number, compressor in self.connection.gate.compressors.items():
            if compressor.name == name:
                self.compressor = <uint8_t>number
        if self.stream is not None:
            self.stream.compress_by(self.compressor)

    def _ensure_head(self):
        """Send the head of a unary answer unless it was sent. Later `reply_metadata` become the trailers."""
        if not self.has_sent_head and self.has_trailers and not self.route.gives_stream:
            self._send_head()

    cdef int _send_head(self) except -1:
        """Send the head of a unary answer."""
        cdef ServedConnection connection = self.connection
        if self.has_sent_head:
            raise RuntimeError(f"the first metadata of {self.method} was sent already; later entries go with the end")
        self.has_sent_head = True
        if connection.is_closed or self.was_ended or self.state == STATE_CANCELLED or self.state == STATE_GONE:
            return 0
        if self._reply_metadata is not None:
            self.pack_metadata()
        metadata, self.sent_metadata = self.sent_metadata or b"", None
        return self.groups.flow.head(self, metadata)

    @property
    def messages(self):
        """The stream of the call; None for a unary call and after the end."""
        return self.stream

    cdef int on_timer(self) except -1:
        if not self.was_cancelled:
            self.is_expired = True
            self.stop()
            if self.waiting_context is not None:
                self.connection.gate.guards.note_late(self)
        return 0


cdef bint has_lapsed(ServerCall call, uint64_t now) noexcept:
    cdef uint64_t ends = call.own_expires_ns if call.has_own_credential else call.connection.expires_ns
    # `route` is None if the request of a stream arrives in pieces and names an unknown method.
    if call.route is not None and call.route.is_public:
        return False
    return ends != 0 and now >= ends or call.connection.is_expired and not call.has_own_credential


cdef int keep_identities(ServedConnection connection) except -1:
    cdef ServerCall call
    for call in [*(connection.held or ()), *(connection.queue or ())]:
        keep_identity(call)
    return 0


def detached_call(kind, metadata, identity, timeout):
    """Make a call without a connection, for handlers that are called directly in a test."""
    cdef ServerCall call = kind.__new__(kind)
    call.started_ns = now_ns()
    if timeout is not None:
        call.deadline_ns = call.started_ns + <uint64_t>(timeout * 1e9)
    call.received_metadata = encode_metadata(metadata or {})
    call.own_identity = identity
    return call


@cython.final
cdef class CallLine:
    # Under overload thousands of calls per second are added and removed, and most of them are refused. An OrderedDict
    # needs five lookups per call in memory that is no longer cached: a twentieth of the time of a worker. A linked list
    # would be deallocated by as many nested calls as it has entries.

    # In __cinit__, because a subclass could skip __init__.
    def __cinit__(self, int line):
        self._line = line
        self._places = []

    cdef list entries(self):
        return [call for call in self._places if call is not None]

    cdef ServerCall first(self):
        return <ServerCall>self._places[self._head] if self.count else None

    cdef ServerCall last(self):
        return <ServerCall>self._places[len(self._places) - 1] if self.count else None

    cdef int add(self, ServerCall call) except -1:
        """Append a call that is not in the line."""
        self._places.append(call)
        call.places[self._line] = self._left + len(self._places) - 1
        self.count += 1
        return 0

    cdef int drop(self, ServerCall call) except -1:
        """Remove a call that is in the line."""
        cdef list places = self._places
        cdef Py_ssize_t at = call.places[self._line] - self._left
        assert 0 <= at < len(places) and places[at] is call
        places[at] = None
        self.count -= 1
        if self.count == 0:
            self._leave(len(places))
            return 0
        # Remove gaps at both ends, so that the first and the last call are found directly.
        while places[self._head] is None:
            self._head += 1
        while places[len(places) - 1] is None:
            places.pop()
        if self._head > self.count + SPARE_PLACES:
            self._leave(self._head)
        elif len(places) - self._head > 2 * self.count + SPARE_PLACES:
            self._close_gaps()
        return 0

    cdef int _leave(self, Py_ssize_t count) except -1:
        """Remove the first `count` places."""
        del self._places[:count]
        self._left += count
        self._head = 0
        return 0

    cdef int _close_gaps(self) except -1:
        cdef ServerCall call
        cdef Py_ssize_t at = self._left
        self._places = self.entries()
        self._head = 0
        for call in self._places:
            call.places[self._line] = at
            at += 1
        return 0


@cython.final
cdef class WaitingCalls:

    # In __cinit__, because a subclass could skip __init__.
    def __cinit__(self, int line):
        self.high = CallLine(line)
        self.normal = CallLine(line)
        self.sheddable = CallLine(line)

    def __len__(self):
        return self.high.count + self.normal.count + self.sheddable.count

    def __iter__(self):
        return iter(self.high.entries() + self.normal.entries() + self.sheddable.entries())

    cdef CallLine of(self, ServerCall call):
        """Return the line of the call's priority."""
        if call.priority == PRIORITY_HIGH:
            return self.high
        return self.sheddable if call.priority == PRIORITY_SHEDDABLE else self.normal

    cdef int add(self, ServerCall call) except -1:
        """Append a call, whose payload is counted, to the line of its priority."""
        self.of(call).add(call)
        if is_sheddable(call):
            self.sheddable_bytes += waiting_bytes(call)
            self.sheddable_records += call.record
        return 0

    cdef int drop(self, ServerCall call) except -1:
        """Remove a waiting call. Do not use its charge, which an engine that ends a call has already set to 0."""
        self.of(call).drop(call)
        if is_sheddable(call):
            self.sheddable_bytes -= waiting_bytes(call)
            self.sheddable_records -= call.record
        return 0

    cdef ServerCall first(self, int last_rank):
        """Return the next call to start whose rank is at most `last_rank`, or None."""
        if self.high.count:
            return self.high.first()
        if self.normal.count and last_rank >= RANK_NORMAL:
            return self.normal.first()
        return self.sheddable.first() if last_rank >= RANK_SHEDDABLE else None

    cdef ServerCall oldest(self):
        """Return the call that has waited longest, or None."""
        cdef ServerCall found = None
        cdef CallLine line
        for line in (self.high, self.normal, self.sheddable):
            if line.count and (found is None or line.first().queued_ns < found.queued_ns):
                found = line.first()
        return found


cdef Py_ssize_t waiting_bytes(ServerCall call) noexcept:
    return max(PyBytes_GET_SIZE(call.waiting_payload), <Py_ssize_t>1)


cdef bint is_sheddable(ServerCall call) noexcept:
    return call.priority == PRIORITY_SHEDDABLE


# Holds after a stall of the loop. A hold lasts until the connection's socket was once read empty, or until a time limit.


cdef int begin_hold(ServedConnection connection, uint64_t hold_ns) except -1:
    connection.holding |= HOLD_STALL
    connection.stalled_held = connection.request_held
    connection.looks = 0
    connection.patience = PATIENT_LOOKS
    connection.held_until_ns = now_ns() + hold_ns
    connection.patient_until_ns = connection.held_until_ns + PATIENT_HOLDS * hold_ns
    return 0


cdef bint is_caught_up(ServedConnection connection, uint64_t hold_ns, uint64_t now) except -1:
    """End a hold if the last turn of the loop read nothing more, enough was read, or the hold took too long.

    Return whether the hold ended.
    """
    cdef bint has_read = connection.received_ns != connection.seen_read_ns
    if connection.queue is not None and len(connection.queue) >= MOST_WAITING and starts_one_way(connection.queue):
        connection.looks = MOST_LOOKS
    elif connection.waits_for_turn() and connection.patience > 0 and now < connection.patient_until_ns:
        # The connection waits for its turn, and nothing is read before. With a thousand busy connections this is so at each
        # check. No timestamp shows whether a CANCEL will still arrive: with a full TCP window the peer's machine still has
        # bytes that were sent long ago, so a socket is read empty several times before they arrive.
        connection.patience -= 1
        connection.held_until_ns = now + hold_ns
        return False
    connection.looks += 1
    if connection.looks == 1 or now < connection.held_until_ns and has_read and connection.looks < MOST_LOOKS and (
        connection.request_held - connection.stalled_held < MOST_CAUGHT_UP
    ):
        # The first check precedes this turn's reads, so it never ends the hold, however late it is: the process may have
        # been stopped for longer than a hold, with CANCELs unread in the socket.
        connection.seen_read_ns = connection.received_ns
        return False
    connection.holding &= ~HOLD_STALL
    if connection.queue:
        connection.holding |= HOLD_QUEUE
    return True


cdef bint starts_one_way(WaitingCalls queue) except -1:
    """Return whether the oldest call of a non-empty queue is one-way, which cannot be cancelled."""
    return queue.oldest().flags & ONE_WAY != 0
