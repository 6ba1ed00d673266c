from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastrpc._core.calls.call cimport Call
from fastrpc._core.native.call_table cimport CallTable
from fastrpc._core.framing.frame cimport Frame
from fastrpc._core.base.queue cimport Queue
from fastrpc._core.native.outgoing cimport Outgoing
from fastrpc._core.native.send_queue cimport SMALL_MESSAGE, TRANSPORT_SHARE, SendQueue
from fastrpc._core.framing.window cimport Budget

cdef enum:
    # How often it is looked whether the peer's budget has room again: it grows by a hundred calls meanwhile.
    WITHHELD_NS = 10_000_000


cdef class CallSlots(SendQueue):
    cdef:
        # Calls we opened and calls they opened, until the last piece of the RESPONSE.
        CallTable opened
        CallTable accepted
        public uint64_t next_id

        # Calls of ours below this id were sent before the peer's first SETTINGS were read: against the floor.
        uint64_t early_until
        uint32_t our_stream_window

        # Whether the peer takes no new calls, whether the connection is over; what may be sent before its SETTINGS.
        readonly bint peer_drains
        readonly bint is_closed
        int early_calls

        # Calls of ours that hold one of the peer's slots, those among them that stream, and the REQUESTs that wait for
        # a slot: those of streams apart, because they need two.
        Py_ssize_t slots_taken
        Py_ssize_t streams_taken
        Queue slot_waiters
        Queue stream_waiters
        bint is_releasing

        # What is left, as far as we know, of the peer's budget for calls that come to nothing, which each slot it
        # announced makes wider; below 0 that many slots stay empty. Calls that were given up and that it had no room
        # for, each with the reason, or None. Whether anything of ours waits for it.
        Budget their_idle_work
        int64_t known_places
        dict untold
        bint withholds

    cdef bint may_open(self, Call call) noexcept
    cdef int send_request(self, Call call, bytes payload) except -1
    cdef list unsent_calls(self)
    cdef int release_slots(self) except -1
    cdef int return_slot(self, Call call) except -1
    cdef int note_answer(self, Frame* frame) noexcept
    cdef int know_slots(self, int64_t slots) noexcept
    cdef bint resume_withheld(self) except -1

    # Hooks.
    cdef int on_withheld(self) except -1
    cdef int on_ids_used_up(self) except -1

    # The parts of opening calls.
    cdef bint _write_request(self, Call call, bytes payload) except -1
    cdef int _take_slot(self, Call call) noexcept
    cdef int _release(self, Queue waiters) except -1
    cdef bint _is_in_debt(self) noexcept
    cdef int _withhold(self) except -1
    cdef int _keep_untold(self, Call call, int reason) except -1
