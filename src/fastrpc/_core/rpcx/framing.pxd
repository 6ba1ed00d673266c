"""The splitting of a connection's bytes into frames."""

cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport uint64_t

from fastrpc._core.base.buffer cimport Assembly
from fastrpc._core.link.contract cimport Placing, Wire
from fastrpc._core.rpcx.frames cimport Profile, RpcxFrame
from fastrpc._core.server.link cimport Link, LinkedConnection


cdef enum:
    # A frame up to this size is passed again with each read until it is complete. A longer frame gets separate memory.
    SHORT_FRAME = 65_536

cdef enum LongFrame:
    # More bytes are needed for a decision: pass the beginning of the frame again.
    LONG_WAITS = 0
    LONG_TAKEN = 1
    LONG_DROPPED = 2


@cython.final
cdef class RpcxBody(Placing):
    cdef:
        # The wire, borrowed. It holds this object, and only the wire and its link use this object.
        PyObject* wire

        # `frame`: the incomplete long frame, or None; `trusted`: the size of the largest complete frame so far.
        Assembly frame
        Py_ssize_t trusted

    cdef int begin(self, Py_ssize_t whole) except -1
    cdef Py_ssize_t feed(self, const char* data, Py_ssize_t size) except -1
    cdef const char* beginning(self) noexcept
    cdef int skip(self) except -1
    cdef int drop(self) except -1
    cdef int _came(self) except -1
    cdef int _finish(self) except -1


cdef class RpcxFraming(Wire):
    cdef:
        readonly Profile profile

        # The connection of the wire's link, through which the link is reached; None before `join`.
        LinkedConnection connection

        # The size of the longest frame that is accepted.
        Py_ssize_t most_frame

        # `body`: the memory of an incomplete long frame; `skip_left`: the number of bytes to skip, which are the rest
        # of a refused frame.
        RpcxBody body
        Py_ssize_t skip_left

        # `is_partial`: whether a frame is incomplete; `frame_began_ns`: the instant of its first bytes, 0 without a
        # frame; `frame_bytes`: the number of its received bytes.
        bint is_partial
        readonly uint64_t frame_began_ns
        Py_ssize_t frame_bytes

    # Return the link of this wire, which is never NULL because only the link calls its wire.
    cdef inline Link link(self):
        return <Link>self.connection._engine

    cdef void note_part(self, Py_ssize_t size) noexcept
    cdef Py_ssize_t _begin_frame(self, const char* data, Py_ssize_t size) except -1

    # Implemented by each side.
    cdef int on_frame(self, RpcxFrame* frame) except -1
    cdef int on_cut(self, const char* data, Py_ssize_t size, Py_ssize_t whole) except -1
    cdef int takes_long_frame(self, const char* data, Py_ssize_t size, Py_ssize_t whole) except -1
    cdef bint refuses_rest(self) except -1
