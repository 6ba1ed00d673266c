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
        # A frame whose payload is incomplete, and a copy of its head, to which the frame points.
        Frame frame
        bytes head


@cython.final
cdef class FrameReader(ConnectionPart):
    cdef:
        # The rules of the wire, the owner's.
        WireProtocol wire

        # Whether the opening before the frames is still to come, which the FrameHandler takes.
        bint awaits_opening

        # The window that all calls share, and whether the present frame was already taken from it.
        Window received
        bint is_counted

        # The frame with an incomplete payload, or None, and the instant of its begin.
        HeldFrame held
        uint64_t held_at
        # The place of its payload; None: it is skipped.
        readonly Assembly sink
        # Whether the payload is a whole message.
        bint sink_is_own
        # The missing bytes of its payload.
        readonly Py_ssize_t body_left

        # The last REQUEST that was incomplete at the end of a read: its id, its flags, its stated timeout, the instant
        # of its begin. It may be complete by now.
        uint64_t cut_id
        uint8_t cut_flags
        uint64_t cut_timeout_us
        uint64_t cut_at

        # The counted bytes of that payload; the reason why it is skipped for want of memory, or None.
        readonly Py_ssize_t counted
        readonly str dropped

        # While a held frame is handled: the begun message that has its payload already, or whether the payload was
        # skipped.
        Assembly arrived
        bint was_skipped

        # Size of the largest payload received whole: this size may be allocated at once (buffer.Assembly).
        Py_ssize_t trusted

    cdef Py_ssize_t receive(self, const char* data, Py_ssize_t size) except -1
    cdef char* body_place(self, Py_ssize_t* room) except? NULL
    cdef int body_received(self, Py_ssize_t size) except -1
    cdef int drop_part(self) except -1

    # The parts of receiving.
    cdef int _refuse(self, Frame* frame, bint header_is_sound) except -1
    cdef int _count(self, Frame* frame) except -1
    cdef int _hold(self, Frame* frame, const char* data) except -1
    cdef Py_ssize_t _feed_body(self, const char* data, Py_ssize_t size) except -1
    cdef int _count_part(self) except -1
    cdef int _part_ended(self, bint is_over) except -1
    cdef int _note_cut(self, Frame* frame, uint64_t timeout_us) except -1
    cdef int _release_held(self) except -1
