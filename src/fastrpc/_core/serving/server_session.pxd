from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.calls.call cimport Call
from fastrpc._core.io.session cimport Session
from fastrpc._core.serving.exchange cimport Exchange
from fastrpc._core.serving.gate cimport Gate
from fastrpc._core.serving.openings cimport Openings


cdef class NativeExchange(Exchange):
    cdef:
        # The connection, borrowed: NULL once it is gone.
        PyObject* _session

        # Who is on the other side, made on first use.
        object peer_info

    cdef ServerSession owner(self)


cdef class ServerSession(Session):
    cdef:
        # What all connections of the server share; those that open.
        readonly Gate gate
        readonly Openings openings

        # What the gate knows of this connection; the same borrowed, NULL once it is gone. Whichever of the two is
        # freed first clears the pointer that the other has to it.
        readonly NativeExchange exchange
        PyObject* _exchange

        # When the answers of this read that are written by then are to leave.
        uint64_t flush_due_ns

        # Opening under way; one connection too many; told to drain before it was open; when a drain ends.
        bint is_opening
        bint is_surplus
        int pending_drain
        uint64_t leave_at_ns
        uint64_t leave_after_ns

        # Credit kept back while memory is short.
        int64_t withheld

    cpdef int end_calls(self, str text) except -1
    cpdef int return_credit(self) except -1
    cdef int send_refusal(self, Call call, int status, str text, bint is_faulty) except -1
    cdef int flush_early(self) except -1
    cdef int leave_opening(self) except -1
    cdef int _free_one_way(self, Call call) except -1
    cdef int drop_request(self, Call call, int status, str text) except -1
    cdef int weigh_output(self) except -1
    cdef bint _peer_rests(self) noexcept
    cdef uint64_t _check_leaving(self, uint64_t now) except? 0
