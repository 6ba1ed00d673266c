"""The client's side of rpcx: translates the frames of a native connection to rpcx, and back."""

cimport cython
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.base.buffer cimport WriteBuffer
from fastrpc._core.rpcx.frames cimport Profile
from fastrpc._core.rpcx.native_forms cimport UpwardFrames


@cython.final
cdef class RpcxTranslation:
    cdef:
        readonly Profile profile

        # The size of the longest accepted frame of an answer; the body of the SETTINGS for the connection above.
        Py_ssize_t most_frame
        bytes settings

        # The output for the stream below, and for the connection above.
        readonly WriteBuffer down
        UpwardFrames above

        # The bytes of an incomplete frame from above, and of one from below; whether any byte was received from below.
        bytearray cut_above
        bytearray cut_below
        bint has_received

        # Whether the preface of the connection above has arrived.
        bint is_open
        # Whether the server has announced its drain.
        bint is_leaving
        # The metadata entry with the token of the connection; b"" without a token.
        bytes token_entry

        # `next_sequence`: the next sequence. The calls that wait for their answer: `waiting` is sequence -> id,
        # `sequences` id -> sequence. `pings`: the bodies of the pings that wait for their answer, oldest first.
        uint64_t next_sequence
        dict waiting
        dict sequences
        list pings

        # Whether the connection above serves pushes; the call id of the next push.
        readonly bint takes_pushes
        uint64_t next_push

        # The instant at which a dropped push was last logged, 0 = never, and the number of pushes dropped since.
        uint64_t told_push_ns
        Py_ssize_t untold_pushes

        # Whether it was logged that a metadata entry was dropped.
        bint has_told_dropped

        # Incomplete REQUESTs that arrive in pieces, by id.
        dict requests

        # Received bytes of REQUESTs whose credit was not returned yet.
        int64_t taken

    cdef str silence(self)
