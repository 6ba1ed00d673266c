"""The hooks that an HTTP/2 connection calls for received frames, implemented by its user.

::

    Http2Connection ──► on_head, on_data, on_trailers ─────────► StreamHandler    a message
                    ├── sink_for, on_placed ───────────────►                      a long message, received in place
                    ├── on_reset, on_stream_violation, on_over ►                  the end of a stream
                    ├── on_sendable, may_lend, grant_rest ─►                      turns and windows
                    └── on_settings, on_goaway, on_violation, on_closed ►         the connection

Clients and servers must implement the hooks that raise here. The others have a default, as only a server refuses streams,
only a client handles GOAWAY, and direct receiving of messages is optional.
"""

from fastrpc._core.link.contract cimport lacking


cdef class StreamHandler:
    """The user of an HTTP/2 connection, a client's or a server's side, as the connection sees it."""

    cdef int on_head(self, Http2Stream stream, HeaderBlock block, bint ends_stream) except -1:
        """Handle the head of a message."""
        raise lacking(self, "on_head")

    cdef int on_data(self, Http2Stream stream, const char* data, Py_ssize_t size, bint ends_stream) except -1:
        """Take a part of DATA."""
        raise lacking(self, "on_data")

    cdef Assembly sink_for(self, Http2Stream stream):
        """Return the assembly into which a long message is received, or None."""
        return None

    cdef int on_placed(self, Http2Stream stream, Py_ssize_t size, bint ends_stream) except -1:
        """Handle bytes that were received into the assembly of `sink_for`."""
        raise lacking(self, "on_placed")

    cdef int on_trailers(self, Http2Stream stream, HeaderBlock block) except -1:
        """Handle the trailers of a message."""
        raise lacking(self, "on_trailers")

    cdef int on_reset(self, Http2Stream stream, uint32_t code) except -1:
        """Handle a stream that the peer has reset."""
        raise lacking(self, "on_reset")

    cdef int on_stream_violation(self, Http2Stream stream, const Violation* violation) except -1:
        """Handle a stream that was reset because the peer broke a rule of it."""
        raise lacking(self, "on_stream_violation")

    cdef int on_over(self, Http2Stream stream) except -1:
        """A stream is over."""
        raise lacking(self, "on_over")

    cdef int on_refused(self, uint32_t id, HeaderBlock block) except -1:
        """Note that a stream was refused, as too many are open."""
        return 0

    cdef int on_sendable(self, Http2Stream stream) except -1:
        """Wake the sender of a stream that waited for its turn."""
        raise lacking(self, "on_sendable")

    cdef bint may_lend(self) noexcept:
        """Return whether free memory allows windows to grow."""
        return True

    cdef int grant_rest(self, Http2Stream stream, bint is_awaited) except -1:
        """Grant the rest of a long message that is partly received."""
        return 0

    cdef int on_settings(self) except -1:
        """Handle the peer's settings."""
        return 0

    cdef int on_goaway(self, uint32_t last_stream, uint32_t code, bytes debug, list not_taken) except -1:
        """The peer leaves."""
        return 0

    cdef int on_violation(self, int code, str text) except -1:
        """Note that the peer broke a rule of the connection."""
        return 0

    cdef int on_closed(self, bint lingers) except -1:
        """Handle the end of the connection by this side."""
        raise lacking(self, "on_closed")
