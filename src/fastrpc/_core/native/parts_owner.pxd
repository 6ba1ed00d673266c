from libc.stdint cimport uint32_t, uint64_t

from fastrpc._core.base.buffer cimport Assembly
from fastrpc._core.base.timed cimport Timed
from fastrpc._core.calls.call cimport Call
from fastrpc._core.framing.frame cimport Frame, WireProtocol
from fastrpc._core.framing.settings cimport Settings


cdef class PartsOwner(Timed):
    cdef:
        # The rules of the wire, and the time: set by whoever drives the connection, before each use.
        WireProtocol wire
        public uint64_t now

        # What the peer accepts and whether it said so; what we announced last; the window that streams get from us.
        readonly Settings peer
        bint settled
        readonly Settings ours
        uint32_t our_stream_window

        # Which side this is; whether the peer takes no new calls; whether the connection is over.
        readonly bint is_client
        readonly bint peer_drains
        readonly bint is_closed

    # What the reader asks and tells; `violate` also what the others find.
    cdef Py_ssize_t on_opening(self, const char* data, Py_ssize_t size) except -1
    cdef bint on_many_frames(self) except -1
    cdef int on_frame(self, Frame* frame, bytes payload) except -1
    cdef Assembly sink_for(self, Frame* frame)
    cdef int violate(self, int reason, str text) except -1

    # What the assembler tells.
    cdef int on_message(self, Call call, Frame* frame, bytes payload, Py_ssize_t cost) except -1
    cdef int on_piece(self, Call call) except -1
    cdef int on_whole_request(self, Call call, Frame* frame, bytes payload) except -1
    cdef int on_whole_response(self, Call call, Frame* frame, bytes payload) except -1
    cdef int end_locally(self, Call call, int status, str text, int reason) except -1

    # What the sender asks and tells.
    cdef int begin_call(self, Call call) except -1
    cdef int give_up(self, Call call, int reason) except -1
    cdef int on_output(self) except -1
    cdef int on_answered(self, Call call) except -1
    cdef int on_answer_waits(self, Call call) except -1
    cdef int on_unsent(self, Call call) except -1
    cdef int on_unsendable(self, Call call, object error) except -1

    # What the call slots tell.
    cdef int on_ids_used_up(self) except -1
