"""A call of ours that waits for its answer, whoever waits: a task or a thread.

An answer is decoded where it is awaited, not where it arrives: no Python code of a decoder runs while a pointer into
the receive buffer is held, and an answer that nobody awaits any more is never decoded.

`mark_own` marks an error where a call of this process raises it, and the mark travels with the object: kept, copied,
raised again, through `gather` and task groups. A new error that a handler raises from it has no mark.
`serving/failures.py` says what a mark means for the caller.
"""

import msgspec

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t

from fastrpc._core.calls.call cimport NO_DEADLINE, STATE_NEW
from fastrpc._core.framing.frame cimport IDEMPOTENT, ONE_WAY, OUTCOME_NOT_STARTED, PUSHBACK_NEVER, STREAM_IN, STREAM_OUT
from fastrpc._core.payload.metadata cimport METADATA_OK, check_metadata
from fastrpc._core.payload.parameter_names cimport answer_to_refusal
from fastrpc._core.base.status cimport (
    CANCELLED,
    DEADLINE_EXCEEDED,
    HIGHEST_STATUS,
    INVALID_ARGUMENT,
    OK,
    RESOURCE_EXHAUSTED,
    UNAVAILABLE,
    UNKNOWN,
)
from fastrpc._core.base.wire cimport now_ns

from fastrpc._core.base.histogram import count_unstarted
from fastrpc.errors import (
    CallError,
    ConnectError,
    ConnectionLostError,
    DeadlineExceededError,
    DecodeError,
    EncodeError,
    FastRPCError,
    OverloadedError,
    RemoteProtocolError,
    UnavailableError,
)
from fastrpc.status import Status

OUTCOMES = ("yes", "no", "unknown")

LOST_HINT = "where it may run twice declare it so, by @method(idempotent=True): then it can be tried again"
NAMES_HINT = (
    "call it by the class that the server has; a server keeps old names by @method(renamed={'old': 'new'})"
)
UNREADABLE_HINT = "check host and port, and that both sides speak the same version of the protocol"
OVERDUE_HINT = "give it more time with timeout=, in with_options() or @method, or see what keeps the server"


cdef class PendingCall(Call):
    """A call of ours under way. The session settles it exactly once."""

    cdef int settle(self) except -1:
        """Hook: the answer or the failure is there; wake who waits."""
        return 0

    cdef int message_came(self, Frame* frame, bytes payload, Py_ssize_t cost) except -1:
        """Hook: a message of its stream came, which took `cost` bytes of its window."""
        return 0

    cdef int head_came(self, bytes metadata) except -1:
        """Hook: the first metadata of its stream came."""
        return 0

    cdef int may_send(self) except -1:
        """Hook: all that it sent so far has left."""
        return 0

    cdef int answer_came(self, Frame* frame, bytes payload, uint64_t now) except -1:
        if self.is_settled:
            return 0
        # Settled is what has its outcome: should memory end on the way there, the call is still to be failed.
        if frame.status == 0:
            self.answer = payload
            self.answer_codec = frame.codec
            self.answer_compressor = frame.compressor
        else:
            self.failure = self._error_of(frame, payload)
            mark_own(self.failure)
        self.is_settled = True
        try:
            self.server_microseconds = frame.elapsed_us
            self.ended_ns = now
            if frame.status:
                self.count_outcome(frame.status)
            self.route.counters.moved(PyBytes_GET_SIZE(payload), 0)
            self.moved_bytes += PyBytes_GET_SIZE(payload)
            self.route.totals.received(PyBytes_GET_SIZE(payload))
        finally:
            self.settle()
        return 0

    cdef int failed(self, object error) except -1:
        if self.is_settled:
            return 0
        self.is_settled = True
        self._count(error.status, now_ns())
        if error.processed == "no" and not isinstance(error, EncodeError):
            # It ended here before it was sent; a message that cannot travel is its caller's own fault.
            count_unstarted(error.status)
        self.failure = error
        mark_own(error)
        return self.settle()

    cdef int _count(self, int status, uint64_t now) except -1:
        self.ended_ns = now
        return self.count_outcome(status)

    cdef int count_outcome(self, int status) except -1:
        """Count how the call ended, once. A count never falls, so this waits until that is known for good."""
        if self.is_counted:
            self.is_counted = False
            self.route.counters.ended(status, self.ended_ns - self.started_ns)
            self.route.totals.ended(status)
        return 0

    cdef int count_unread(self) except -1:
        """Count an answer that nobody read, as whoever waited was interrupted; called when the call goes."""
        # The collector may have taken its parts already.
        if self.is_settled and self.route is not None:
            if self.route.counters is not None and self.route.totals is not None:
                return self.count_outcome(0)
        return 0

    cdef int forget(self, int status=CANCELLED) except -1:
        """Nobody waits any more: what comes is not looked at."""
        if self.is_settled:
            # The answer came and is not read.
            return self.count_outcome(0)
        self.is_settled = True
        return self._count(status, now_ns())

    cdef object value(self):
        """Decode the answer, and count the call by what came of that."""
        cdef object value
        try:
            value = self._decoded()
        except DecodeError as error:
            self.count_outcome(error.status)
            raise
        self.count_outcome(0)
        return value

    def _count_undecoded(self, error):
        """Count a call as failed whose answer came, with status OK, and cannot be decoded."""
        self.count_outcome(error.status)

    cdef object _decoded(self):
        cdef bytes payload = self.answer
        if self.answer_compressor:
            compressor = self.compressor_of_answer()
            try:
                payload = compressor.decompress(payload, self.message_limit)
            except Exception as error:  # An installed compressor may raise anything.
                raise self._unpacking_failed(error)
        if self.answer_codec != self.route.marshal.codec_id:
            raise DecodeError(
                f"{self.route.method} answered in codec {self.numbers.codec_label(self.answer_codec)}, asked was codec "
                f"{self.route.marshal.coders.codec!r}"
            )
        return self.route.marshal.decode_result(payload)

    @property
    def _packed_answer(self):
        """The compressor and the payload of an answer that is not decompressed yet."""
        return self.compressor_of_answer(), self.answer

    def _take_unpacked(self, bytes payload not None):
        """Have the decompressed payload as the answer."""
        self.answer = payload
        self.answer_compressor = 0

    def _take_failure(self, error not None):
        """Have an error in place of the answer, which cannot be decompressed."""
        self.failure = error

    def _unpacking_failed(self, error):
        """Return the error of a decompression, saying whose answer it is about."""
        if not isinstance(error, DecodeError):
            return DecodeError(f"the answer of {self.route.method} cannot be decompressed: {error!r}")
        return DecodeError(f"the answer of {self.route.method}: {error.message}", status=error.status, hint=error.hint)

    cdef object compressor_of_answer(self):
        compressor = None if self.numbers is None else self.numbers.compressors.get(self.answer_compressor)
        if compressor is None:
            raise DecodeError(
                f"{self.route.method} answered with compressor number {self.answer_compressor}, unknown here"
            )
        return compressor

    cdef object _error_of(self, Frame* frame, bytes payload):
        """The error a RESPONSE with a status other than OK stands for."""
        cdef int status = frame.status if frame.status <= HIGHEST_STATUS else UNKNOWN
        cdef bint unstarted = frame.outcome == OUTCOME_NOT_STARTED
        cdef bint may_return = frame.pushback_ms != PUSHBACK_NEVER
        if unstarted:
            count_unstarted(status)
        text = frame.text[:frame.text_size].decode("utf-8", "replace")
        retry_after = frame.pushback_ms / 1000.0 if frame.pushback_ms and may_return else None
        if status == DEADLINE_EXCEEDED:
            hint = OVERDUE_HINT if not self.flags & (STREAM_IN | STREAM_OUT) or self._is_late() else None
            return DeadlineExceededError(text, processed="no" if unstarted else "unknown", hint=hint)
        if unstarted and status == UNAVAILABLE:
            error = UnavailableError(text, retry_after=retry_after, retryable=may_return)
        elif unstarted and status == RESOURCE_EXHAUSTED and may_return:
            error = OverloadedError(text, retry_after=retry_after)
        else:
            error = self._refusal_of(frame, payload, status, text, retry_after)
        error._was_received = True
        return error

    cdef bint _is_late(self) noexcept:
        """Return whether half of its time is over: a server ends streams for other waits as well."""
        cdef uint64_t began = self.started_ns
        return self.deadline_ns != NO_DEADLINE and now_ns() >= began + (self.deadline_ns - began) // 2

    cdef object _refusal_of(self, Frame* frame, bytes payload, int status, str text, object retry_after):
        """What the other side said on purpose, with its details."""
        details = hint = None
        if self.names and status == INVALID_ARGUMENT:
            own = answer_to_refusal(self.route.method, text, self.route.marshal.shape.names)
            if own is not None:
                text, hint = f"{text}{own}", NAMES_HINT
        if PyBytes_GET_SIZE(payload):
            details = payload
            if self.route.marshal.takes_details(payload, frame.codec):
                details = decode_details(payload, frame.codec)
        return CallError(
            Status(status),
            text,
            details=details,
            retry_after=retry_after,
            processed=OUTCOMES[frame.outcome],
            hint=hint,
        )

    # For interceptors and fail modes

    def _count_unsent(self, status):
        """Count a call that failed before an attempt could be made."""
        count_unstarted(status)
        self.route.counters.started()
        self.route.totals.started(False, 0)
        self.is_counted = True
        self._count(status, now_ns())

    def _note_outcome(self, status, error):
        """Keep what became of the call for the interceptors around it."""
        self.outcome_status = status
        self.outcome_error = error

    @property
    def status(self):
        """What became of it; set before an interceptor's `proceed` returns."""
        return self.outcome_status

    @property
    def error(self):
        """What it failed with, or None."""
        return self.outcome_error

    @property
    def cancelled(self):
        """Whether the caller gave it up or its time ran out."""
        return self.outcome_status in (CANCELLED, DEADLINE_EXCEEDED)

    @property
    def is_idempotent(self):
        """Whether the server may run it twice."""
        return bool(self.flags & IDEMPOTENT)

    @property
    def inside_retry(self):
        """Whether it is made by a handler that serves a retry: then it is not retried itself."""
        return bool(self.is_inside_retry)

    @property
    def _seconds(self):
        """How long the call took, or takes already."""
        # What ended before it began was an attempt: the call goes on.
        return seconds_between(self.started_ns, self.ended_ns if self.ended_ns > self.started_ns else now_ns())

    @property
    def _elapsed(self):
        """How long ago the call began, whatever its attempts came to."""
        return seconds_between(self.started_ns, now_ns())


cdef int mark_own(object error) except -1:
    """Note on an error that a call of ours raises it: a handler that lets it through did not mean its own caller."""
    if isinstance(error, FastRPCError):
        error._of_own_call = True
    return 0


cdef double seconds_between(uint64_t first, uint64_t last) noexcept:
    """The time from one instant to a later one; 0 where it is not later."""
    return <double>(last - min(first, last)) * 1e-9


cdef int check_request(Connection connection, Call call, bytes payload) except -1:
    """Raise EncodeError when the request is over our own limits, or its metadata over the peer's."""
    if <uint64_t>PyBytes_GET_SIZE(payload) > connection.ours.max_message:
        raise EncodeError(
            f"the arguments of {call.route.method} have {len(payload)} bytes, this client sends at most "
            f"{connection.ours.max_message}",
            hint="send it in pieces, as a stream, or raise Limits.message_bytes on both sides",
        )
    if connection.settled and <uint64_t>PyBytes_GET_SIZE(payload) > connection.peer.max_message:
        raise EncodeError(
            f"the arguments of {call.route.method} have {len(payload)} bytes, the server takes at most "
            f"{connection.peer.max_message}",
            hint="send it in pieces, as a stream, or raise Limits.message_bytes on the server",
        )
    if call.sent_metadata is not None and is_over(call.sent_metadata, connection.peer.max_metadata):
        # A call does not fail for the id of its request, which the program did not add.
        if call.request_entry is not None and call.sent_metadata.endswith(call.request_entry):
            call.sent_metadata = call.sent_metadata[:-len(call.request_entry)] or None
            if call.sent_metadata is None or not is_over(call.sent_metadata, connection.peer.max_metadata):
                return 0
        raise EncodeError(
            f"the metadata of {call.route.method} is over the {connection.peer.max_metadata} bytes the server takes",
            status=Status.RESOURCE_EXHAUSTED,
            hint="each entry counts key + value + 32; raise Limits.metadata_bytes on the server",
        )
    return 0


cdef bint is_over(bytes metadata, uint32_t limit) except -1:
    return check_metadata(PyBytes_AS_STRING(metadata), PyBytes_GET_SIZE(metadata), limit) != METADATA_OK


cdef int check_message(Connection connection, Call call, bytes payload) except -1:
    """Raise EncodeError when a message of a stream is over our own limit; what the peer takes is known to its sender."""
    if <uint64_t>PyBytes_GET_SIZE(payload) > connection.ours.max_message:
        raise EncodeError(
            f"a message to {call.route.method} has {len(payload)} bytes, this client sends at most "
            f"{connection.ours.max_message}",
            hint="raise Limits.message_bytes on both sides",
        )
    return 0


cdef int keep_early(Connection connection, PendingCall call, bytes payload) except -1:
    """Before the peer's SETTINGS: keep a request that is to be sent now, should they show that it came too early."""
    # Behind the REQUEST of a stream its messages may have left already.
    if not call.flags & (ONE_WAY | STREAM_IN) and <uint64_t>PyBytes_GET_SIZE(payload) <= connection.peer.max_message:
        call.early_request = payload
    return 0


cdef bint send_again(Connection connection, PendingCall call, Frame* frame) except -1:
    """Put a call back into the queue, once, that a limit refused which it could not know; False: take the answer.

    It is the same attempt: the server started nothing, and what it takes is known now.
    """
    cdef bytes payload = call.early_request
    call.early_request = None
    if frame.status != RESOURCE_EXHAUSTED or frame.outcome != OUTCOME_NOT_STARTED or frame.pushback_ms:
        return False
    if call.id >= connection.slots.early_until or connection.is_closed or connection.peer_drains:
        return False
    call.id = 0
    call.state = STATE_NEW
    call.handed_at = 0
    call.received_metadata = None
    try:
        check_request(connection, call, payload)
        connection.slots.send_request(call, payload)
    except EncodeError as error:
        connection.on_unsendable(call, error)
    return True


def decode_details(bytes payload, int codec):
    """Return the details of an error: a plain value, from JSON if the call is in JSON, else msgpack; or their bytes."""
    try:
        return msgspec.json.decode(payload) if codec == 2 else msgspec.msgpack.decode(payload)
    except (msgspec.DecodeError, RecursionError):
        return payload


cdef object unstarted_error(Connection connection, object endpoint, Call call):
    """What a call is told that the server did not start, as it said."""
    if connection.auth_status > OK:
        return refused_error(connection, endpoint, call)
    return UnavailableError(f"{call.route.method}: {endpoint} drains and did not start the call")


cdef object refused_error(Connection connection, object endpoint, Call call):
    """What a call is told that was not started, as the server refused our credential."""
    text = f"{call.route.method}: {endpoint} refused the credentials: {connection.auth_text}"
    if connection.auth_status == UNAVAILABLE:
        return UnavailableError(text)
    return CallError(Status(min(connection.auth_status, HIGHEST_STATUS)), text, processed="no")


cdef object lost_error(Connection connection, object endpoint, Call call, bint handed, str why):
    """What a call whose connection broke is told: "unknown" once its request was given to the transport."""
    processed, retryable = ("unknown", bool(call.flags & IDEMPOTENT)) if handed else ("no", True)
    doubt = "; the call may have run" if handed else " before the call was sent"
    if connection.auth_status > OK and not handed:
        return refused_error(connection, endpoint, call)
    if connection.is_unreadable:
        return ConnectError(f"{call.route.method}: {endpoint}: {why}; the call did not run", hint=UNREADABLE_HINT)
    if connection.is_violated():
        text = (
            f"{call.route.method}: the connection to {endpoint} was given up, as the server broke the protocol "
            f"({why}){doubt}"
        )
        return RemoteProtocolError(text, reason=connection.closed_reason, processed=processed, retryable=retryable)
    return ConnectionLostError(
        f"{call.route.method}: the connection to {endpoint} was lost ({why}){doubt}",
        processed=processed,
        retryable=retryable,
        hint=None if retryable else LOST_HINT,
    )


cdef object overdue_error(PendingCall call, object endpoint, bint handed):
    """What a call is told whose deadline passed here: "unknown" once its request was given to the transport."""
    text = f"{call.route.method}: no answer from {endpoint} within"
    seconds = seconds_between(call.started_ns, call.deadline_ns)
    if call.began_ns and call.attempt_number:
        text = f"{text} {seconds_between(call.began_ns, call.deadline_ns):.3g} s, the last {seconds:.3g} s in a retry"
    else:
        text = f"{text} {seconds:.3g} s"
    return DeadlineExceededError(
        text,
        processed="unknown" if handed else "no",
        hint=OVERDUE_HINT,
    )
