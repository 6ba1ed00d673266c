cimport cython
from libc.stdint cimport uint8_t, uint64_t

from fastrpc._core.base.buffer cimport Assembly
from fastrpc._core.native.hooks cimport ConnectionPart
from fastrpc._core.wire.frame cimport Frame, WireProtocol
from fastrpc._core.wire.window cimport Window

cdef enum:
    # The result of `on_opening` for an incomplete opening; -1 is an exception.
    OPENING_INCOMPLETE = -2


@cython.final
cdef class HeldFrame:
    cdef:
        # `frame`: a frame whose payload is incomplete. `head`: a copy of its head, into which its pointers point.
        Frame frame
        bytes head


@cython.final
cdef class FrameReader(ConnectionPart):
    cdef:
        # The rules of the wire; the same object as the owner's.
        WireProtocol wire

        # Whether the opening, which precedes the frames, is still expected. The FrameHandler handles it.
        bint awaits_opening

        # `received`: the window that all calls share; `is_counted`: whether the current frame was already subtracted
        # from it.
        Window received
        bint is_counted

        # `held`: the frame with an incomplete payload, or None; `held_at`: the instant at which its first bytes
        # arrived.
        HeldFrame held
        uint64_t held_at
        # The memory for its payload; None if the payload is skipped.
        readonly Assembly sink
        # Whether the payload begins a message, so that `sink` has only bytes of this frame.
        bint sink_is_own
        # The missing bytes of its payload.
        readonly Py_ssize_t body_left

        # The last REQUEST that was incomplete at the end of a read, and may be complete by now: its id, flags and
        # stated timeout, and `cut_at`, the instant at which its first bytes arrived.
        uint64_t cut_id
        uint8_t cut_flags
        uint64_t cut_timeout_us
        uint64_t cut_at

        # `counted`: how many bytes of the held payload are counted as memory; `dropped`: why it is skipped if memory is
        # full, or None.
        readonly Py_ssize_t counted
        readonly str dropped

        # `arrived`: set while a held frame is handled: the incomplete message to which its payload was already added,
        # or None; `was_skipped`: whether the payload was skipped.
        Assembly arrived
        bint was_skipped

        # The size of the largest complete payload so far. Up to this size memory is allocated in one step
        # (buffer.Assembly).
        Py_ssize_t trusted

    cdef Py_ssize_t receive(self, const char* data, Py_ssize_t size) except -1
    cdef char* body_place(self, Py_ssize_t* room) except? NULL
    cdef int body_received(self, Py_ssize_t size) except -1
    cdef int drop_part(self) except -1

    # The steps of receiving.
    cdef int _refuse(self, Frame* frame, bint header_is_sound) except -1
    cdef int _count(self, Frame* frame) except -1
    cdef int _hold(self, Frame* frame, const char* data) except -1
    cdef Py_ssize_t _feed_body(self, const char* data, Py_ssize_t size) except -1
    cdef int _count_part(self) except -1
    cdef int _part_ended(self, bint is_over) except -1
    cdef int _note_cut(self, Frame* frame, uint64_t timeout_us) except -1
    cdef int _release_held(self) except -1
