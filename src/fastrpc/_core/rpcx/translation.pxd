"""The client's side: translates the frames of a native connection to rpcx, and back."""

cimport cython
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.base.buffer cimport WriteBuffer
from fastrpc._core.rpcx.frames cimport Profile, RpcxFrame
from fastrpc._core.rpcx.native_forms cimport UpwardFrames
from fastrpc._core.wire.frame cimport Frame


@cython.final
cdef class RpcxTranslation:
    cdef:
        readonly Profile profile

        # The most bytes of an answer's frame; the output for the connection above once it opened.
        Py_ssize_t most_frame
        bytes settings

        # For the stream below, and for the connection above.
        readonly WriteBuffer down
        UpwardFrames above

        # The bytes of incomplete frames, from above and from below; whether any byte was received from below.
        bytearray cut_above
        bytearray cut_below
        bint has_received

        # The preface came.
        bint is_open
        # Whether the server has announced its drain.
        bint is_leaving
        # The entry of metadata with the token of the connection, b"" without one.
        bytes token_entry

        # Calls that wait: sequence -> id, id -> sequence; the bytes of pings that wait, the oldest first.
        uint64_t next_sequence
        dict waiting
        dict sequences
        list pings

        # Whether the connection above serves what is pushed; the id of the next push.
        readonly bint takes_pushes
        uint64_t next_push

        # When a dropped push was logged last, 0: never, and how many were dropped since.
        uint64_t told_push_ns
        Py_ssize_t untold_pushes

        # Whether it was logged that an entry of metadata was left out.
        bint has_told_dropped

        # REQUESTs that are received in pieces, by id.
        dict requests

        # Bytes of REQUESTs for which credit is to be returned.
        int64_t taken

    cdef str silence(self)
    cdef int _take_frame(self, Frame* frame, Py_ssize_t size) except -1
    cdef int _take_request(self, Frame* frame) except -1
    cdef int _take_piece(self, Frame* frame) except -1
    cdef bytes _entries_of(self, const char* metadata, Py_ssize_t size)
    cdef int _take_token(self, Frame* frame) except -1
    cdef uint64_t _sequence_of(self, object id) except? 0xFFFFFFFFFFFFFFFF
    cdef int _write_call(self, Frame* call, const char* payload, Py_ssize_t payload_size) except -1
    cdef int _ping(self, bytes body) except -1
    cdef int _answer_pings(self) except -1
    cdef int _cancel(self, uint64_t id) except -1
    cdef Py_ssize_t _whole_size(self, const char* data, Py_ssize_t size) except -1
    cdef int _take_answer(self, RpcxFrame* frame) except -1
    cdef int _take_result(self, uint64_t id, RpcxFrame* frame, bint is_error, int serialize, int compressor) except -1
    cdef int _fail(self, uint64_t id, int status, str text, bint has_run=*) except -1
    cdef int _take_push(self, RpcxFrame* frame) except -1
    cdef int _drop_push(self, str why) except -1
    cdef int _note_dropped(self, list dropped) except -1
    cdef int _leave(self) except -1
    cdef int _take_error(self, uint64_t id, bytes metadata, dict told) except -1
