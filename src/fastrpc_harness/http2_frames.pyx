"""Frames, settings and streams of HTTP/2 for Python code. Violations are exceptions."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from fastrpc_harness.http2_blocks cimport violation_error
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcpy

from fastrpc._core.base.buffer cimport WriteBuffer
from fastrpc._core.http2.frames cimport (
    KIND_DATA,
    KIND_NOTHING,
    LEAST_FRAME_LIMIT,
    Http2Frame,
    Http2Parser,
    Http2Settings,
    OwnSettings,
    Violation,
    close_block,
    open_block,
    put_goaway,
    put_head,
    put_ping,
    put_preface,
    put_reset,
    put_settings_ack,
    put_window_update,
)
from fastrpc._core.http2.stream_table cimport Http2Stream, StreamTable


def take_frame(Http2Parser parser not None, bytes data not None):
    """Parse the next frame, or a part of a frame, in bytes."""
    cdef Http2Frame frame
    cdef Py_ssize_t size = parser.parse(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), &frame)
    if size < 0:
        raise violation_error(&frame.violation)
    if size == 0 or frame.kind == KIND_NOTHING:
        return size, None
    content = PyBytes_FromStringAndSize(frame.data, frame.size)
    return size, (
        frame.kind, frame.stream, content, frame.number, frame.last_stream, frame.flow_bytes, bool(frame.ends_stream),
        frame.violation.rule,
    )


def held_bytes(Http2Parser parser not None):
    """Return the number of bytes that the parser holds of an incomplete header block."""
    return parser.held_bytes()


def preface():
    """Return the preface of a client."""
    cdef WriteBuffer out = WriteBuffer()
    put_preface(out)
    return out.take()


def data_frame(uint32_t stream, bytes data not None, int flags=0):
    """Return a frame of DATA."""
    cdef WriteBuffer out = WriteBuffer()
    put_head(out, PyBytes_GET_SIZE(data), KIND_DATA, flags, stream)
    return out.take() + data


def headers_frames(uint32_t stream, bytes block not None, int flags=0, Py_ssize_t frame_limit=LEAST_FRAME_LIMIT):
    """Return HEADERS with a header block, followed by CONTINUATION if the block is longer than the limit."""
    cdef WriteBuffer out = WriteBuffer()
    cdef Py_ssize_t start, size = PyBytes_GET_SIZE(block)
    # After another frame, as in the output of a connection.
    put_window_update(out, 0, 1)
    start = open_block(out)
    memcpy(out.reserve(size), PyBytes_AS_STRING(block), <size_t>size)
    close_block(out, start, stream, flags, frame_limit)
    return out.take()[start:]


def reset_frame(uint32_t stream, uint32_t code):
    """Return RST_STREAM with an error code."""
    cdef WriteBuffer out = WriteBuffer()
    put_reset(out, stream, code)
    return out.take()


def goaway_frame(uint32_t last_stream, uint32_t code, bytes debug not None=b""):
    """Return GOAWAY with an error code."""
    cdef WriteBuffer out = WriteBuffer()
    put_goaway(out, last_stream, code, debug)
    return out.take()


def ping_frame(bytes content not None, bint is_ack=False):
    """Return PING with eight bytes."""
    cdef WriteBuffer out = WriteBuffer()
    put_ping(out, content, is_ack)
    return out.take()


def window_update_frame(uint32_t stream, uint32_t increment):
    """Return WINDOW_UPDATE of a stream; stream 0 is the connection."""
    cdef WriteBuffer out = WriteBuffer()
    put_window_update(out, stream, increment)
    return out.take()


def apply_settings(Http2Settings settings not None, bytes data not None, bint is_of_server=False):
    """Apply the payload of SETTINGS, or raise Http2ViolationError."""
    cdef Violation violation
    if settings.apply(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), is_of_server, &violation) < 0:
        raise violation_error(&violation)


def settings_frame(OwnSettings own not None, changes):
    """Return SETTINGS with the given numbers and values, which wait for the peer's acknowledgement."""
    cdef WriteBuffer out = WriteBuffer()
    own.send(out, dict(changes))
    return out.take()


def settings_ack():
    """Return the acknowledgement of SETTINGS."""
    cdef WriteBuffer out = WriteBuffer()
    put_settings_ack(out)
    return out.take()


def take_ack(OwnSettings own not None):
    """Apply the oldest SETTINGS that were not acknowledged, or raise Http2ViolationError."""
    cdef Violation violation
    if own.acknowledge(&violation) < 0:
        raise violation_error(&violation)


def arrived(StreamTable table not None, int kind, uint32_t id):
    """Return the stream of a frame of the peer; None if the stream has ended. May raise Http2ViolationError."""
    cdef Violation violation
    cdef Http2Stream stream = table.arrive(kind, id, &violation)
    if violation.rule:
        assert stream is None
        raise violation_error(&violation)
    return stream


def took_head(
    StreamTable table not None, Http2Stream stream not None, bint is_interim=False, bint ends_stream=False,
    int64_t content_length=-1,
):
    """Note the head of a message, or its trailers, or raise Http2ViolationError."""
    cdef Violation violation
    if table.take_head(stream, is_interim, ends_stream, content_length, &violation) < 0:
        raise violation_error(&violation)


def took_data(StreamTable table not None, Http2Stream stream not None, Py_ssize_t size, bint ends_stream=False):
    """Note DATA of a stream, or raise Http2ViolationError."""
    cdef Violation violation
    if table.take_data(stream, size, ends_stream, &violation) < 0:
        raise violation_error(&violation)


def opened(StreamTable table not None):
    """Open a stream of this side; return None if the limit is reached, no id is left, or the server drains."""
    return table.open()


def ended(StreamTable table not None, Http2Stream stream not None):
    """End our side of a stream."""
    table.end(stream)


def was_reset(StreamTable table not None, Http2Stream stream not None, bint is_by_us=True):
    """Close a stream after RST_STREAM from this side or the peer."""
    table.reset(stream, is_by_us)


def leaving(StreamTable table not None, uint32_t last_taken):
    """Return the streams that a server's GOAWAY excludes, or raise Http2ViolationError."""
    cdef Violation violation
    found = table.leave(last_taken, &violation)
    if found is None:
        raise violation_error(&violation)
    return found


def raise_stream(Http2Stream stream not None, uint32_t increment):
    """Increase the send window of a stream."""
    stream.windows.sending += increment


def highest_sending(StreamTable table not None):
    """Return the largest send window of all streams, relative to their initial window."""
    return table.highest_sending()
