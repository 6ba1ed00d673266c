"""The errors that a call of ours ends with, and the checks of what it sends.

`mark_own` marks an error if a call of this process raises it, and the mark travels with the object: kept, copied,
raised again, through `gather` and task groups. A new error that a handler raises from it has no mark.
`handlers/failures.py` describes the effect of a mark for the caller.
"""

from cpython.bytes cimport PyBytes_GET_SIZE

from fastrpc._core.base.status cimport (
    DEADLINE_EXCEEDED,
    HIGHEST_STATUS,
    INVALID_ARGUMENT,
    RESOURCE_EXHAUSTED,
    UNAVAILABLE,
    UNKNOWN,
)
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport NO_DEADLINE
from fastrpc._core.payload.arguments cimport answer_to_refusal
from fastrpc._core.payload.metadata cimport is_too_large
from fastrpc._core.wire.frame cimport (
    IDEMPOTENT,
    OUTCOME_NOT_STARTED,
    OUTCOME_RAN,
    OUTCOME_UNKNOWN,
    PUSHBACK_NEVER,
    STREAM_IN,
    STREAM_OUT,
)

from fastrpc._core.base.histogram import count_unstarted
from fastrpc.errors import (
    CallError,
    ConnectError,
    ConnectionLostError,
    DeadlineExceededError,
    EncodeError,
    FastRPCError,
    OverloadedError,
    RemoteProtocolError,
    UnavailableError,
)
from fastrpc.first_use import registered
from fastrpc.status import Status

OUTCOMES = ("yes", "no", "unknown")

LOST_HINT = "where it may run twice declare it so, by @method(idempotent=True): then it can be tried again"
UNREADABLE_HINT = "check host and port, and that both sides speak the same version of the protocol"
NAMES_HINT = (
    "call it by the class that the server has; a server keeps old names by @method(renamed={'old': 'new'})"
)
OVERDUE_HINT = "give it more time with timeout=, in with_options() or @method, or see what keeps the server"
REOPEN_HINT = "open it again"
DEADLINE_HINT = "give it more time with timeout=, in with_options() or @method"
IDLE_HINT = "raise Timeouts.stream_idle, or have the server send a message now and then"
IDLE_SENDER_HINT = "raise Timeouts.stream_idle, or see what keeps the handler from reading its messages"


cdef int mark_own(object error) except -1:
    """Mark an error as raised by a call of ours: a handler that lets it pass did not mean it for its caller."""
    if isinstance(error, FastRPCError):
        error._of_own_call = True
    return 0


def mark_own_call(error):
    """Mark an error as raised by a call of this process, if it is an error of fastrpc."""
    mark_own(error)


cdef double seconds_between(uint64_t first, uint64_t last) noexcept:
    """Return the time from one instant to a later one; 0 if it is not later."""
    return <double>(last - min(first, last)) * 1e-9


cdef int check_request(CallingPart part, Call call, bytes payload) except -1:
    """Raise EncodeError when the request is over our own limits, or its metadata over the peer's."""
    if <uint64_t>PyBytes_GET_SIZE(payload) > part.most_bytes:
        raise EncodeError(
            f"the arguments of {call.route.method} have {len(payload)} bytes, this client sends at most "
            f"{part.most_bytes}",
            hint="send it in pieces, as a stream, or raise Limits.message_bytes on both sides",
        )
    if part.is_settled and <uint64_t>PyBytes_GET_SIZE(payload) > part.peer.max_message:
        raise EncodeError(
            f"the arguments of {call.route.method} have {len(payload)} bytes, the server takes at most "
            f"{part.peer.max_message}",
            hint="send it in pieces, as a stream, or raise Limits.message_bytes on the server",
        )
    if call.sent_metadata is not None and is_too_large(call.sent_metadata, part.peer.max_metadata):
        # The id of a request must not make its call fail, as the program did not add the id.
        if call.request_entry is not None and call.sent_metadata.endswith(call.request_entry):
            call.sent_metadata = call.sent_metadata[:-len(call.request_entry)] or None
            if call.sent_metadata is None or not is_too_large(call.sent_metadata, part.peer.max_metadata):
                return 0
        raise EncodeError(
            f"the metadata of {call.route.method} is over the {part.peer.max_metadata} bytes the server takes",
            status=Status.RESOURCE_EXHAUSTED,
            hint="each entry counts key + value + 32; raise Limits.metadata_bytes on the server",
        )
    return 0


cdef int check_message(CallingPart part, Call call, bytes payload) except -1:
    """Raise EncodeError for a stream message above our own limit; its sender knows the peer's limit."""
    if <uint64_t>PyBytes_GET_SIZE(payload) > part.most_bytes:
        raise EncodeError(
            f"a message to {call.route.method} has {len(payload)} bytes, this client sends at most "
            f"{part.most_bytes}",
            hint="raise Limits.message_bytes on both sides",
        )
    return 0


cdef object error_of_answer(Call call, bint peer_leaves, Frame* frame, bytes payload):
    """Return the error for an answer with a status other than OK."""
    cdef int status = frame.status if frame.status <= HIGHEST_STATUS else UNKNOWN
    cdef bint unstarted = frame.outcome == OUTCOME_NOT_STARTED
    cdef bint is_stream = call.flags & (STREAM_IN | STREAM_OUT)
    cdef bint may_return = frame.pushback_ms != PUSHBACK_NEVER
    text = frame.text[:frame.text_size].decode("utf-8", "replace")
    if unstarted:
        count_unstarted(status)
    retry_after = frame.pushback_ms / 1000.0 if frame.pushback_ms and may_return else None
    if is_stream and status == UNAVAILABLE and frame.outcome == OUTCOME_RAN and peer_leaves:
        error = UnavailableError(text, processed="yes", retryable=bool(call.flags & IDEMPOTENT), hint=REOPEN_HINT)
    elif status == DEADLINE_EXCEEDED:
        error = DeadlineExceededError(
            text,
            processed="no" if unstarted else "unknown",
            retryable=retry_after is not None,
            hint=OVERDUE_HINT if not is_stream or is_late(call) else None,
        )
        error.retry_after = retry_after
    elif unstarted and status == UNAVAILABLE:
        error = UnavailableError(text, retry_after=retry_after, retryable=may_return)
    elif unstarted and status == RESOURCE_EXHAUSTED and may_return:
        error = OverloadedError(text, retry_after=retry_after)
    elif status == UNAVAILABLE and frame.outcome == OUTCOME_UNKNOWN and may_return:
        # The answer of a relay, a proxy or a server had no details, as after a lost connection.
        error = UnavailableError(
            text, processed="unknown", retryable=bool(call.flags & IDEMPOTENT), retry_after=retry_after
        )
    else:
        error = refusal_of(call, frame, status, text, retry_after)
    if PyBytes_GET_SIZE(payload):
        give_details(error, call, frame.codec, payload)
    if status != DEADLINE_EXCEEDED:
        error._was_received = True
    return error


cdef int hint_at_token(object error, object options, bytes metadata) except -1:
    """Add a hint to the error of a call that was refused as unauthenticated: the client shows no token.

    `options` are the options of the call's view, or None. A call with a token in its metadata shows its own credential.
    """
    if error is None or error.status is not Status.UNAUTHENTICATED or error.processed == "yes" or options is None:
        return 0
    if metadata is None or b"authorization" not in metadata:
        error.hint = options.shared.token_hint
    return 0


cdef int give_details(object error, Call call, int codec, bytes payload) except -1:
    """Give an error the details that the other side sent, whatever its class."""
    if codec == STATUS_DETAILS:
        error._details_as_sent = payload
        error.details = registered("client", "decode_details")(payload)
    elif call.route.marshal.takes_details(payload, codec):
        error.details = decode_details(payload, codec)
    else:
        error.details = payload
    return 0


cdef bint is_late(Call call) noexcept:
    """Return whether half of the call's time is over: a server ends streams for other waits as well."""
    cdef uint64_t began = call.started_ns
    return call.deadline_ns != NO_DEADLINE and now_ns() >= began + (call.deadline_ns - began) // 2


cdef object refusal_of(Call call, Frame* frame, int status, str text, object retry_after):
    """Return the error that the other side's answer states."""
    hint = None
    if call.names and status == INVALID_ARGUMENT:
        own = answer_to_refusal(call.route.method, text, call.route.marshal.shape.names)
        if own is not None:
            text, hint = f"{text}{own}", NAMES_HINT
    return CallError(Status(status), text, retry_after=retry_after, processed=OUTCOMES[frame.outcome], hint=hint)


def decode_details(bytes payload, int codec):
    """Return the details of an error: a plain value, from JSON if the call is in JSON, else msgpack; or their bytes."""
    import msgspec  # On first use: a client that makes no call does not load it.

    try:
        return msgspec.json.decode(payload) if codec == 2 else msgspec.msgpack.decode(payload)
    except (msgspec.DecodeError, RecursionError):
        return payload


cdef object unstarted_error(object endpoint, Call call):
    """Return the error of a call that the server reports as not started."""
    return UnavailableError(f"{call.route.method}: {endpoint} drains and did not start the call")


cdef object unreadable_error(object endpoint, Call call, str why):
    """Return the error of a call to a server that does not speak our protocol."""
    return ConnectError(f"{call.route.method}: {endpoint}: {why}; the call did not run", hint=UNREADABLE_HINT)


cdef object violation_error(object endpoint, Call call, bint handed, str why, int reason):
    """Return the error of a call whose connection ended because the server broke the protocol.

    `reason` is a reason of GOAWAY."""
    processed, retryable, doubt = outcome_of_loss(call, handed)
    return RemoteProtocolError(
        f"{call.route.method}: the connection to {endpoint} was given up, as the server broke the protocol ({why}){doubt}",
        reason=reason,
        processed=processed,
        retryable=retryable,
    )


cdef object lost_error(object endpoint, Call call, bint handed, str why):
    """Return the error of a call whose connection broke. `processed` is "unknown" once the transport has the request."""
    processed, retryable, doubt = outcome_of_loss(call, handed)
    return ConnectionLostError(
        f"{call.route.method}: the connection to {endpoint} was lost ({why}){doubt}",
        processed=processed,
        retryable=retryable,
        hint=None if retryable else LOST_HINT,
    )


cdef tuple outcome_of_loss(Call call, bint handed):
    """Return whether a call on a broken connection ran, whether it may be retried, and the text of its error."""
    if handed:
        return "unknown", bool(call.flags & IDEMPOTENT), "; the call may have run"
    return "no", True, " before the call was sent"


cdef object overdue_error(Call call, object endpoint, bint handed, uint64_t began_ns):
    """Return the error of a deadline that passed here. `processed` is "unknown" once the transport has the request.

    `began_ns` is the start of the call if this is one of its attempts, else 0.
    """
    text = f"{call.route.method}: no answer from {endpoint} within"
    seconds = seconds_between(call.started_ns, call.deadline_ns)
    if began_ns and call.attempt_number:
        text = f"{text} {seconds_between(began_ns, call.deadline_ns):.3g} s, the last {seconds:.3g} s in a retry"
    else:
        text = f"{text} {seconds:.3g} s"
    return DeadlineExceededError(text, processed="unknown" if handed else "no", hint=OVERDUE_HINT)


cdef object overdue_stream_error(Call call, object endpoint, bint handed, uint64_t began_ns):
    """Return the error of a stream whose deadline passed here."""
    return DeadlineExceededError(
        f"{call.route.method}: the stream from {endpoint} did not end within "
        f"{seconds_between(began_ns or call.started_ns, call.deadline_ns):.3g} s",
        processed="unknown" if handed else "no",
        hint=DEADLINE_HINT,
    )


cdef object idle_error(str method, uint64_t idle_ns, bint sends):
    """Return the error of a stream that waited too long, for a message or to send one."""
    seconds = f"{idle_ns * 1e-9:.3g} s (Timeouts.stream_idle)"
    if sends:
        return DeadlineExceededError(
            f"{method}: nothing could be sent for {seconds}: the server takes no messages", hint=IDLE_SENDER_HINT
        )
    return DeadlineExceededError(f"{method}: no message within {seconds}", hint=IDLE_HINT)
