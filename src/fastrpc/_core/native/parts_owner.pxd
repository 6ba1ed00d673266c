from libc.stdint cimport uint32_t, uint64_t

from fastrpc._core.base.timed cimport Timed
from fastrpc._core.calls.call cimport Call
from fastrpc._core.framing.frame cimport WireProtocol
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
