"""The half of a client's connection that receives answers: from the head of a stream to the end of its call.

::

    on_head ──► AnswerHead ──► on_data ──► messages ──► message_came          of a call with a stream of answers
                                              └──────► kept until on_trailers ──► AnswerEnd ──► answer_came, failed
    on_reset, a broken rule, a faulty answer ────────────────────────────────────────────────► answer_came, failed

    :status 200, content-type application/grpc, grpc-encoding, metadata ──► AnswerHead
    grpc-status, grpc-message, grpc-status-details-bin, metadata ─────────► AnswerEnd      also as the only block

This half is the handler of an HTTP/2 connection. The `user` of a stream is the answer to its call. A call whose deadline
has passed ends with DEADLINE_EXCEEDED, whatever error arrives. The other half, `asking_connection`, opens the streams.

The trailer `frpc-outcome` of our own servers says whether the handler ran. With other servers the handler counts as run,
except for statuses with which servers and proxies also refuse calls. gRPC maps the status of a plain HTTP answer to a
Status. The interpreted head or end is kept in the header block (`HeaderBlock.note`), so equal blocks are interpreted once.
"""

import logging

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from fastrpc._core.base.big_endian cimport load32_big
from fastrpc._core.base.buffer cimport Assembly, copied
from fastrpc._core.base.status cimport INTERNAL, RESOURCE_EXHAUSTED, UNAUTHENTICATED, UNAVAILABLE, UNIMPLEMENTED
from fastrpc._core.base.status cimport UNKNOWN
from fastrpc._core.calls.call cimport NO_DEADLINE
from fastrpc._core.client.call_errors cimport STATUS_DETAILS
from fastrpc._core.client.client_stream cimport ClientStream
from fastrpc._core.grpc.fields cimport ENCODING_IDENTITY, ENCODING_UNKNOWN, MESSAGE_TOO_LARGE, PREFIX_BYTES
from fastrpc._core.grpc.fields cimport binary_value, encoding_number, message_text, metadata_of, status_of
from fastrpc._core.grpc.fields cimport status_of_http, status_of_reset
from fastrpc._core.http2.frames cimport CODE_CANCEL, CODE_NONE, CODE_REFUSED_STREAM, Violation, violation_text
from fastrpc._core.http2.header_block cimport (
    TOKEN_CONTENT_TYPE, TOKEN_GRPC_ENCODING, TOKEN_GRPC_MESSAGE, TOKEN_GRPC_PUSHBACK, TOKEN_GRPC_STATUS,
    TOKEN_GRPC_STATUS_DETAILS, TOKEN_OUTCOME, TOKEN_STATUS, HeaderBlock, HeaderField,
)
from fastrpc._core.http2.stream_table cimport FlowControl
from fastrpc._core.native.send_queue cimport SMALL_MESSAGE
from fastrpc._core.payload.metadata cimport join_answer, note_dropped
from fastrpc._core.wire.frame cimport MESSAGE_LIMIT, OUTCOME_NOT_STARTED, OUTCOME_RAN, OUTCOME_UNKNOWN
from fastrpc._core.wire.frame cimport PUSHBACK_NEVER, STREAM_OUT, Frame

from fastrpc.errors import CallError
from fastrpc.status import Status

# The longest pause before a retry, in milliseconds: some 46 days. A longer one is cut to this.
cdef object LONGEST_PAUSE = 4_000_000_000

cdef bytes GRPC_TYPE = b"application/grpc"

logger = logging.getLogger("fastrpc.client")

cdef enum:
    # A server may end a call this much before our deadline, as the timeout it got was rounded down.
    EARLY_NS = 2_000_000
    # The most bytes of text that are kept of a plain HTTP answer.
    LONGEST_TEXT = 1_024


@cython.final
cdef class AnswerHead:
    """The head of an answer."""


@cython.final
cdef class AnswerEnd:
    """The end of an answer: its status, and the metadata of its trailers."""

    cdef:
        # As in a RESPONSE: the status, its text in UTF-8, whether the handler ran (Outcome), the pause before a retry.
        int status
        bytes text
        int outcome
        uint32_t pushback_ms

        # grpc-status-details-bin, b"" if missing; the native metadata of the trailers, or None.
        bytes details
        bytes metadata

    cdef int fill(self, Frame* frame) noexcept:
        """Fill the frame of an answer without messages; its pointers are valid while this object lives."""
        memset(frame, 0, sizeof(Frame))
        frame.codec = STATUS_DETAILS
        frame.status = <uint16_t>self.status
        frame.outcome = <uint8_t>self.outcome
        frame.pushback_ms = self.pushback_ms
        # The pointer is valid: this object holds the bytes.
        frame.text = PyBytes_AS_STRING(self.text)
        frame.text_size = PyBytes_GET_SIZE(self.text)
        return 0


@cython.final
@cython.freelist(64)
cdef class GrpcAnswer:
    """The answer to a call, as far as received."""


cdef bint is_of_grpc(HeaderBlock block) except -1:
    """Return whether a head belongs to gRPC; without a content-type a grpc-status is enough, as some servers send it."""
    cdef HeaderField found = block.field(TOKEN_STATUS)
    if found is None or found.value != b"200":
        return False
    found = block.field(TOKEN_CONTENT_TYPE)
    if found is None:
        return block.field(TOKEN_GRPC_STATUS) is not None
    return found.value.startswith(GRPC_TYPE) and found.value[len(GRPC_TYPE):len(GRPC_TYPE) + 1] in b"+;"


cdef AnswerHead head_of(HeaderBlock block, list dropped):
    """Return the meaning of a head; names of omitted metadata are added to `dropped`."""
    cdef AnswerHead head
    cdef HeaderField encoding
    if type(block.note) is AnswerHead:
        return <AnswerHead>block.note
    head = AnswerHead.__new__(AnswerHead)
    head.is_grpc = is_of_grpc(block)
    head.http_status = (<HeaderField>block.field(TOKEN_STATUS)).value
    encoding = block.field(TOKEN_GRPC_ENCODING)
    if encoding is not None:
        head.encoding = encoding.value
        head.compressor = encoding_number(encoding.value, ENCODING_UNKNOWN)
    head.metadata = metadata_of(block, dropped)
    block.note = head
    return head


cdef AnswerEnd end_of(HeaderBlock block, list dropped):
    """Return the meaning of trailers, in the same way."""
    cdef AnswerEnd end
    cdef HeaderField status, found
    if type(block.note) is AnswerEnd:
        return <AnswerEnd>block.note
    status = block.field(TOKEN_GRPC_STATUS)
    if status is None:
        return http_end(block)
    end = AnswerEnd.__new__(AnswerEnd)
    end.status = status_of(status.value)
    found = block.field(TOKEN_GRPC_MESSAGE)
    end.text = b"" if found is None else message_text(found.value).encode()[:MESSAGE_LIMIT]
    found = block.field(TOKEN_OUTCOME)
    end.outcome = outcome_of(end.status) if found is None else stated_outcome(found.value)
    found = block.field(TOKEN_GRPC_PUSHBACK)
    end.pushback_ms = 0 if found is None else pause_of(found.value)
    found = block.field(TOKEN_GRPC_STATUS_DETAILS)
    end.details = b"" if found is None else binary_value(found.value) or b""
    end.metadata = metadata_of(block, dropped)
    block.note = end
    return end


cdef AnswerEnd http_end(HeaderBlock block):
    """Return the end of an answer without grpc-status: from trailers, or from a head that is the whole answer."""
    cdef HeaderField status = block.field(TOKEN_STATUS)
    if status is None or (status.value == b"200" and is_of_grpc(block)):
        return new_end(status_of_http(b"200"), OUTCOME_UNKNOWN, "the server ended the answer without a status")
    return refused_by_http(status.value, b"")


cdef AnswerEnd refused_by_http(bytes status, bytes body):
    """Return the end of a plain HTTP answer."""
    text = body.decode("utf-8", "replace").strip()
    end = f": {text}" if text else ""
    return new_end(
        status_of_http(status), OUTCOME_UNKNOWN, f"the server answered by HTTP alone, with status {status.decode()}{end}"
    )


cdef AnswerEnd new_end(int status, int outcome, str text):
    """Make the end of an answer without a status."""
    cdef AnswerEnd end = AnswerEnd.__new__(AnswerEnd)
    end.status = status
    end.outcome = outcome
    end.text = text.encode("utf-8", "replace")
    end.details = b""
    return end


cdef int outcome_of(int status) noexcept:
    """Return the outcome by the status alone, for a server that is not ours: whether its handler ran."""
    return OUTCOME_UNKNOWN if status == UNAVAILABLE or status == RESOURCE_EXHAUSTED else OUTCOME_RAN


cdef int stated_outcome(bytes value) except -1:
    """Return the outcome that one of our servers states in `frpc-outcome`."""
    if value == b"1":
        return OUTCOME_NOT_STARTED
    return OUTCOME_RAN if value == b"0" else OUTCOME_UNKNOWN


cdef uint32_t pause_of(bytes value) except? 1:
    """Return grpc-retry-pushback-ms as the pause of a native RESPONSE; a negative or malformed number forbids a retry."""
    if not value.isdigit():
        return PUSHBACK_NEVER
    # At least 1, as 0 in a RESPONSE means that no pause is stated.
    return max(1, min(int(value), LONGEST_PAUSE)) if len(value) < 12 else LONGEST_PAUSE


cdef class AnsweredConnection(StreamHandler):
    """The half of a client's connection that receives answers."""

    cdef int call_over(self, ClientCall call) except -1:
        """Hook: a call ended on this side."""
        raise NotImplementedError

    cdef int on_unauthenticated(self) except -1:
        """Hook: the server refused the credential of a call."""
        return 0

    cdef int on_head(self, Http2Stream stream, HeaderBlock block, bint ends_stream) except -1:
        cdef GrpcAnswer answer = <GrpcAnswer>stream.user
        if answer.call is None:
            return 0
        if block.is_too_large:
            return _end_locally(self, stream, RESOURCE_EXHAUSTED, _metadata_text(self))
        if ends_stream:
            return _finish(self, stream, end_of(block, self._left_out()))
        answer.head = head_of(block, self._left_out())
        if answer.head.compressor == ENCODING_UNKNOWN:
            text = f"the answer is compressed by {answer.head.encoding!r:.50}, which is unknown here"
            return _end_locally(self, stream, INTERNAL, text)
        if answer.head.is_grpc and answer.call.flags & STREAM_OUT:
            return answer.call.head_came(answer.head.metadata or b"")
        return 0

    cdef int on_data(self, Http2Stream stream, const char* data, Py_ssize_t size, bint ends_stream) except -1:
        cdef GrpcAnswer answer = <GrpcAnswer>stream.user
        if answer.call is None:
            return 0
        if not answer.head.is_grpc:
            _take_text(self, stream, data, size)
        elif (
            answer.reader is None and answer.message is None and size >= PREFIX_BYTES and data[0] == 0
            and <Py_ssize_t>load32_big(data + 1) == size - PREFIX_BYTES <= self.message_bytes
        ):
            # The usual case: one whole message.
            _take_message(self, stream, answer, copied(data + PREFIX_BYTES, size - PREFIX_BYTES), False)
        else:
            _take_parts(self, stream, data, size)
        return _finish(self, stream, end_without_status(answer)) if ends_stream and answer.call is not None else 0

    cdef int grant_rest(self, Http2Stream stream, bint is_awaited) except -1:
        cdef GrpcAnswer answer = <GrpcAnswer>stream.user
        if answer is None or answer.call is None or answer.reader is None or not answer.reader.is_inside():
            return 0
        return _open_window(self, stream, answer, is_awaited)

    cdef Assembly sink_for(self, Http2Stream stream):
        cdef GrpcAnswer answer = <GrpcAnswer>stream.user
        return None if answer.call is None or answer.reader is None else answer.reader.assembly

    cdef int on_placed(self, Http2Stream stream, Py_ssize_t size, bint ends_stream) except -1:
        cdef GrpcAnswer answer = <GrpcAnswer>stream.user
        cdef bytes message
        if answer.call is None:
            # The call was cancelled while its bytes were received, and its stream was not reset (`give_up`).
            return 0
        message = answer.reader.finish()
        if message is not None:
            _take_message(self, stream, answer, message, answer.reader.is_compressed)
        return _finish(self, stream, end_without_status(answer)) if ends_stream and answer.call is not None else 0

    cdef int on_trailers(self, Http2Stream stream, HeaderBlock block) except -1:
        cdef GrpcAnswer answer = <GrpcAnswer>stream.user
        if answer.call is None:
            return 0
        if block.is_too_large:
            return _end_locally(self, stream, RESOURCE_EXHAUSTED, _metadata_text(self))
        if not answer.head.is_grpc:
            return _finish(self, stream, end_without_status(answer))
        return _finish(self, stream, end_of(block, self._left_out()))

    cdef int on_reset(self, Http2Stream stream, uint32_t code) except -1:
        cdef GrpcAnswer answer = <GrpcAnswer>stream.user
        cdef ClientCall call = answer.call
        cdef AnswerEnd end
        if call is None:
            return 0
        if code == CODE_CANCEL and _is_late(self, call, EARLY_NS):
            answer.call = None
            return self.fail(call, call.overdue(self.http2.engine(), True))
        if code == CODE_REFUSED_STREAM and answer.head is None:
            end = new_end(UNAVAILABLE, OUTCOME_NOT_STARTED, "the server refused the stream")
        else:
            end = new_end(status_of_reset(code), OUTCOME_UNKNOWN, f"the server reset the stream, with code {code}")
        return _finish(self, stream, end)

    cdef int on_stream_violation(self, Http2Stream stream, const Violation* violation) except -1:
        return _end_locally(self, stream, INTERNAL, f"the server broke the protocol: {violation_text(violation)}")

    cdef int fail(self, ClientCall call, object error) except -1:
        self.call_over(call)
        self.http2.engine().woke = True
        return call.failed(error)

    cdef int on_sendable(self, Http2Stream stream) except -1:
        cdef GrpcAnswer answer = <GrpcAnswer>stream.user
        return 0 if answer.call is None else answer.call.may_send()

    cdef list _left_out(self):
        """Return the list to add names of omitted metadata to; the names added before are counted now."""
        cdef list dropped = self.left_out
        if dropped:
            self.left_out = []
            note_dropped(dropped, "grpc", logger, self.has_told_dropped)
            self.has_told_dropped = True
        return self.left_out


@cython.nonecheck(False)
cdef bint _take_message(
    AnsweredConnection connection, Http2Stream stream, GrpcAnswer answer, bytes message, bint is_compressed
) except -1:
    """Take a whole message; return whether more of the answer is expected."""
    cdef Frame frame
    cdef ClientCall call = answer.call
    cdef Py_ssize_t size = PyBytes_GET_SIZE(message)
    connection.http2.trusted = max(connection.http2.trusted, size)
    if is_compressed and answer.head.compressor == ENCODING_IDENTITY:
        _end_locally(connection, stream, INTERNAL, "a message of the answer is compressed, and its head names no compressor")
        return False
    if call.flags & STREAM_OUT:
        fill_message(&frame, call, answer.head.compressor if is_compressed else 0)
        if size <= SMALL_MESSAGE:
            connection.http2.engine().woke = True
        call.message_came(&frame, message, size + PREFIX_BYTES)
        return answer.call is not None
    if answer.message is not None:
        _end_locally(connection, stream, UNIMPLEMENTED, "the server sent two messages where one belongs")
        return False
    answer.message = message
    answer.is_compressed = is_compressed
    return True


@cython.nonecheck(False)
cdef int _finish(AnsweredConnection connection, Http2Stream stream, AnswerEnd end) except -1:
    """End a call with its answer. A server that ended the stream first accepts no more messages."""
    cdef Frame frame
    cdef GrpcAnswer answer = <GrpcAnswer>stream.user
    cdef ClientCall call = answer.call
    cdef bytes metadata = end.metadata
    if end.status == 0 and not _is_whole(connection, stream, answer):
        return 0
    answer.call = None
    connection.call_over(call)
    if not call.flags & STREAM_OUT and answer.head is not None:
        metadata = join_answer(answer.head.metadata, metadata)
    if metadata is not None:
        call.received_metadata = metadata
    connection.http2.engine().woke = True
    end.fill(&frame)
    if end.status == 0:
        fill_message(&frame, call, answer.head.compressor if answer.is_compressed else 0)
        call.answer_came(&frame, answer.message or b"", connection.http2.instant())
    elif _is_late(connection, call, 0):
        call.failed(call.overdue(connection.http2.engine(), True))
    else:
        call.answer_came(&frame, end.details, connection.http2.instant())
        if end.status == UNAUTHENTICATED:
            connection.on_unauthenticated()
    return connection.http2.reset(stream, CODE_NONE if stream.is_ended_by_peer else CODE_CANCEL)


@cython.nonecheck(False)
cdef bint _is_whole(AnsweredConnection connection, Http2Stream stream, GrpcAnswer answer) except -1:
    """Return whether an answer with status OK has its messages; if not, its call ends with an error."""
    if answer.reader is not None and answer.reader.is_inside():
        _end_locally(connection, stream, INTERNAL, "the answer ends inside a message")
        return False
    if answer.message is None and not answer.call.flags & STREAM_OUT:
        _end_locally(connection, stream, UNIMPLEMENTED, "the server sent no message where one belongs")
        return False
    return True


cdef int _take_text(AnsweredConnection connection, Http2Stream stream, const char* data, Py_ssize_t size) except -1:
    """Keep the text of a plain HTTP answer; bytes beyond a limit are ignored."""
    cdef GrpcAnswer answer = <GrpcAnswer>stream.user
    answer.text = ((answer.text or b"") + data[:min(size, <Py_ssize_t>LONGEST_TEXT)])[:LONGEST_TEXT]
    if size and PyBytes_GET_SIZE(answer.text) == LONGEST_TEXT:
        return _finish(connection, stream, end_without_status(answer))
    return connection.http2.took(stream, size)


cdef int _take_parts(AnsweredConnection connection, Http2Stream stream, const char* data, Py_ssize_t size) except -1:
    """Cut DATA into messages."""
    cdef GrpcAnswer answer = <GrpcAnswer>stream.user
    cdef bytes message
    if answer.reader is None:
        answer.reader = MessageReader(connection.message_bytes)
    while size:
        message = answer.reader.read(&data, &size, connection.http2.trusted)
        if message is None:
            break
        if not _take_message(connection, stream, answer, message, answer.reader.is_compressed):
            return 0
    if answer.reader.problem == MESSAGE_TOO_LARGE:
        text = f"the answer has {answer.reader.total} bytes, this client takes {connection.message_bytes}"
        return _end_locally(connection, stream, RESOURCE_EXHAUSTED, f"{text} (Limits.message_bytes)")
    if answer.reader.problem:
        return _end_locally(connection, stream, INTERNAL, "a message of the answer has flags that gRPC does not know")
    return _open_window(connection, stream, answer, False)


cdef int _open_window(AnsweredConnection connection, Http2Stream stream, GrpcAnswer answer, bint is_awaited) except -1:
    """Let the rest of a long message arrive at once, beyond the window of its stream, as far as the pool has room.

    A unary answer waits at most for other answers, not for the reader of a stream: it overtakes messages of
    streams, and one unary answer may always arrive. A message for which a reader waits may arrive, too, whatever is
    held for streams that are read later.
    """
    cdef FlowControl flow = connection.http2.incoming.flow
    cdef int64_t size = answer.reader.missing() - connection.http2.incoming.to_come(stream)
    cdef bint is_answer = not answer.call.flags & STREAM_OUT
    if size <= 0:
        return 0
    if flow.granted and not flow.has_room(stream, size, is_answer):
        if not is_answer:
            if not (is_awaited or has_reader(answer.call)):
                return flow.await_room(stream, False)
        elif connection.unpooled is None or not connection.unpooled.is_known:
            connection.unpooled = stream
        else:
            return flow.await_room(stream, True)
    flow.borrow(stream, size)
    return connection.http2.grant(stream, size)


cdef int _end_locally(AnsweredConnection connection, Http2Stream stream, int status, str text) except -1:
    """End a call for a fault of its answer: the server is notified, and its handler may have run."""
    cdef GrpcAnswer answer = <GrpcAnswer>stream.user
    cdef ClientCall call = answer.call
    if call is None:
        return 0
    answer.call = None
    if _is_late(connection, call, 0):
        connection.fail(call, call.overdue(connection.http2.engine(), True))
    else:
        connection.fail(call, CallError(Status(status), f"{call.route.method}: {text}", processed="yes"))
    return connection.http2.reset(stream, CODE_CANCEL)


cdef str _metadata_text(AnsweredConnection connection):
    cdef Py_ssize_t most = connection.http2.incoming.decoder.list_limit
    return f"the metadata of the answer is over our {most} bytes (Limits.metadata_bytes)"


cdef bint _is_late(AnsweredConnection connection, ClientCall call, uint64_t early_ns) noexcept:
    """Return whether the deadline of a call has passed, or will pass within `early_ns`."""
    return call.deadline_ns != NO_DEADLINE and connection.http2.instant() + early_ns >= call.deadline_ns


cdef bint has_reader(ClientCall call) noexcept:
    """Return whether the reader of a stream waits for the next message of this attempt."""
    # The stream exists as long as the pointer is not NULL.
    return call.streaming.stream is not NULL and (<ClientStream>call.streaming.stream).awaits_message()


cdef AnswerEnd end_without_status(GrpcAnswer answer):
    """Return the end of an answer without trailers, or of a plain HTTP answer with any trailers."""
    if answer.head.is_grpc:
        return new_end(UNKNOWN, OUTCOME_UNKNOWN, "the server ended the answer without a status")
    return refused_by_http(answer.head.http_status, answer.text or b"")


cdef int fill_message(Frame* frame, ClientCall call, int compressor) noexcept:
    """Fill the frame of an answer's message."""
    memset(frame, 0, sizeof(Frame))
    frame.codec = <uint8_t>call.route.marshal.codec_id
    frame.compressor = <uint8_t>compressor
    return 0
