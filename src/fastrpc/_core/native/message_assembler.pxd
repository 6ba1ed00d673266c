cimport cython
from libc.stdint cimport int64_t

from fastrpc._core.base.priority_queue cimport Queue
from fastrpc._core.calls.call cimport Call
from fastrpc._core.native.frame_reader cimport FrameReader
from fastrpc._core.native.hooks cimport ConnectionPart
from fastrpc._core.native.send_queue cimport SendQueue
from fastrpc._core.wire.frame cimport Frame
from fastrpc._core.wire.growth cimport WindowPool
from fastrpc._core.wire.window cimport Budget


@cython.final
cdef class MessageAssembler(ConnectionPart):
    cdef:
        # `reader`: the reader, which holds incomplete frames. `sender`: the queue that sends credit.
        FrameReader reader
        SendQueue sender

        # `pool`: the bytes that streams may borrow; `pool_waiters`: the calls whose messages wait for them, in order of
        # arrival.
        WindowPool pool
        Queue pool_waiters

        # The number of stream messages whose last piece has not arrived.
        Py_ssize_t cut_messages

        # The budget for pieces other than the last one whose payload is too short for the cost of handling a frame.
        Budget short_pieces

    cdef int keep_first_piece(self, Call call, Frame* frame) except -1
    cdef int piece(self, Call call, Frame* frame) except -1
    cdef int stream_message(self, Call call, Frame* frame, bytes payload) except -1
    cdef int message_taken(self, Call call, Py_ssize_t cost) except -1
    cdef int reader_waits(self, Call call) except -1
    cdef int drop_incoming(self, Call call) except -1
    cdef int end_window(self, Call call) except -1
    cdef int open_pool(self, int64_t size) noexcept
    cdef int end_locally(self, Call call, int status, str text, int reason) except -1
    cdef bint may_lend(self) noexcept

    # The parts of it.
    cdef bint _pays_for_itself(self, Frame* frame) noexcept
    cdef int _whole_message(self, Call call) except -1
    cdef int _pass_on(self, Call call, Frame* frame, bytes payload, Py_ssize_t cost) except -1
    cdef int _piece_came(self, Call call) except -1
    cdef int _count_cut(self, Py_ssize_t change) except -1
    cdef int _return_credit(self, Call call) except -1
    cdef bint _grant_missing(self, Call call) except -1
    cdef bint _reserve(self, Call call, int64_t size) except -1
    cdef int _return_to_pool(self, int64_t size) except -1
    cdef int _serve_waiters(self) except -1
