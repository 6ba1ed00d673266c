"""The receiving half of a connection: frames cut from the bytes, heads checked, DATA taken from our windows.

::

    bytes ──► parse ──► HEADERS ──► decoder ──► take_block: the rules of its kind ──► a hook of the connection
                └─────► DATA ─────► begin_data: windows, its stream ──► in parts ──┬──► a hook
                                                                       place_in ───┘    into an assembly, uncopied
    credit:  of the connection when bytes are in their place, of a stream when the program takes them
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint32_t
from libc.string cimport memcmp

from fastrpc._core.http2.control cimport OWN_FRAME_LIMIT, WIDE_WINDOW
from fastrpc._core.http2.frames cimport KIND_DATA, put_window_update
from fastrpc._core.http2.header_block cimport CHECKED_AS_REQUEST, CHECKED_AS_RESPONSE, CHECKED_AS_TRAILERS
from fastrpc._core.http2.hpack_tables cimport FIRST_TABLE_BYTES, TOKEN_STATUS
from fastrpc._core.http2.violations cimport RULE_NONE, RULE_STATUS, ends_connection, violated

cdef enum:
    # A rest shorter than this is copied: not worth a read of its own.
    LEAST_DIRECT = 4_096


@cython.final
cdef class Http2Incoming:
    """Frames cut from the bytes, heads checked, and the windows that the peer may fill."""

    @cython.nonecheck(False)
    cdef Py_ssize_t parse(self, const char* data, Py_ssize_t size, Http2Frame* frame, uint64_t now) except? -1:
        cdef Py_ssize_t taken = self.parser.parse(data, size, frame)
        if taken > 0 and not self.parser.is_within():
            self.consumed = 0
            self.began_ns = 0
        elif taken > 0:
            self.consumed += taken
        elif taken == 0:
            self.note_rest(size, now)
        return taken

    cdef int note_rest(self, Py_ssize_t rest, uint64_t now) noexcept:
        """So many bytes are here of a frame that is not consumed."""
        self.came = self.consumed + rest
        if self.came == 0:
            self.began_ns = 0
        elif self.began_ns == 0:
            self.began_ns = now
        return 0

    # Heads

    @cython.nonecheck(False)
    cdef int take_block(self, Http2Stream stream, HeaderBlock block, bint ends_stream, Violation* violation) except -2:
        cdef int rule
        cdef bint is_interim = False
        cdef const char* status
        if stream.has_head:
            rule = block.check(CHECKED_AS_TRAILERS)
            if rule:
                return violated(violation, rule)
            return -1 if self.streams.take_head(stream, False, ends_stream, -1, violation) < 0 else BLOCK_TRAILERS
        rule = block.check(CHECKED_AS_RESPONSE if self.streams.is_client else CHECKED_AS_REQUEST)
        if self.streams.is_client and rule == RULE_NONE:
            # The block has the field, which has three digits.
            status = PyBytes_AS_STRING(block.field(TOKEN_STATUS).value)
            is_interim = status[0] == b"1"
            # HTTP/2 has no upgrade.
            rule = RULE_STATUS if memcmp(status, b"101", 3) == 0 else RULE_NONE
        if rule:
            return violated(violation, rule)
        if self.streams.take_head(stream, is_interim, ends_stream, block.content_length(), violation) < 0:
            return -1
        return BLOCK_INTERIM if is_interim else BLOCK_HEAD

    # DATA

    @cython.nonecheck(False)
    cdef int begin_data(self, Http2Frame* frame, uint64_t now, Violation* violation) except -2:
        cdef Violation window
        cdef Py_ssize_t size = frame.flow_bytes, padding = size - frame.size - self.parser.missing_data()
        cdef Http2Stream stream = self.streams.arrive(KIND_DATA, frame.stream, violation)
        self.data_stream = stream
        if self.flow.receive(NULL if stream is None else &stream.windows, size, &window) < 0 and (
            violation.rule == RULE_NONE or ends_connection(window.rule)
        ):
            violation[0] = window
        if padding > 0:
            self.place(padding)
        if violation.rule:
            self.data_stream = None
            return -1
        if stream is None:
            return self.control.drop_late(frame.stream, size, now, violation)
        if padding > 0:
            self.take(stream, padding)
        # A frame without content and without an end.
        return self.control.skip(KIND_DATA, now, violation) if size == padding and not frame.ends_stream else 0

    cdef char* place_in(self, Assembly sink, Py_ssize_t* room, Py_ssize_t trusted) except? NULL:
        cdef Py_ssize_t left
        self.sink = sink
        if sink is None:
            return NULL
        left = min(self.parser.missing_data(), sink.total - sink.filled)
        return NULL if left < LEAST_DIRECT else sink.place(left, room, trusted)

    cdef bint placed(self, Py_ssize_t size, uint64_t now) except -1:
        cdef bint ends_stream = self.parser.place_data(size)
        self.sink.filled += size
        self.consumed = self.consumed + size if self.parser.is_within() else 0
        self.note_rest(0, now)
        if self.consumed == 0:
            self.data_stream = None
        return ends_stream

    # Credit

    @cython.nonecheck(False)
    cdef int place(self, Py_ssize_t size) except -1:
        cdef int64_t credit = self.flow.place(size)
        return put_window_update(self.out, 0, <uint32_t>credit) if credit else 0

    cdef int take(self, Http2Stream stream, Py_ssize_t size) except -1:
        cdef int64_t credit = 0 if stream.is_ended_by_peer else self.flow.place_of_stream(&stream.windows, size)
        return put_window_update(self.out, stream.id, <uint32_t>credit) if credit else 0

    cdef int grant(self, Http2Stream stream, int64_t size) except -1:
        cdef int64_t credit = 0 if stream.is_ended_by_peer else self.flow.grant(&stream.windows, size)
        return put_window_update(self.out, stream.id, <uint32_t>credit) if credit else 0

    cdef int widen(self) except -1:
        cdef int64_t credit = self.flow.widen(WIDE_WINDOW)
        return put_window_update(self.out, 0, <uint32_t>credit) if credit else 0


cdef Http2Incoming new_incoming(Http2Control control, Py_ssize_t header_list_bytes):
    cdef Http2Incoming incoming = Http2Incoming.__new__(Http2Incoming)
    incoming.control = control
    incoming.streams = control.streams
    incoming.flow = control.flow
    incoming.out = control.sender.out
    # The limit of frames that we announce counts at once: the peer may obey before its ACK comes.
    incoming.parser = Http2Parser(not control.is_client, OWN_FRAME_LIMIT)
    incoming.decoder = HpackDecoder(FIRST_TABLE_BYTES, header_list_bytes)
    return incoming
