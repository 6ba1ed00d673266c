from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastrpc._core.base.buffer cimport Assembly
from fastrpc._core.calls.call cimport Call
from fastrpc._core.framing.frame cimport Frame
from fastrpc._core.native.call_slots cimport CallSlots
from fastrpc._core.native.call_table cimport CallTable
from fastrpc._core.native.parts_owner cimport PartsOwner
from fastrpc._core.native.send_queue cimport SendQueue
from fastrpc._core.framing.window cimport Budget, Window

cdef enum:
    # So many frames are handled without a look at the clock.
    FRAMES_AT_ONCE = 32
    # What `on_opening` returns until all of the opening is there; -1 is an exception.
    OPENING_INCOMPLETE = -2
    # PROTOCOL.md, "Budgets": frames that may be discarded, and what comes back of the bytes that may.
    LATE_FRAMES = 1000
    LATE_BYTES_PER_SECOND = 330 * 1024


cdef class FrameReader(PartsOwner):
    cdef:
        # The parts that send.
        readonly SendQueue sender
        readonly CallSlots slots

        # Calls they opened, until the last piece of the RESPONSE.
        CallTable accepted

        # The window all their calls share, and whether the frame at hand was already taken from it.
        Window received
        bint is_counted

        # Frames until somebody looks at the clock, and when the bytes at hand came if that was not now (0: now).
        int frames_left
        uint64_t came_ns

        # A frame whose payload is still coming: its head (kept in `held_head`) and since when, where the payload goes
        # (None: it is skipped), whether that is a message of its own, and the missing bytes. 0 = no such frame.
        Frame held
        bytes held_head
        uint64_t held_at
        readonly Assembly sink
        bint sink_is_own
        readonly Py_ssize_t body_left

        # While a held frame is handled: the begun message its payload already lies in, or that nothing was kept of it.
        Assembly arrived
        bint was_skipped

        # Largest payload received whole: so much may be allocated at once (buffer.Assembly).
        Py_ssize_t trusted

        # Their calls: the highest id seen, the same without those discarded, the last one we take after GOAWAY FINAL.
        uint64_t highest_seen
        readonly uint64_t highest_id
        readonly uint64_t last_taken

        # What may be discarded before it counts as a flood.
        Budget late_frames
        Budget late_bytes

        # What middle pieces with less payload than a header and its handling cost may use up.
        Budget short_pieces

    cdef Py_ssize_t receive(self, const char* data, Py_ssize_t size) except -1
    cdef char* body_place(self, Py_ssize_t* room) except? NULL
    cdef int body_received(self, Py_ssize_t size) except -1
    cdef int violate(self, int reason, str text) except -1
    cdef Call find_accepted(self, uint64_t id)

    # Hooks.
    cdef bint on_many_frames(self) except -1
    cdef Py_ssize_t on_opening(self, const char* data, Py_ssize_t size) except -1
    cdef int on_frame(self, Frame* frame, bytes payload) except -1
    cdef int on_violation(self, int reason, str text) except -1

    # The parts of receiving.
    cdef int _refuse(self, Frame* frame, bint header_is_sound) except -1
    cdef int _count(self, Frame* frame) except -1
    cdef int _hold(self, Frame* frame, const char* data) except -1
    cdef int _rebase(self, Frame* frame, const char* data, Py_ssize_t head) except -1
    cdef Assembly _sink_for(self, Frame* frame)
    cdef Py_ssize_t _feed_body(self, const char* data, Py_ssize_t size) except -1
    cdef int _release_held(self) except -1
    cdef int _placed(self, Frame* frame) except -1
    cdef int _discard(self, Frame* frame) except -1
