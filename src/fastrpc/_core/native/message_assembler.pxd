cimport cython
from cpython.ref cimport PyObject

from fastrpc._core.base.queue cimport Queue
from fastrpc._core.calls.call cimport Call
from fastrpc._core.framing.frame cimport Frame
from fastrpc._core.framing.window cimport Budget
from fastrpc._core.native.frame_reader cimport FrameReader
from fastrpc._core.native.parts_owner cimport PartsOwner
from fastrpc._core.native.send_queue cimport SendQueue


@cython.final
cdef class MessageAssembler:
    cdef:
        # Who holds this part: borrowed, NULL once it is gone (parts_owner). Where frames are held, what sends credit.
        PyObject* owner
        FrameReader reader
        SendQueue sender

        # Bytes that messages larger than their stream's window may still borrow, and who waits for some, in order.
        public Py_ssize_t stream_pool_left
        Queue pool_waiters

        # What middle pieces with less payload than a header and its handling cost may use up.
        Budget short_pieces

    cdef int keep_first_piece(self, Call call, Frame* frame) except -1
    cdef int piece(self, Call call, Frame* frame) except -1
    cdef int stream_message(self, Call call, Frame* frame, bytes payload) except -1
    cdef int message_taken(self, Call call, Py_ssize_t cost) except -1
    cdef int drop_incoming(self, Call call) except -1

    # The parts of it.
    cdef bint _pays_for_itself(self, Frame* frame) noexcept
    cdef int _whole_message(self, Call call) except -1
    cdef bint _grant_missing(self, Call call) except -1
    cdef bint _reserve(self, Call call, Py_ssize_t size) except -1
    cdef int _return_to_pool(self, Py_ssize_t size) except -1


cdef MessageAssembler new_assembler(PartsOwner owner, FrameReader reader, SendQueue sender)
