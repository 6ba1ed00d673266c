cimport cython
from libc.stdint cimport uint32_t, uint64_t

from fastrpc._core.calls.call cimport Call
from fastrpc._core.native.call_table cimport CallTable
from fastrpc._core.native.frame_reader cimport FrameReader
from fastrpc._core.native.hooks cimport CalleeHooks
from fastrpc._core.native.message_assembler cimport MessageAssembler
from fastrpc._core.native.send_queue cimport SendQueue
from fastrpc._core.wire.frame cimport Frame
from fastrpc._core.wire.window cimport Budget


@cython.final
cdef class CalleeStates(CalleeHooks):
    cdef:
        # The parts with which this part works.
        FrameReader reader
        MessageAssembler assembler
        SendQueue sender

        # Calls of the peer, until the last piece of their RESPONSE was sent.
        CallTable calls
        # `highest_seen`: the highest id seen; `highest_id`: the highest id of a call that was not discarded.
        uint64_t highest_seen
        readonly uint64_t highest_id
        # The last id that we accept after GOAWAY FINAL.
        readonly uint64_t last_taken

        # The number of one-way calls whose handlers have not ended, which do not count as calls.
        readonly Py_ssize_t one_way_calls
        # The number of one-way calls in `calls`, which are those with an incomplete REQUEST.
        Py_ssize_t one_way_listed
        # The number of streaming calls in `calls`.
        readonly Py_ssize_t streams
        # The number of one-way calls that were dropped.
        readonly uint64_t dropped_one_way

        # The number of REQUESTs in several frames that are incomplete.
        readonly int open_requests
        # `serves_calls`: whether MAX_CALLS was ever above 0; `refused_cut`: the id of the last REQUEST that was refused
        # before its first frame was complete; `most_calls`: the highest MAX_CALLS so far; `refusals_waiting`: the
        # number of refusals that wait for credit.
        bint serves_calls
        uint64_t refused_cut
        Py_ssize_t most_calls
        Py_ssize_t refusals_waiting

        # `idle_work`: the budget for calls of the peer that failed before a handler ran. `call_bound` and
        # `stream_bound`: the highest limits of calls and streams that an honest caller may still obey: the acknowledged
        # settings, or any announced since.
        Budget idle_work
        Py_ssize_t call_bound
        Py_ssize_t stream_bound

    cdef int request(self, Frame* frame, bytes payload) except -1
    cdef int data(self, Frame* frame, bytes payload) except -1
    cdef int end(self, Frame* frame) except -1
    cdef int cancel(self, Frame* frame) except -1
    cdef Call find(self, uint64_t id)
    cdef Call receiver(self, Frame* frame, str kind)
    cdef int hold(self, Call call) except -1
    cdef int refuse(self, Call call, int status, str text) except -1
    cdef Call take_cut(self)
    cdef int send_refusal(self, Call call, int status, str text, uint32_t pushback_ms) except -1
    cdef int spend_idle_work(self, Call call) except -1
    cdef int ended(self, Call call) except -1

    cdef int _used_id(self, Frame* frame) except -1
    cdef bint _is_modest(self, Frame* frame) noexcept
    cdef str _over_limit(self, Frame* frame, int* status, bint* is_faulty)
    cdef str _over_count(self, Frame* frame, bint* is_faulty)
    cdef bint _refuse_early(self, Call call, Frame* frame) except -1
    cdef int _refuse_faulty(self, Call call, int status, str text, uint32_t pushback_ms) except -1
    cdef int _begin_request(self, Call call, Frame* frame) except -1
    cdef int _unlist(self, Call call) except -1
    cdef bint _is_overdue(self, Call call, int reason) noexcept
