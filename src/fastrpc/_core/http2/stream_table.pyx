"""The streams of a connection (RFC 9113, section 5.1). Push is never on, so all are opened by the client, with odd ids.

::

    idle ──HEADERS──► open ──end of a side──► half-closed ──end of the other──► closed
                       └──────────RST_STREAM of a side──────────────────────────► closed

    closed, and a frame comes:   DATA, HEADERS                       RST_STREAM, WINDOW_UPDATE
      both sides had ended       the connection ends, STREAM_CLOSED   dropped
      reset by the peer          RST_STREAM, STREAM_CLOSED            dropped
      reset by us                dropped: it was under way            dropped; RST_STREAM: reset by the peer
      long ago                   dropped; HEADERS of a client: PROTOCOL_ERROR, its ids rise

PRIORITY means nothing here, whatever the state of its stream.
"""

cimport cython
from cpython.ref cimport Py_DECREF, PyObject
from libc.stdint cimport int64_t, uint32_t

from fastrpc._core.http2.frames cimport KIND_DATA, KIND_HEADERS, KIND_PRIORITY, KIND_RST_STREAM
from fastrpc._core.http2.violations cimport (
    RULE_CLOSED_STREAM, RULE_CONTENT_LENGTH, RULE_EARLY_DATA, RULE_HALF_CLOSED_STREAM, RULE_ID_ORDER, RULE_ID_PARITY,
    RULE_IDLE_STREAM, RULE_NONE, RULE_RESET_STREAM, RULE_RISING_GOAWAY, RULE_STREAM_LIMIT, RULE_TRAILERS_END, violated,
)

cdef enum:
    HIGHEST_ID = 0x7FFFFFFF


@cython.final
@cython.freelist(64)
cdef class Http2Stream:
    def __repr__(self):
        return f"<Http2Stream {self.id}>"


@cython.final
cdef class StreamTable:

    def __cinit__(self, bint is_client, Py_ssize_t limit=100):
        self.is_client = is_client
        self.limit = limit
        self._streams = CallTable()
        self.last_taken = HIGHEST_ID

    @property
    def count(self):
        return self._streams.size

    @cython.nonecheck(False)
    cdef Http2Stream arrive(self, int kind, uint32_t id, Violation* violation):
        cdef Http2Stream stream
        cdef int ending
        cdef bint is_message = kind == KIND_DATA or kind == KIND_HEADERS
        violation.rule = RULE_NONE
        stream = self.find(id)
        if stream is not None:
            if is_message and stream.is_ended_by_peer:
                violated(violation, RULE_HALF_CLOSED_STREAM)
                return None
            return stream
        if kind == KIND_PRIORITY:
            return None
        if not id & 1:
            violated(violation, RULE_ID_PARITY if kind == KIND_HEADERS else RULE_IDLE_STREAM, id)
            return None
        if id > self.highest:
            if kind == KIND_HEADERS and not self.is_client:
                return self._open_by_peer(id, violation)
            violated(violation, RULE_IDLE_STREAM, id)
            return None
        if kind == KIND_RST_STREAM and self._ending_of(id) == ENDING_BY_US:
            # It ended its side as well: what it sends from now on was not under way.
            self._remember(id, ENDING_BY_PEER)
        if is_message:
            ending = self._ending_of(id)
            if ending == ENDING_BOTH:
                violated(violation, RULE_CLOSED_STREAM, id)
            elif ending == ENDING_BY_PEER:
                violated(violation, RULE_RESET_STREAM)
            elif ending == ENDING_FORGOTTEN and kind == KIND_HEADERS and not self.is_client:
                violated(violation, RULE_ID_ORDER, id, self.highest)
        return None

    @cython.nonecheck(False)
    cdef Http2Stream _open_by_peer(self, uint32_t id, Violation* violation):
        self.highest = id
        if self._streams.size >= self.limit:
            # Frames behind it may be under way.
            self._remember(id, ENDING_BY_US)
            violated(violation, RULE_STREAM_LIMIT, self._streams.size, self.limit)
            return None
        return self._add(id)

    @cython.nonecheck(False)
    cdef int take_head(
        self, Http2Stream stream, bint is_interim, bint ends_stream, int64_t content_length, Violation* violation
    ) except -2:
        if not stream.has_head:
            stream.has_head = not is_interim
            stream.content_left = content_length
            # An interim head is never the last one.
            if is_interim and ends_stream:
                return violated(violation, RULE_TRAILERS_END)
        elif not ends_stream:
            return violated(violation, RULE_TRAILERS_END)
        return self._end_by_peer(stream, violation) if ends_stream else 0

    @cython.nonecheck(False)
    cdef int take_data(self, Http2Stream stream, Py_ssize_t size, bint ends_stream, Violation* violation) except -2:
        if not stream.has_head:
            return violated(violation, RULE_EARLY_DATA)
        if stream.content_left >= 0:
            if size > stream.content_left:
                return violated(violation, RULE_CONTENT_LENGTH)
            stream.content_left -= size
        return self._end_by_peer(stream, violation) if ends_stream else 0

    @cython.nonecheck(False)
    cdef int _end_by_peer(self, Http2Stream stream, Violation* violation) except -2:
        # An answer to HEAD would announce content that never comes; no such request is made or answered here.
        if stream.content_left > 0:
            return violated(violation, RULE_CONTENT_LENGTH)
        stream.is_ended_by_peer = True
        return self._close(stream, ENDING_BOTH) if stream.is_ended_by_us else 0

    @cython.nonecheck(False)
    cdef Http2Stream open(self):
        if self._streams.size >= self.limit or self.is_left or self.highest >= HIGHEST_ID - 1:
            return None
        # The first id is 1.
        self.highest += 2 if self.highest else 1
        return self._add(self.highest)

    @cython.nonecheck(False)
    cdef Http2Stream _add(self, uint32_t id):
        cdef Http2Stream stream = Http2Stream.__new__(Http2Stream)
        stream.id = id
        stream.content_left = -1
        # The table takes a reference of its own.
        self._streams.add(id, <PyObject*>stream)
        return stream

    @cython.nonecheck(False)
    cdef Http2Stream find(self, uint32_t id):
        # Kept by the table until the result has its reference.
        cdef PyObject* found = self._streams.get(id)
        return None if found is NULL else <Http2Stream>found

    @cython.nonecheck(False)
    cdef int end(self, Http2Stream stream) except -1:
        stream.is_ended_by_us = True
        return self._close(stream, ENDING_BOTH) if stream.is_ended_by_peer else 0

    cdef int reset(self, Http2Stream stream, bint is_by_us) except -1:
        stream.was_cut_short = is_by_us and not stream.is_ended_by_peer
        stream.is_ended_by_us = stream.is_ended_by_peer = True
        return self._close(stream, ENDING_BY_US if is_by_us else ENDING_BY_PEER)

    @cython.nonecheck(False)
    cdef int _close(self, Http2Stream stream, int ending) except -1:
        cdef PyObject* taken = self._streams.take(stream.id)
        if taken is NULL:
            return 0
        self._remember(stream.id, ending)
        # The reference of the table.
        Py_DECREF(<object>taken)
        return 0

    cdef int _remember(self, uint32_t id, int ending) noexcept:
        self._ended[id >> 1 & (REMEMBERED - 1)] = id >> 1 << 2 | <uint32_t>ending
        return 0

    cdef int _ending_of(self, uint32_t id) noexcept:
        cdef uint32_t ended = self._ended[id >> 1 & (REMEMBERED - 1)]
        return ended & 3 if ended >> 2 == id >> 1 else ENDING_FORGOTTEN

    cdef list leave(self, uint32_t last_taken, Violation* violation):
        if last_taken > self.last_taken:
            violated(violation, RULE_RISING_GOAWAY, last_taken, self.last_taken)
            return None
        self.is_left = True
        self.last_taken = last_taken
        return [stream for stream in self._streams.entries() if (<Http2Stream>stream).id > last_taken]

    cdef list entries(self):
        return self._streams.entries()

    cdef int64_t highest_sending(self) except? -1:
        cdef int64_t highest = 0
        for stream in self._streams.entries():
            highest = max(highest, (<Http2Stream>stream).windows.sending)
        return highest
