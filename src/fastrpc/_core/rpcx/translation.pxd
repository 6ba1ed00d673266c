"""The client's side: translates the frames of a native connection to rpcx, and back."""

cimport cython
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.base.buffer cimport WriteBuffer
from fastrpc._core.rpcx.frames cimport Profile
from fastrpc._core.rpcx.native_forms cimport UpwardFrames


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
