cimport cython
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.base.priority_queue cimport PriorityQueue, Queue
from fastrpc._core.calls.call cimport Call
from fastrpc._core.native.call_table cimport CallTable
from fastrpc._core.native.hooks cimport ConnectionPart
from fastrpc._core.native.outgoing cimport Outgoing
from fastrpc._core.native.send_queue cimport SendQueue
from fastrpc._core.wire.frame cimport Frame
from fastrpc._core.wire.window cimport Budget

cdef enum:
    # The interval at which we check whether the peer's budget allows frames again. It grows by a hundred calls meanwhile.
    WITHHELD_NS = 10_000_000


@cython.final
cdef class CallSlots(ConnectionPart):
    cdef:
        # The sender of the calls.
        SendQueue sender

        # `opened`: the calls that this side opened, until the last piece of their RESPONSE. `next_id`: the id of the
        # next call.
        CallTable opened
        public uint64_t next_id

        # The number of calls that may be sent before the peer's SETTINGS arrive. Calls with ids below `early_until`
        # were sent before the SETTINGS were read, and obey the limits of the floor.
        int early_calls
        uint64_t early_until

        # Short REQUESTs are flushed before the turn of the event loop ends when `early_bytes` of them wait; 0 = never. If
        # `is_paced`, an early flush also needs a stream that sends immediately, few calls in flight, and the instant
        # `early_due_ns`; but a REQUEST that is alone in its turn is flushed immediately.
        Py_ssize_t early_bytes
        bint is_paced
        uint64_t early_due_ns

        # `data_frames_sent` of the sender before the first REQUEST of this turn.
        uint64_t turn_began_at

        # Our calls that hold a slot of the peer.
        Py_ssize_t slots_taken
        # While fewer than `usual_slots` calls are open, another is opened without a further check. This is the number of
        # the peer's slots, or `crowd` if that is less: the owner is notified when `crowd` calls are in flight. 0 before
        # the peer's SETTINGS.
        Py_ssize_t usual_slots
        Py_ssize_t crowd
        # The streams among the calls with a slot.
        Py_ssize_t streams_taken
        # `slot_waiters`: REQUESTs that wait for a slot, by priority. `stream_waiters`: REQUESTs of streams, which wait
        # in separate queues because they need two slots. Each queue is None until a REQUEST waits.
        PriorityQueue slot_waiters
        PriorityQueue stream_waiters
        # The number of REQUESTs that had to wait so far. It orders the two queues: the older of their first REQUESTs is
        # sent first.
        uint64_t arrivals
        # `dropped`: the number of dropped REQUESTs that are still in the queues. They are removed when there are many.
        # `is_releasing`: whether waiting REQUESTs are being sent now.
        Py_ssize_t dropped
        bint is_releasing

        # `their_idle_work`: an estimate of the rest of the peer's budget for calls without a result. Each announced
        # slot adds to it; while it is below 0, a slot is left unused for each missing token.
        Budget their_idle_work
        int64_t known_places
        # Cancelled calls whose CANCEL the budget did not allow yet, with their reasons, or None.
        dict untold
        # Whether a CANCEL or a call waits for the budget.
        bint withholds

    cdef bint may_open(self, Call call) noexcept
    cdef int send_request(self, Call call, bytes payload) except -1
    cdef int begin_call(self, Call call) except -1
    cdef int give_up(self, Call call, int reason) except -1
    cdef int was_unsent(self, Call call) except -1
    cdef Call find(self, uint64_t id)
    cdef list unsent_calls(self)
    cdef tuple queues(self)
    cdef int release_slots(self) except -1
    cdef int return_slot(self, Call call) except -1
    cdef int note_answer(self, Frame* frame) noexcept
    cdef int know_slots(self, int64_t slots) noexcept
    cdef int await_crowd(self, Py_ssize_t crowd) noexcept
    cdef bint resume_withheld(self) except -1

    # The steps of opening and abandoning calls.
    cdef bint _write_request(self, Call call, bytes payload) except -1
    cdef int _send_early(self, Py_ssize_t whole) except -1
    cdef bint _begin_turn(self) noexcept
    cdef PriorityQueue _waiters_of(self, Call call)
    cdef int _take_slot(self, Call call) noexcept
    cdef int _open(self, Outgoing item) except -1
    cdef bint _gives_way(self, Call call) noexcept
    cdef int _release_early(self) except -1
    cdef int _release_early_of(self, Queue calls, Queue streams) except -1
    cdef int _release_if_early(self, Queue queue) except -1
    cdef int _release_all(self) except -1
    cdef Queue _next_waiters(self)
    cdef bint _precedes(self, Queue one, Queue other) except -1
    cdef bint _has_waiters(self) noexcept
    cdef tuple _own_queues(self)
    cdef bint _is_in_debt(self) noexcept
    cdef bint _has_unusual_slot(self) noexcept
    cdef int _withhold(self) except -1
    cdef int _keep_untold(self, Call call, int reason) except -1
    cdef int _send_cancel(self, Call call, int reason) except -1
