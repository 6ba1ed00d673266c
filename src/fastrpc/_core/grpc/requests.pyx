"""The requests of one connection: heads and DATA become calls.

::

    HEADERS ──► GrpcHead ──► a stream of messages: Gate.pass_known ──► DATA ──► messages ──► ServedStream
                        └──► one message: DATA ──► message, and the end ──► Gate.pass_known
                        └──► a page: Http2Pages.head
    RST_STREAM ──► Gate.cancel

A request that does not end with its first DATA is listed in `IncompleteRequests` until it is complete.
"""

import logging
from types import SimpleNamespace

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.ref cimport Py_REFCNT
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memset

from fastrpc._core.base.big_endian cimport load32_big
from fastrpc._core.base.buffer cimport Assembly, copied
from fastrpc._core.base.codec_numbers cimport CODEC_JSON, CODEC_PROTOBUF, CODEC_RAW
from fastrpc._core.base.status cimport CANCELLED, RESOURCE_EXHAUSTED
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport ROUTE_WITHDRAWN, STATE_CANCELLED, STATE_GONE, MethodRoute
from fastrpc._core.exchange.request_watch cimport watch_refusal
from fastrpc._core.grpc.fields cimport ENCODING_IDENTITY, ENCODING_UNKNOWN, MESSAGE_TOO_LARGE, PREFIX_BYTES
from fastrpc._core.grpc.fields cimport MessageReader
from fastrpc._core.grpc.grpc_call cimport (
    FAULT_CUT, FAULT_ENCODING, FAULT_FLAGS, FAULT_FORM, FAULT_MESSAGES, FAULT_NO_MESSAGE, FAULT_TEXT, FAULT_TOO_LARGE,
    GrpcHead, admit, fault_of, head_of, let_in,
)
from fastrpc._core.http2.frames cimport CODE_REFUSED_STREAM, Violation
from fastrpc._core.http2.header_block cimport HeaderBlock, HeaderField
from fastrpc._core.http2.stream_table cimport Http2Stream
from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.payload.metadata cimport note_dropped
from fastrpc._core.server.engine_served_connection cimport SENDER_REFUSED
from fastrpc._core.server.intake cimport Intake
from fastrpc._core.server.link cimport Link
from fastrpc._core.server.served_call cimport take_client
from fastrpc._core.server.served_connection cimport ServedConnection, process_held
from fastrpc._core.server.served_stream cimport ServedStream
from fastrpc._core.server.stopped_handlers cimport cancel_in_read
from fastrpc._core.streams.stream_channel cimport StreamChannel
from fastrpc._core.wire.frame cimport REASON_PROTOCOL, STREAM_IN, STREAM_OUT, Frame

from fastrpc.errors import CallError

cdef enum:
    # Messages up to this size may wake their reader in this turn of the event loop; longer ones in a later turn.
    SMALL_MESSAGE = 16_384

# A protobuf message without fields, as JSON.
cdef bytes EMPTY_OBJECT = b"{}"

# The `web` of a request that is not a call, if it is refused before it has an exchange.
cdef object PAGE = SimpleNamespace(protocol="http")

logger = logging.getLogger("fastrpc.server")


@cython.final
cdef class GrpcRequests(StreamHandler):
    """The requests of one connection."""

    cdef int join(self, PyObject* link) except -1:
        self.link = link
        self.connection = self.outcomes.connection = self.incomplete.connection = (<Link>link).connection
        return 0

    # From a head to its call

    cdef int on_head(self, Http2Stream stream, HeaderBlock block, bint ends_stream) except -1:
        cdef GrpcHead head = head_of(block, self.gate.metadata_bytes)
        cdef GrpcCall call
        self.list_latest()
        if self.pages is not None and self.web is None and _is_page(self, head, block) and not (
            (<Link>self.link).intake.is_crowded()
        ):
            # A page needs no GrpcCall.
            stream.keeps_credit = not self.http2.has_known_peer
            return self.pages.head(stream, block, ends_stream)
        call = _new_call(self, stream, head)
        if self.web is not None and (head.http_status or block.is_too_large):
            call.web = self.web.find(call, block, self.pages is not None)
            if call.web is not None:
                (<GrpcHead>call.web.grpc_head).is_head = head.is_head
                call.head = head = call.web.grpc_head
        if self.pages is not None and _takes_page(self, call, block, ends_stream):
            return 0
        if self.proxies is not None and not _takes_client(self, call, block):
            return 0
        return _begin(self, call, head, ends_stream)

    cdef int on_refused(self, uint32_t id, HeaderBlock block) except -1:
        """Count a stream that was refused for MAX_CONCURRENT_STREAMS."""
        cdef GrpcHead head = head_of(block, self.gate.metadata_bytes)
        cdef GrpcCall call = GrpcCall.__new__(GrpcCall)
        call.connection = self.connection
        call.groups = self.connection.groups
        call.started_ns = self.http2.instant()
        call.head = head
        call.route = self.gate.routes.find(PyBytes_AS_STRING(head.name), PyBytes_GET_SIZE(head.name))
        text = f"this connection has {self.http2.streams.limit} calls in progress, its limit (Limits.concurrent_calls)"
        return _count_refused(self, call, _is_page(self, head, block), text)

    # From DATA to messages

    cdef int on_data(self, Http2Stream stream, const char* data, Py_ssize_t size, bint ends_stream) except -1:
        cdef GrpcCall call
        if type(stream.user) is not GrpcCall:
            return 0 if self.pages is None else self.pages.data(stream, data, size, ends_stream)
        call = <GrpcCall>stream.user
        if call is self.latest:
            self.latest = None
            if ends_stream and size >= PREFIX_BYTES and data[0] == 0 and call.web is None and (
                <Py_ssize_t>load32_big(data + 1) == size - PREFIX_BYTES <= <Py_ssize_t>self.gate.message_bytes
            ) and (<GrpcHead>call.head).compressor != ENCODING_UNKNOWN:
                # The whole request is in this DATA.
                return _pass_in(self, call, copied(data + PREFIX_BYTES, size - PREFIX_BYTES))
        if call.state == STATE_GONE:
            # The call is answered, but its answer still waits for a window. Drop the rest of the request.
            return self.http2.took(stream, size)
        if call.route is None:
            # A call of an unknown method waits for the check of its caller; drop its messages.
            return 0
        if call.web is not None and not call.web.is_plain:
            return _translate(self, call, data, size, ends_stream)
        return _cut_messages(self, call, data, size, ends_stream)

    cdef Assembly sink_for(self, Http2Stream stream):
        cdef GrpcCall call
        if type(stream.user) is not GrpcCall:
            return None
        call = <GrpcCall>stream.user
        if call.reader is None or call.sender_check is not None or call.web is not None and not call.web.is_plain:
            return None
        return call.reader.assembly

    cdef int on_placed(self, Http2Stream stream, Py_ssize_t size, bint ends_stream) except -1:
        cdef GrpcCall call
        cdef bytes message
        if stream.user is None:
            return 0
        call = <GrpcCall>stream.user
        if call.state == STATE_GONE:
            return self.http2.took(stream, size)
        message = call.reader.finish()
        if message is not None and not _take_message(self, call, message, call.reader.is_compressed):
            return 0
        if ends_stream:
            return _end_input(self, call)
        return 0 if message is not None and call.has_started else self.incomplete.note(call)

    cdef int on_trailers(self, Http2Stream stream, HeaderBlock block) except -1:
        cdef GrpcCall call
        if type(stream.user) is not GrpcCall:
            return 0 if self.pages is None else self.pages.data(stream, NULL, 0, True)
        call = <GrpcCall>stream.user
        if call is self.latest:
            self.latest = None
        if call.route is None or call.state == STATE_GONE:
            return 0
        if call.web is not None and not call.web.is_plain:
            return _translate(self, call, NULL, 0, True)
        return _end_input(self, call)

    cdef int on_sendable(self, Http2Stream stream) except -1:
        cdef GrpcCall call
        if type(stream.user) is not GrpcCall:
            return 0 if self.pages is None else self.pages.sendable(stream)
        call = <GrpcCall>stream.user
        return 0 if call.stream is None else (<StreamChannel>call.stream).wake_sender()

    # The end of a stream

    cdef int on_reset(self, Http2Stream stream, uint32_t code) except -1:
        cdef GrpcCall call
        if type(stream.user) is not GrpcCall:
            return 0 if self.pages is None else self.pages.reset(stream)
        call = <GrpcCall>stream.user
        if call is self.latest:
            self.latest = None
        if call.state == STATE_GONE:
            return 0
        call.state = STATE_CANCELLED
        self.connection.now = max(self.connection.now, self.http2.instant())
        if call.was_ended:
            return 0
        if call.has_started:
            # Both sides watch the deadline. If the caller is first, the handler is cancelled for the deadline as well.
            return cancel_in_read(self.http2.engine(), self.gate, call, call.deadline_ns <= self.http2.instant())
        self.incomplete.drop_check(call)
        call.was_ended = True
        return self.gate.refusals.note(call, CANCELLED, "cancelled before the request was whole")

    cdef int on_stream_violation(self, Http2Stream stream, const Violation* violation) except -1:
        return self.on_reset(stream, 0)

    cdef int on_over(self, Http2Stream stream) except -1:
        cdef GrpcCall call
        cdef Link link
        if stream.lingers:
            self.outcomes.lingering.remove(stream)
        if type(stream.user) is not GrpcCall:
            return 0 if self.pages is None else self.pages.over(stream)
        call = <GrpcCall>stream.user
        stream.user = None
        call.http2_stream = None
        self.incomplete.remove(call)
        if call.is_streaming:
            call.is_streaming = False
            self.http2.streams.streaming -= 1
        if call.waiting_bytes:
            self.outcomes.waiting_bytes -= call.waiting_bytes
            call.waiting_bytes = 0
        link = <Link>self.link
        link.life.used_ns = max(link.life.used_ns, self.connection.now, self.connection.stepped_ns)
        return 0

    # Incomplete requests and messages

    cdef int list_latest(self) except -1:
        """List the call opened last as incomplete, as no more of it has arrived."""
        cdef GrpcCall call = self.latest
        self.latest = None
        return 0 if call is None else self.incomplete.note(call)

    cdef int sender_known(self, GrpcCall call, int verdict) except -1:
        call.sender_check = None
        if verdict == SENDER_REFUSED or call.http2_stream is None:
            return 0
        let_in(self.http2, call)
        # The time so far was spent on the check, not by the peer.
        call.began_ns = call.heard_ns = now_ns()
        if not call.http2_stream.is_ended_by_peer:
            if not self.incomplete.has_room(call):
                return 0
            return self.incomplete.grant_rest(call.http2_stream, False) + _take_rest(self, call)
        self.http2.engine().now = now_ns()
        _end_input(self, call)
        self.gate.runner.leave_task()
        return 0 if self.http2.stream_below() is NULL else (<ByteStream>self.http2.stream_below()).flush()

    cdef int forget_incomplete(self) except -1:
        self.latest = None
        return self.incomplete.forget_all()

    # The connection

    cdef bint may_lend(self) noexcept:
        return process_held < self.gate.memory.lend_below

    cdef int grant_rest(self, Http2Stream stream, bint is_awaited) except -1:
        return self.incomplete.grant_rest(stream, is_awaited)

    cdef int on_settings(self) except -1:
        # The opening of the connection ends when the peer's settings arrive.
        return (<Link>self.link).life.leave_opening()

    cdef int on_violation(self, int code, str text) except -1:
        self.gate.dispatcher.stranger(self.connection.describe_peer(), f"HTTP/2: {text}")
        return 0

    cdef int on_closed(self, bint lingers) except -1:
        self.forget_incomplete()
        (<Link>self.link).leaving.finish(REASON_PROTOCOL, "", lingers)
        return 0


@cython.nonecheck(False)
cdef GrpcCall _new_call(GrpcRequests requests, Http2Stream stream, GrpcHead head):
    cdef GrpcCall call = requests.spare
    requests.spare = None
    if call is None:
        call = GrpcCall.__new__(GrpcCall)
    (<Link>requests.link).stamp(call)
    call.http2_stream = stream
    stream.user = call
    stream.keeps_credit = not requests.http2.has_known_peer
    call.head = head
    call.id = stream.id
    call.flags = call.compressor = 0
    call.codec = CODEC_JSON if head.is_json else CODEC_PROTOBUF
    call.attempt_number = head.attempt
    call.received_metadata = head.metadata
    call.stated_timeout_us = head.timeout_us
    if head.is_late:
        call.deadline_ns = call.started_ns
    return call


@cython.nonecheck(False)
cdef int _begin(GrpcRequests requests, GrpcCall call, GrpcHead head, bint ends_stream) except -1:
    cdef MethodRoute route
    if head.http_status:
        requests.http2.engine().note_unanswered()
        return requests.outcomes.answer_by_http(call, head.http_status, head.fault)
    if head.dropped is not None:
        note_dropped(head.dropped, requests.connection.protocol, logger, requests.gate.dispatcher.has_told_dropped)
        requests.gate.dispatcher.has_told_dropped = True
    route = call.route = requests.gate.routes.find(PyBytes_AS_STRING(head.name), PyBytes_GET_SIZE(head.name))
    if not _has_place(requests, call, False):
        return 0
    if head.status:
        return requests.gate.refusals.refuse(call, head.status, head.fault, True)
    if route is None:
        return requests.gate.refuse_unknown(call, head.name, 0, b"")
    if requests.gate.guards.asks_access():
        call.note_name(PyBytes_AS_STRING(head.name), PyBytes_GET_SIZE(head.name))
    call.flags = route.flags & (STREAM_IN | STREAM_OUT)
    if route.marshal.codec_id == CODEC_RAW and not head.is_json:
        call.codec = CODEC_RAW
    if call.web is not None and call.web.is_unfit:
        return _refuse_faulty(requests, call, FAULT_FORM)
    if route.takes_stream:
        _pass_in(requests, call, EMPTY_OBJECT if head.is_json else b"")
        if ends_stream and call.stream is not None:
            (<StreamChannel>call.stream).end_input(None)
        return 0
    if ends_stream:
        if call.web is not None:
            return _translate(requests, call, NULL, 0, True)
        return _refuse_faulty(requests, call, FAULT_NO_MESSAGE)
    requests.latest = call
    return 0


@cython.nonecheck(False)
cdef bint _has_place(GrpcRequests requests, GrpcCall call, bint is_page) except -1:
    """Return whether the connection has a place for the call; REFUSED_STREAM: it was not processed."""
    cdef Intake intake = (<Link>requests.link).intake
    cdef MethodRoute route = call.route
    if intake.is_crowded():
        # Cancelled calls whose handlers have not ended are counted, too.
        _refuse_stream(requests, call, is_page, intake.crowd_text())
        return False
    if route is None or not (route.takes_stream or route.gives_stream):
        return True
    text = requests.http2.streams.count_messages()
    if text is not None:
        _refuse_stream(requests, call, is_page, text)
        return False
    call.is_streaming = True
    return True


cdef bint _is_page(GrpcRequests requests, GrpcHead head, HeaderBlock block) except -1:
    """Return whether a request that is not by gRPC-Web or Connect is no call."""
    return requests.pages is not None and not (requests.serves_grpc and (
        head.http_status == 0 and (block.is_of_grpc or not block.is_too_large)
    ))


@cython.nonecheck(False)
cdef int _pass_in(GrpcRequests requests, GrpcCall call, bytes payload) except -1:
    """Hand a call to the gate."""
    cdef bytes name
    cdef Link link = <Link>requests.link
    cdef ServedConnection connection = requests.connection
    call.has_started = True
    connection.now = max(connection.now, link.now)
    connection.received_ns = link.received_ns
    connection.is_reading = link.is_reading
    if call.route.flags & ROUTE_WITHDRAWN:
        # Looked up again: since the head arrived another service may have taken the name.
        name = (<GrpcHead>call.head).name
        requests.gate.pass_in(call, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), 0, payload)
    else:
        requests.gate.pass_known(call, payload)
    if not requests.http2.has_known_peer and call.waiting_context is None and not call.was_ended:
        admit(requests.http2, call)
    if connection.ended_ns > link.turn_ends_ns:
        link.messages_left = 0
    if Py_REFCNT(call) == 1 and call.make_new():
        # Answered already, and held only by our caller: the next request reuses the object.
        requests.spare = call
        return 0
    if call.charge and not call.is_held and call.waiting_payload is None:
        # The call ended in its first step: the count of its request is taken back here.
        requests.gate.memory.charge(call, 0)
    # The handler may continue in the next turn of the loop.
    link.woke = True
    return 0


@cython.nonecheck(False)
cdef int _cut_messages(GrpcRequests requests, GrpcCall call, const char* data, Py_ssize_t size, bint ends_stream) except -1:
    cdef MessageReader reader = call.reader
    cdef bytes message
    if reader is None:
        reader = call.reader = MessageReader(<Py_ssize_t>requests.gate.message_bytes)
    while size:
        message = reader.read(&data, &size, requests.http2.trusted)
        if message is None:
            break
        if not _take_message(requests, call, message, reader.is_compressed):
            return 0
    if reader.problem:
        return _refuse_faulty(requests, call, FAULT_TOO_LARGE if reader.problem == MESSAGE_TOO_LARGE else FAULT_FLAGS)
    if ends_stream:
        return _end_input(requests, call)
    if reader.is_inside() or not call.has_started:
        return requests.incomplete.note(call)
    return 0


@cython.nonecheck(False)
cdef bint _take_message(GrpcRequests requests, GrpcCall call, bytes message, bint is_compressed) except -1:
    """Take a whole message; return whether more of the call is expected."""
    cdef int compressor = (<GrpcHead>call.head).compressor
    if not is_compressed and compressor != ENCODING_UNKNOWN:
        # An unknown compressor is reported, even if no message is compressed.
        compressor = ENCODING_IDENTITY
    requests.http2.trusted = max(requests.http2.trusted, PyBytes_GET_SIZE(message))
    if is_compressed and compressor == ENCODING_IDENTITY:
        _refuse_faulty(requests, call, FAULT_ENCODING)
    elif call.route.takes_stream:
        requests.incomplete.remove(call)
        _put(requests, call, message, compressor)
    elif call.message is not None:
        _refuse_faulty(requests, call, FAULT_MESSAGES)
    else:
        call.message = message
        call.compressor = <uint8_t>compressor
    return call.http2_stream is not None and not call.was_ended


cdef int _put(GrpcRequests requests, GrpcCall call, bytes message, int compressor) except -1:
    """Give a message to the stream of its call."""
    cdef Py_ssize_t cost = PREFIX_BYTES + PyBytes_GET_SIZE(message)
    cdef Frame frame
    if call.stream is None:
        # The handler reads no further messages, and its answer was not sent yet.
        return requests.http2.took(call.http2_stream, cost)
    memset(&frame, 0, sizeof(Frame))
    frame.codec = call.codec
    frame.compressor = <uint8_t>compressor
    if cost <= SMALL_MESSAGE:
        (<Link>requests.link).woke = True
    return (<ServedStream>call.stream).put(&frame, message, cost)


cdef int _end_input(GrpcRequests requests, GrpcCall call) except -1:
    """The caller sends no more."""
    cdef bytes message = call.message
    if call.reader is not None and call.reader.is_inside():
        return _refuse_faulty(requests, call, FAULT_CUT)
    if call.route.takes_stream:
        return 0 if call.stream is None else (<StreamChannel>call.stream).end_input(None)
    if message is None:
        return _refuse_faulty(requests, call, FAULT_NO_MESSAGE)
    if call.sender_check is not None:
        # The verdict starts the call.
        return 0
    call.message = None
    requests.incomplete.remove(call)
    return _pass_in(requests, call, message)


cdef bint _takes_page(GrpcRequests requests, GrpcCall call, HeaderBlock block, bint ends_stream) except -1:
    """Begin the request if it is a page; return whether it is."""
    cdef Http2Stream stream = call.http2_stream
    if call.web is not None or not _is_page(requests, <GrpcHead>call.head, block):
        return False
    # The route may have been found already.
    call.route = None
    if _has_place(requests, call, True):
        # The exchange of the stream is its user from now on.
        call.http2_stream = stream.user = None
        requests.pages.head(stream, block, ends_stream)
    return True


cdef bint _takes_client(GrpcRequests requests, GrpcCall call, HeaderBlock block) except -1:
    """Set the client of a trusted proxy as the peer of the call; return whether its address may call."""
    cdef GrpcHead head = <GrpcHead>call.head
    cdef object found = requests.proxies.client_of(
        requests.connection.peer_info, texts_of(block, b"x-forwarded-for"), texts_of(block, b"x-forwarded-proto")
    )
    cdef tuple refusal = take_client(call, found, call.protocol_name())
    if refusal is None:
        return True
    if head.http_status:
        call.web = None
        requests.http2.engine().note_unanswered()
        requests.outcomes.answer_by_http(call, refusal[0], refusal[1])
    else:
        call.route = requests.gate.routes.find(PyBytes_AS_STRING(head.name), PyBytes_GET_SIZE(head.name))
        requests.gate.refusals.refuse_client(call, refusal)
    return False


cdef int _count_refused(GrpcRequests requests, GrpcCall call, bint is_page, str text) except -1:
    """Count a request for whose stream there is no place."""
    if is_page:
        call.web = PAGE
        if requests.gate.refusals.watch is not None:
            watch_refusal(requests.gate.refusals.watch.connection(), 503)
    return requests.gate.refusals.note(call, RESOURCE_EXHAUSTED, text)


cdef int _refuse_stream(GrpcRequests requests, GrpcCall call, bint is_page, str text) except -1:
    requests.http2.engine().note_unanswered()
    call.was_ended = True
    _count_refused(requests, call, is_page, text)
    return requests.http2.reset(call.http2_stream, CODE_REFUSED_STREAM)


cdef int _translate(GrpcRequests requests, GrpcCall call, const char* data, Py_ssize_t size, bint ends_stream) except -1:
    """Take a part of a body that does not have the form of gRPC."""
    cdef bytes found
    try:
        found = call.web.translate(data[:size], ends_stream)
    except CallError:
        return _refuse_faulty(requests, call, FAULT_TEXT)
    _cut_messages(requests, call, PyBytes_AS_STRING(found), PyBytes_GET_SIZE(found), ends_stream)
    return _take_rest(requests, call)


cdef int _take_rest(GrpcRequests requests, GrpcCall call) except -1:
    """Return the credit of bytes that are in no message, once the sender is known."""
    cdef Py_ssize_t owed = 0 if call.web is None or call.sender_check is not None else call.web.owed
    if owed <= 0 or call.http2_stream is None:
        return 0
    call.web.owed = 0
    return requests.http2.took(call.http2_stream, owed)


cdef int _refuse_faulty(GrpcRequests requests, GrpcCall call, int fault) except -1:
    """Refuse a call for a fault of its messages: after the guards of the gate, if it has not seen the call yet."""
    call.fault = <uint8_t>fault
    if call.has_started:
        status, text = fault_of(call, requests.gate.message_bytes)
        return requests.incomplete.end_instead(call, status, text)
    call.message = None
    requests.incomplete.drop_check(call)
    # The call gets the shape of another kind of method, which the gate refuses.
    call.flags ^= STREAM_IN
    return _pass_in(requests, call, b"")


cdef list texts_of(HeaderBlock block, bytes name):
    """Return the values of all fields with a name."""
    cdef HeaderField field
    return [field.value.decode("latin-1") for field in block.fields if field.name == name]
