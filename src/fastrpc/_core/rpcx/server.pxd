"""The server's side of a connection: requests into the gate, answers into frames."""

cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport uint8_t, uint64_t

from fastrpc._core.rpcx.engine cimport RpcxEngine
from fastrpc._core.rpcx.frames cimport RpcxFrame
from fastrpc._core.serving.engine_exchange cimport EngineExchange
from fastrpc._core.serving.exchange cimport Failure
from fastrpc._core.serving.gate cimport Gate
from fastrpc._core.serving.openings cimport Openings
from fastrpc._core.serving.served_call cimport ServerCall

cdef enum:
    # A longer name is that of no method.
    LONGEST_NAME = 512


@cython.final
cdef class RpcxExchange(EngineExchange):
    pass


cdef class RpcxServer(RpcxEngine):
    cdef:
        # What all connections of the server share; what the gate knows of this one, and the same borrowed. Whichever of
        # the two is freed first clears the pointer that the other has to it.
        readonly Gate gate
        readonly RpcxExchange exchange
        PyObject* _exchange

        # Whether the opening lasts: no call was let in yet. When that has to be over, 0: at any time.
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

        # Instants: of the last call or its end; when the age is reached, when the calls are cut off, until when a closed
        # connection lingers; 0: not at all.
        uint64_t used_ns
        uint64_t aged_at_ns
        uint64_t leave_at_ns
        uint64_t linger_until_ns

        # Since when the peer takes no output, 0: it does, and what it had taken by then; whether nothing is read meanwhile.
        uint64_t stuck_ns
        long long taken
        bint is_held_back

        # Pushes so far, which number them. What hears that there is room for further ones, and that there never will be;
        # None: nobody pushes.
        uint64_t pushes
        public object pusher

        # The full name of the method of the frame that is handled.
        char[LONGEST_NAME] name

    cdef int _take_call(self, RpcxFrame* frame, int compressor) except -1
    cdef Py_ssize_t _find_name(self, RpcxFrame* frame) noexcept
    cdef bint _takes_metadata(self, ServerCall call, RpcxFrame* frame) except -1
    cdef int _refuse(self, ServerCall call, Py_ssize_t name_size, int status, str text) except -1
    cdef int _echo(self, RpcxFrame* frame) except -1
    cdef int send_answer(self, ServerCall call, bytes payload) except -1
    cdef int send_failure(self, ServerCall call, Failure failure) except -1
    cdef int _write(self, bytes head, uint8_t flags, bytes entries, Py_ssize_t payload_size) except -1
    cdef int refused_token(self) except -1
    cdef int _tell_pusher(self) except -1
    cdef int after_call(self, bint was_let_in) except -1
    cdef int leave_opening(self) except -1
    cdef bint _is_busy(self) noexcept
    cdef uint64_t _check_opening(self, uint64_t now) except? 0
    cdef uint64_t _check_silence(self, uint64_t now) except? 0
    cdef uint64_t _check_rest(self, uint64_t now) except? 0
