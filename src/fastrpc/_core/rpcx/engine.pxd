"""The engine of either side of a connection: frames cut from the bytes, output in order."""

from libc.stdint cimport uint64_t

from fastrpc._core.base.buffer cimport Assembly
from fastrpc._core.io.engine cimport Engine
from fastrpc._core.rpcx.frames cimport Profile, RpcxFrame


cdef enum:
    # A frame up to here is presented again until it is whole; a longer one gets memory of its own.
    SHORT_FRAME = 65_536

cdef enum LongFrame:
    # More is needed to decide: present its beginning again.
    LONG_WAITS = 0
    LONG_TAKEN = 1
    LONG_DROPPED = 2


cdef class RpcxEngine(Engine):
    cdef:
        readonly Profile profile

        # The most bytes of a frame that is taken.
        Py_ssize_t most_frame

        # A long frame that is being received, or None; bytes that are still to come of one that was refused. The size of
        # the largest frame that came whole.
        Assembly body
        Py_ssize_t skip_left
        Py_ssize_t trusted

        # Whether a frame has begun and is not whole, when it began (0: none has), and how many bytes of it came. Whether
        # nothing more is taken.
        bint is_partial
        readonly uint64_t frame_began_ns
        Py_ssize_t frame_bytes
        readonly bint ignores_input

    cdef Py_ssize_t _cut(self, const char* data, Py_ssize_t size) except -1
    cdef void _note_part(self, Py_ssize_t size) noexcept
    cdef Py_ssize_t _feed(self, const char* data, Py_ssize_t size) except -1
    cdef Py_ssize_t _begin_frame(self, const char* data, Py_ssize_t size) except -1

    # A side implements these.
    cdef int on_frame(self, RpcxFrame* frame) except -1
    cdef int on_violation(self, object error) except -1
    cdef int on_cut(self, const char* data, Py_ssize_t size, Py_ssize_t whole) except -1
    cdef int takes_long_frame(self, const char* data, Py_ssize_t size, Py_ssize_t whole) except -1
    cdef int on_held(self, Py_ssize_t change) except -1
    cdef bint refuses_rest(self) except -1

    # It calls these.
    cdef int skip_body(self) except -1
    cdef int send_payload(self, bytes payload) except -1
    cdef int end(self, bint lingers) except -1
