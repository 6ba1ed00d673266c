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
    # The interval of checks whether the peer's budget has room again: in this time it grows by a hundred calls.
    WITHHELD_NS = 10_000_000


@cython.final
cdef class CallSlots(ConnectionPart):
    cdef:
        # The sender of the calls.
        SendQueue sender

        # Calls we opened, until the last piece of the RESPONSE, and the id of the next one.
        CallTable opened
        public uint64_t next_id

        # The number of calls that may be sent before the peer's SETTINGS arrive. Calls with ids below `early_until`
        # were sent before the SETTINGS were read, and obey the limits of the floor.
        int early_calls
        uint64_t early_until

        # Short REQUESTs are sent before the turn ends once `early_bytes` wait, 0: never. With `is_paced` this needs a
        # stream that sends at once, the instant `early_due_ns`, and few calls in flight; a REQUEST that is alone in its
        # turn is sent at once.
        Py_ssize_t early_bytes
        bint is_paced
        uint64_t early_due_ns

        # The number of frames sent before the first REQUEST of this turn.
        uint64_t turn_began_at

        # Our calls that hold a slot of the peer.
        Py_ssize_t slots_taken
        # While fewer than `usual_slots` calls are open, another is opened without a further check: all slots of the
        # peer, or fewer if the owner waits for the load of `crowd` calls. 0 before the peer's SETTINGS.
        Py_ssize_t usual_slots
        Py_ssize_t crowd
        # The streams among the calls with a slot.
        Py_ssize_t streams_taken
        # REQUESTs that wait for a slot, by priority. REQUESTs of streams wait apart, because they need two slots. Each
        # queue is None until a REQUEST waits.
        PriorityQueue slot_waiters
        PriorityQueue stream_waiters
        # The number of waits so far, which orders the two queues: the older one of their first REQUESTs is sent first.
        uint64_t arrivals
        # The number of dropped REQUESTs in the queues, where they stay until there are many.
        Py_ssize_t dropped
        bint is_releasing

        # The rest of the peer's budget for calls without a result, as far as we know. Each announced slot adds to it;
        # if it is below 0, as many slots are left unused.
        Budget their_idle_work
        int64_t known_places
        # Cancelled calls for whose CANCEL the budget had no room, each with its reason, or None.
        dict untold
        # A CANCEL or a call waits for room in the budget.
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

    # The parts of opening calls.
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
