from libc.stdint cimport uint64_t

from fastrpc._core.buffer cimport Assembly
from fastrpc._core.call cimport Call, Incoming
from fastrpc._core.frame cimport Frame
from fastrpc._core.intake cimport Intake


cdef class Inbox(Intake):
    cdef:
        # Calls of theirs that are counted apart, and unfinished cut messages of each direction.
        readonly Py_ssize_t one_way_calls
        readonly Py_ssize_t streams
        readonly int open_requests
        readonly int open_messages
        readonly int open_responses
        readonly uint64_t dropped_one_way
        bint serves_calls

        # Whether the peer acknowledged our first SETTINGS: new streams get our own window from then on.
        bint first_settings_acknowledged

        # Bytes that messages larger than their stream's window may still borrow.
        public Py_ssize_t stream_pool_left
        uint64_t credits_received

    cdef int refuse(self, Call call, int status, str text) except -1
    cdef int end_locally(self, Call call, int status, str text, int reason) except -1
    cdef int call_ended(self, Call call) except -1
    cdef int hold(self, Call call) except -1
    cdef int reserve_for(self, Call call, Py_ssize_t missing) except -1
    cdef int message_taken(self, Call call, Py_ssize_t cost) except -1
    cdef int forget_opened(self, Call call) except -1

    # Hooks.
    cdef Call new_call(self)
    cdef int on_request(self, Call call, Frame* frame, bytes payload) except -1
    cdef int on_message(self, Call call, bytes payload, Py_ssize_t cost) except -1
    cdef int on_piece(self, Call call) except -1
    cdef int on_end(self, Call call) except -1
    cdef int on_cancel(self, Call call, int reason) except -1
    cdef int on_head(self, Call call, bytes metadata) except -1
    cdef int on_response(self, Call call, Frame* frame, bytes payload) except -1
    cdef int on_local_end(self, Call call, int status, str text) except -1
    cdef int on_control(self, Frame* frame) except -1

    # The parts of the state tables.
    cdef int _request(self, Frame* frame, bytes payload) except -1
    cdef int _begin_request(self, Call call, Frame* frame, bytes payload) except -1
    cdef int _start(self, Call call, Frame* frame, bytes payload) except -1
    cdef int _unlist(self, Call call) except -1
    cdef int _cancel(self, Frame* frame) except -1
    cdef int _end(self, Frame* frame) except -1
    cdef int _data(self, Frame* frame, bytes payload) except -1
    cdef int _callee_data(self, Call call, Frame* frame, bytes payload) except -1
    cdef int _caller_data(self, Call call, Frame* frame, bytes payload) except -1
    cdef int _given_up_data(self, Call call, Frame* frame) except -1
    cdef int _keep_first_piece(self, Call call, Frame* frame, bytes payload) except -1
    cdef int _piece(self, Call call, Frame* frame, bytes payload) except -1
    cdef int _whole_message(self, Call call) except -1
    cdef int _stream_message(self, Call call, Frame* frame, bytes payload) except -1
    cdef int _head(self, Frame* frame) except -1
    cdef int _check_received(self, Frame* frame) except -1
    cdef int _response(self, Frame* frame, bytes payload) except -1
    cdef int _begin_response(self, Call call, Frame* frame, bytes payload) except -1
    cdef int _finish_response(self, Call call, Frame* frame, bytes payload) except -1
    cdef int _credit(self, Frame* frame) except -1
    cdef str _over_limit(self, Frame* frame, int* status)
    cdef str _metadata_text(self)
    cdef str _answer_text(self, uint64_t size)
