"""The server's side of a connection: requests into the gate, answers into frames."""

from libc.stdint cimport uint8_t, uint64_t

from fastrpc._core.rpcx.frames cimport Profile, RpcxFrame
from fastrpc._core.rpcx.requests cimport RpcxRequests
from fastrpc._core.server.engine_served_connection cimport SenderCheck
from fastrpc._core.server.openings cimport Openings
from fastrpc._core.server.served_call cimport ServerCall


cdef class RpcxServer(RpcxRequests):
    cdef:
        # A protocol that derives from this one, whose peers may come with its magic; None: none is served here.
        Profile derived

        # The connections in their opening: it lasts until a call was let in, whole or begun.
        Openings openings

        # Of a drain: when to close at the first moment without a call, and when to take no further ones; 0: not at all.
        uint64_t pause_from_ns
        uint64_t last_call_ns

        # Pushes so far, which number them. The receiver of room for further ones and of the end, or None.
        uint64_t pushes
        public object pusher

        # Judges the senders of long frames, None: of none yet; a verdict that took time, until its frame is presented again.
        SenderCheck sender_check
        int sender_verdict

        # The call of a frame that is not whole and states a timeout, or None; the begin of the last frame that was looked
        # at for one, and the size of it.
        ServerCall cut
        uint64_t cut_ns
        Py_ssize_t cut_bytes

    cdef ServerCall _call_of(self, const char* data)
    cdef uint64_t _check_cut(self, uint64_t now) except? 0
    cdef int _sender_of(self, ServerCall nameless, const char* data, Py_ssize_t size, Py_ssize_t whole) except -1
    cdef bint _has_room(self, ServerCall call, Py_ssize_t size, bint is_new) except -1
    cdef int _take_call(self, RpcxFrame* frame, int compressor) except -1
    cdef int _echo(self, RpcxFrame* frame) except -1
    cdef int _write(self, bytes head, uint8_t flags, bytes entries, Py_ssize_t payload_size) except -1
    cdef int _tell_pusher(self) except -1
    cdef int _heed_output(self, Py_ssize_t unsent, uint64_t now) except -1
    cdef bint _is_busy(self) noexcept
    cdef uint64_t _check_life(self, uint64_t now) except? 0
    cdef uint64_t _check_last_call(self, uint64_t now) except? 0
    cdef int _end_at_pause(self) except -1
