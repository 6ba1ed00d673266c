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

        # `most_frame`: the size of the longest accepted frame of an answer. `settings`: the body of the SETTINGS for
        # the connection above.
        Py_ssize_t most_frame
        bytes settings

        # The output for the stream below (`down`), and for the connection above (`above`).
        readonly WriteBuffer down
        UpwardFrames above

        # `cut_above`: the bytes of an incomplete frame from above. `cut_below`: the bytes of an incomplete frame from
        # below. `has_received`: whether any byte was received from below.
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

        # `takes_pushes`: whether the connection above serves pushes. `next_push`: the call id of the next push.
        readonly bint takes_pushes
        uint64_t next_push

        # `told_push_ns`: the instant at which a dropped push was last logged, 0 = never. `untold_pushes`: the number of
        # pushes dropped since then.
        uint64_t told_push_ns
        Py_ssize_t untold_pushes

        # Whether it was logged that a metadata entry was dropped.
        bint has_told_dropped

        # Incomplete REQUESTs that arrive in pieces, by id.
        dict requests

        # Received bytes of REQUESTs whose credit was not returned yet.
        int64_t taken

    cdef str silence(self)
