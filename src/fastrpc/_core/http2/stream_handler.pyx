"""The interface by which a connection of HTTP/2 tells its side of frames.

::

    Http2Connection ──► on_head, on_data, on_trailers ─────────► StreamHandler    a message
                    ├── sink_for, on_placed ───────────────►                      a long message, received in place
                    ├── on_reset, on_stream_violation, on_over ►                  the end of a stream
                    ├── on_sendable, may_lend, grant_rest ─►                      turns and windows
                    └── on_settings, on_goaway, on_violation, on_closed ►         the connection

Each side implements the hooks without a default. The others have one, as only a server refuses streams, only a client
follows GOAWAY, and a side may receive no messages in place.
"""

from fastrpc._core.link.contract cimport lacking


cdef class StreamHandler:
    """One side of a connection of HTTP/2, as the connection knows it."""

    cdef int on_head(self, Http2Stream stream, HeaderBlock block, bint ends_stream) except -1:
        """Take the first head of a message."""
        raise lacking(self, "on_head")

    cdef int on_data(self, Http2Stream stream, const char* data, Py_ssize_t size, bint ends_stream) except -1:
        """Take a part of DATA."""
        raise lacking(self, "on_data")

    cdef Assembly sink_for(self, Http2Stream stream):
        """Return the place of a long message, or None."""
        return None

    cdef int on_placed(self, Http2Stream stream, Py_ssize_t size, bint ends_stream) except -1:
        """Note bytes that were received in the place of a long message."""
        raise lacking(self, "on_placed")

    cdef int on_trailers(self, Http2Stream stream, HeaderBlock block) except -1:
        """Take the trailers of a message."""
        raise lacking(self, "on_trailers")

    cdef int on_reset(self, Http2Stream stream, uint32_t code) except -1:
        """The peer reset a stream."""
        raise lacking(self, "on_reset")

    cdef int on_stream_violation(self, Http2Stream stream, const Violation* violation) except -1:
        """The peer broke a rule of a stream, which is reset."""
        raise lacking(self, "on_stream_violation")

    cdef int on_over(self, Http2Stream stream) except -1:
        """A stream is over."""
        raise lacking(self, "on_over")

    cdef int on_refused(self, uint32_t id, HeaderBlock block) except -1:
        """A stream was refused, as too many are open."""
        return 0

    cdef int on_sendable(self, Http2Stream stream) except -1:
        """Handle that a waiting stream has its turn to send."""
        raise lacking(self, "on_sendable")

    cdef bint may_lend(self) noexcept:
        """Return whether memory is left for windows to grow."""
        return True

    cdef int grant_rest(self, Http2Stream stream, bint is_awaited) except -1:
        """Let the rest of a long message come."""
        return 0

    cdef int on_settings(self) except -1:
        """The settings of the peer came."""
        return 0

    cdef int on_goaway(self, uint32_t last_stream, uint32_t code, bytes debug, list not_taken) except -1:
        """The peer leaves."""
        return 0

    cdef int on_violation(self, int code, str text) except -1:
        """The peer broke a rule of the connection."""
        return 0

    cdef int on_closed(self, bint lingers) except -1:
        """Handle that this side ends the connection."""
        raise lacking(self, "on_closed")
