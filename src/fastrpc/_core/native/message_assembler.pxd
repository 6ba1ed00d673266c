from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.calls.call cimport Call
from fastrpc._core.framing.frame cimport Frame
from fastrpc._core.native.frame_reader cimport FrameReader
from fastrpc._core.base.queue cimport Queue


cdef class MessageAssembler(FrameReader):
    cdef:
        # Whether the peer acknowledged our first SETTINGS: streams it opens get our own window from then on.
        bint first_settings_acknowledged

        # Bytes that messages larger than their stream's window may still borrow, and who waits for some, in order.
        public Py_ssize_t stream_pool_left
        Queue pool_waiters

    cdef int keep_first_piece(self, Call call, Frame* frame) except -1
    cdef int piece(self, Call call, Frame* frame) except -1
    cdef int stream_message(self, Call call, Frame* frame, bytes payload) except -1
    cdef int message_taken(self, Call call, Py_ssize_t cost) except -1
    cdef int drop_incoming(self, Call call) except -1

    # Hooks.
    cdef int on_message(self, Call call, Frame* frame, bytes payload, Py_ssize_t cost) except -1
    cdef int on_piece(self, Call call) except -1
    cdef int on_whole_request(self, Call call, Frame* frame, bytes payload) except -1
    cdef int on_whole_response(self, Call call, Frame* frame, bytes payload) except -1
    cdef int end_locally(self, Call call, int status, str text, int reason) except -1

    # The parts of it.
    cdef bint _pays_for_itself(self, Frame* frame) noexcept
    cdef int _whole_message(self, Call call) except -1
    cdef bint _grant_missing(self, Call call) except -1
    cdef bint _reserve(self, Call call, Py_ssize_t size) except -1
    cdef int _return_to_pool(self, Py_ssize_t size) except -1
