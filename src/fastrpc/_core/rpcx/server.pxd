"""The server's side of a connection: requests into the gate, answers into frames."""

from libc.stdint cimport uint8_t, uint64_t

from fastrpc._core.rpcx.frames cimport RpcxFrame
from fastrpc._core.rpcx.profile cimport Profile
from fastrpc._core.rpcx.requests cimport RpcxRequests
from fastrpc._core.serving.openings cimport Openings
from fastrpc._core.serving.served_call cimport ServerCall


cdef class RpcxServer(RpcxRequests):
    cdef:
        # A protocol that derives from this one, whose peers may come with its magic; None: none is served here.
        Profile derived

        # Whether the opening lasts: no call was let in yet, whole or begun. When that has to be over, 0: at any time.
        Openings openings
        readonly bint is_opening
        uint64_t handshake_ns
        uint64_t opening_due_ns

        # Spans: silence that ends a connection in the middle of a frame, or one that takes no output; idleness; age; what
        # calls get once the age is reached; how long a closed connection may take to read what is left. 0: no limit.
        # How often to look at what is tied to no instant.
        uint64_t silence_ns
        uint64_t look_after_ns
        uint64_t idle_ns
        uint64_t age_ns
        uint64_t leave_after_ns
        uint64_t linger_ns

        # Instants: when the age is reached, when the calls are cut off, until when a closed
        # connection lingers; 0: not at all.
        uint64_t aged_at_ns
        uint64_t leave_at_ns
        uint64_t linger_until_ns

        # Of a drain: when to close at the first moment without a call, and when to take no further ones; 0: not at all.
        uint64_t pause_from_ns
        uint64_t last_call_ns

        # Since when the peer takes no output, 0: it does, and what it had taken by then; whether nothing is read meanwhile.
        uint64_t stuck_ns
        long long taken
        bint is_held_back

        # Pushes so far, which number them. What hears that there is room for further ones, and that there never will be;
        # None: nobody pushes.
        uint64_t pushes
        public object pusher

        # Looks at the beginnings of long frames, None: of none yet.
        object sender_check

    cdef ServerCall _call_of(self, const char* data)
    cdef bint _has_room(self, ServerCall call, Py_ssize_t size, bint is_new) except -1
    cdef int _take_call(self, RpcxFrame* frame, int compressor) except -1
    cdef int _echo(self, RpcxFrame* frame) except -1
    cdef int _write(self, bytes head, uint8_t flags, bytes entries, Py_ssize_t payload_size) except -1
    cdef int _tell_pusher(self) except -1
    cdef int _heed_output(self, Py_ssize_t unsent, uint64_t now) except -1
    cdef int leave_opening(self) except -1
    cdef bint _is_busy(self) noexcept
    cdef uint64_t _check_opening(self, uint64_t now) except? 0
    cdef uint64_t _check_silence(self, uint64_t now) except? 0
    cdef bint _is_late(self, uint64_t now) noexcept
    cdef uint64_t _check_rest(self, uint64_t now) except? 0
    cdef uint64_t _check_drain(self, uint64_t now) except? 0
    cdef int _end_at_pause(self) except -1
