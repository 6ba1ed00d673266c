"""A connection of HTTP/2 whose hooks append events to a list, for Python code."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from fastrpc._core.base.buffer cimport Assembly
from fastrpc._core.http2.connection cimport new_http2
from fastrpc._core.http2.frames cimport Violation
from fastrpc._core.http2.header_block cimport HeaderBlock, token_of
from fastrpc._core.http2.hpack cimport HeaderTemplate


cdef class RecordingHttp2(StreamHandler):

    def __init__(
        self, *, bint is_client, uint32_t streams=100, uint32_t window_bytes=65_535, uint32_t header_list_bytes=8_192
    ):
        self.http2 = new_http2(self, is_client, streams, window_bytes, header_list_bytes)
        self.is_client = is_client
        self.events = []
        self._rest = b""
        self.owner = Engine.__new__(Engine)
        self.http2.join(self.owner)

    cdef int _note(self, object event) except -1:
        self.events.append(event)
        if self.reaction is not None:
            self.reaction(event)
        return 0

    cdef Http2Stream _stream_of(self, int id):
        cdef Http2Stream stream = self.http2.streams.find(id)
        if stream is None:
            raise KeyError(f"stream {id} is not open")
        return stream

    # Hooks

    cdef int on_head(self, Http2Stream stream, HeaderBlock block, bint ends_stream) except -1:
        return self._note(("head", stream.id, pairs_of(block), bool(ends_stream)))

    cdef int on_data(self, Http2Stream stream, const char* data, Py_ssize_t size, bint ends_stream) except -1:
        cdef Assembly sink
        if self.takes_directly and stream.user is not None:
            sink = <Assembly>stream.user
            sink.append(data, min(size, sink.total - sink.filled), 0)
            return self._finish(stream)
        return self._note(("data", stream.id, PyBytes_FromStringAndSize(data, size), bool(ends_stream)))

    cdef Assembly sink_for(self, Http2Stream stream):
        return <Assembly>stream.user if self.takes_directly else None

    cdef int on_placed(self, Http2Stream stream, Py_ssize_t size, bint ends_stream) except -1:
        self._note(("placed", stream.id, size, bool(ends_stream)))
        return self._finish(stream)

    cdef int _finish(self, Http2Stream stream) except -1:
        cdef Assembly sink = <Assembly>stream.user
        if sink.filled == sink.total:
            stream.user = None
            self._note(("message", stream.id, sink.finish()))
        return 0

    cdef int on_trailers(self, Http2Stream stream, HeaderBlock block) except -1:
        return self._note(("trailers", stream.id, pairs_of(block)))

    cdef int on_reset(self, Http2Stream stream, uint32_t code) except -1:
        return self._note(("reset", stream.id, code))

    cdef int on_stream_violation(self, Http2Stream stream, const Violation* violation) except -1:
        return self._note(("stream violation", stream.id, violation.rule))

    cdef int on_over(self, Http2Stream stream) except -1:
        return self._note(("over", stream.id))

    cdef int on_refused(self, uint32_t id, HeaderBlock block) except -1:
        return self._note(("refused", id))

    cdef int on_sendable(self, Http2Stream stream) except -1:
        return self._note(("sendable", stream.id))

    cdef int on_settings(self) except -1:
        return self._note(("settings", self.http2.control.peer.streams, self.http2.control.peer.window_bytes))

    cdef int on_goaway(self, uint32_t last_stream, uint32_t code, bytes debug, list not_taken) except -1:
        return self._note(("goaway", last_stream, code, debug, [stream.id for stream in not_taken]))

    cdef int on_violation(self, int code, str text) except -1:
        return self._note(("violation", code, text))

    cdef int on_closed(self, bint lingers) except -1:
        return self._note(("closed", self.http2.closed_code, self.http2.closed_text))

    # Bytes

    def open_now(self, bint is_wide=False):
        """Send the preface of a client, and SETTINGS."""
        self.http2.open(is_wide)

    def feed(self, bytes data not None):
        """Receive bytes."""
        cdef Py_ssize_t consumed = -1
        self.owner.messages_left = 1_000_000
        data = self._rest + data
        # Bytes that were not consumed are passed again immediately.
        while data and consumed:
            consumed = self.http2.take(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
            data = data[consumed:]
        self._rest = data

    def feed_body(self, bytes data not None):
        """Receive bytes as a socket that writes into the memory of a long message; return how many were consumed."""
        cdef Py_ssize_t room = 0
        cdef char* place
        place = NULL if self.http2.incoming.data_stream is None else self.http2.place(&room)
        if place is NULL or self._rest:
            return 0
        room = min(room, PyBytes_GET_SIZE(data))
        memcpy(place, PyBytes_AS_STRING(data), room)
        self.http2.placed(room)
        return room

    def expect_message(self, int id, Py_ssize_t size):
        """Receive the next bytes of a stream as one message."""
        self._stream_of(id).user = Assembly(size)

    def take_all(self):
        """Return the output that may be sent now."""
        cdef list parts = []
        while True:
            part = self.pump_once()
            if not part:
                return b"".join(parts)
            parts.append(part)

    def pump_once(self):
        """Return the output of one call of `pump`."""
        cdef Py_ssize_t size = 0, expected
        cdef const char* data
        self.http2.turn_over()
        if self.http2.sender.is_waiting():
            self.http2.pump()
        expected = self.http2.sender.size()
        data = self.http2.sender.plain(&size)
        if data is not NULL:
            plain = PyBytes_FromStringAndSize(data, size)
            self.http2.sender.skip()
            if size != expected:
                raise ValueError(f"{size} bytes are plain, {expected} were announced")
            return plain
        output = self.http2.sender.take()
        output = b"".join(output) if isinstance(output, list) else output
        if len(output) != expected:
            raise ValueError(f"the output has {len(output)} bytes, {expected} were announced")
        return output

    # Orders

    def open_one(self):
        """Open a stream and return its id; 0 if none can be opened."""
        cdef Http2Stream stream = self.http2.open_stream()
        return 0 if stream is None else stream.id

    def head(self, int id, fields=(), *, HeaderTemplate template=None, bint ends=False):
        """Send a head, in one or several frames."""
        cdef Http2Stream stream = self._stream_of(id)
        if template is None:
            if self.http2.begin_head(stream):
                for token, name, value in with_tokens(fields):
                    self.http2.put_field(token, name, value)
                self.http2.end_head(stream, ends)
        else:
            self.http2.send_head(stream, template, with_tokens(fields) or None, ends)

    def message(self, int id, bytes payload not None, *, bint ends=False, int flags=0):
        """Send a gRPC message."""
        self.http2.send_message(self._stream_of(id), payload, flags, ends)

    def data(self, int id, bytes payload not None, *, bint ends=False):
        """Send bytes as DATA, unchanged."""
        self.http2.send_data(self._stream_of(id), payload, ends)

    def trailers(self, int id, fields=(), *, HeaderTemplate template=None):
        """Send trailers."""
        self.http2.send_trailers(self._stream_of(id), template, with_tokens(fields))

    def reset_stream(self, int id, uint32_t code):
        """Reset a stream."""
        self.http2.reset(self._stream_of(id), code)

    def await_turn_of(self, int id):
        """Wait until a stream may send; return whether it had to wait."""
        cdef Http2Stream stream = self._stream_of(id)
        if not self.http2.is_full(stream):
            return False
        self.http2.await_turn(stream)
        return True

    def take_bytes(self, int id, Py_ssize_t size):
        """Return credit for received bytes of a stream."""
        self.http2.took(self._stream_of(id), size)

    def grant_bytes(self, int id, int64_t size):
        """Grant credit beyond the window of a stream."""
        self.http2.grant(self._stream_of(id), size)

    def widen_now(self):
        """Raise the window of the connection."""
        self.http2.widen()

    def drain(self, str text=""):
        """Send the first step of a drain."""
        self.http2.start_drain(text)

    def close_now(self, int code=0, str text=""):
        """Send GOAWAY and end the connection."""
        self.http2.close_with(code, text)

    def note_answer(self):
        """Count a call that was answered."""
        self.http2.note_answered()

    def waste(self):
        """Count a call that was refused for its caller's fault."""
        self.http2.note_idle_work()

    def pings_of(self, double interval, double timeout, double minimum_interval):
        """Set the intervals of pings."""
        self.http2.set_pings(interval, timeout, minimum_interval)

    def check_at(self, uint64_t now):
        """Run the checks that are due at `now`."""
        self.owner.now = now
        return self.http2.check_http2(now)

    def be_late(self, uint64_t late):
        """Note that the loop read nothing for `late` nanoseconds."""
        self.http2.forgive(late)

    def lose(self):
        """Report that the byte stream was lost."""
        self.http2.lost()

    # Facts

    @property
    def now(self):
        return self.owner.now

    @now.setter
    def now(self, uint64_t now):
        self.owner.now = now

    @property
    def received_ns(self):
        return self.owner.received_ns

    @received_ns.setter
    def received_ns(self, uint64_t instant):
        self.owner.received_ns = instant

    @property
    def is_closed(self):
        return bool(self.http2.is_closed)

    @property
    def closed_code(self):
        """The error code with which this side ended the connection; -1 before that."""
        return self.http2.closed_code

    @property
    def closed_text(self):
        return self.http2.closed_text

    @property
    def open_streams(self):
        return self.http2.streams.count

    @property
    def queued(self):
        """Bytes of messages that wait to be sent."""
        return self.http2.sender.queued_bytes

    @property
    def passed(self):
        """The bytes of `queued` that messages of other streams overtake."""
        return self.http2.sender.cut_bytes

    @property
    def dropped_streams(self):
        """The number of streams that wait in queues although they have nothing to send."""
        return self.http2.sender.dropped

    @property
    def unsent(self):
        return self.http2.unsent_bytes()

    @property
    def held(self):
        return self.http2.held_bytes()

    @property
    def drain_step(self):
        return self.http2.control.drain_step

    @property
    def partial(self):
        """The instant at which an incomplete frame began, or 0, and the number of its bytes so far."""
        return self.http2.incoming.began_ns, self.http2.incoming.came


cdef list pairs_of(HeaderBlock block):
    return [(field.name, field.value) for field in block.fields] + (["too large"] if block.is_too_large else [])


cdef list with_tokens(fields):
    return [(token_of(name, len(name)), name, value) for name, value in fields]


def attempt_hook(StreamHandler handler not None, str hook not None):
    """Call a hook of a handler as a connection does."""
    cdef Violation violation
    if hook == "on_head":
        handler.on_head(None, None, False)
    elif hook == "on_data":
        handler.on_data(None, b"", 0, False)
    elif hook == "sink_for":
        handler.sink_for(None)
    elif hook == "on_placed":
        handler.on_placed(None, 0, False)
    elif hook == "on_trailers":
        handler.on_trailers(None, None)
    elif hook == "on_reset":
        handler.on_reset(None, 0)
    elif hook == "on_stream_violation":
        handler.on_stream_violation(None, &violation)
    elif hook == "on_over":
        handler.on_over(None)
    elif hook == "on_sendable":
        handler.on_sendable(None)
    else:
        attempt_default(handler, hook)


cdef int attempt_default(StreamHandler handler, str hook) except -1:
    if hook == "on_refused":
        return handler.on_refused(0, None)
    if hook == "may_lend":
        return 0 if handler.may_lend() else 1
    if hook == "grant_rest":
        return handler.grant_rest(None, True)
    if hook == "on_settings":
        return handler.on_settings()
    if hook == "on_goaway":
        return handler.on_goaway(0, 0, b"", [])
    if hook == "on_violation":
        return handler.on_violation(0, "")
    return handler.on_closed(False)
