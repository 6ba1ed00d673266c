from libc.stdint cimport uint32_t, uint64_t

from fastrpc._core.calls.call cimport Call
from fastrpc._core.framing.frame cimport Frame
from fastrpc._core.native.call_slots cimport CallSlots
from fastrpc._core.native.call_table cimport CallTable
from fastrpc._core.native.frame_reader cimport FrameReader
from fastrpc._core.native.message_assembler cimport MessageAssembler
from fastrpc._core.native.parts_owner cimport PartsOwner
from fastrpc._core.native.send_queue cimport SendQueue
from fastrpc._core.framing.window cimport Budget


cdef class CallStates(PartsOwner):
    cdef:
        # The parts of the connection.
        readonly FrameReader reader
        readonly MessageAssembler assembler
        readonly SendQueue sender
        readonly CallSlots slots

        # Calls of theirs, until the last piece of the RESPONSE: the highest id seen, the same without those discarded,
        # the last one we take after GOAWAY FINAL.
        CallTable accepted
        uint64_t highest_seen
        readonly uint64_t highest_id
        readonly uint64_t last_taken

        # Whether the peer acknowledged our first SETTINGS: streams it opens get our own window from then on.
        bint first_settings_acknowledged

        # What may be discarded before it counts as a flood.
        Budget late_frames
        Budget late_bytes

        # Calls of theirs: one-way ones, counted apart until their handlers end, and how many of them are listed (their
        # REQUEST is not whole); listed ones that stream; one-way ones that were dropped.
        readonly Py_ssize_t one_way_calls
        Py_ssize_t one_way_listed
        readonly Py_ssize_t streams
        readonly uint64_t dropped_one_way

        # Unfinished cut REQUESTs and RESPONSEs of theirs, and how many of each an honest peer may have.
        readonly int open_requests
        readonly int open_responses
        readonly int open_messages

        # Whether MAX_CALLS was ever above 0, and its highest value: so many refusals may wait for credit.
        bint serves_calls
        Py_ssize_t most_calls
        Py_ssize_t refusals_waiting

        # Calls of theirs that came to nothing, and the bounds an honest caller keeps: the most generous of those
        # acknowledged and those announced since.
        Budget idle_work
        Py_ssize_t call_bound
        Py_ssize_t stream_bound

        # CREDIT frames, against `data_frames_sent`.
        uint64_t credits_received

    cdef int refuse(self, Call call, int status, str text) except -1
    cdef int refuse_faulty(self, Call call, int status, str text) except -1
    cdef int spend_idle_work(self, Call call) except -1
    cdef int call_ended(self, Call call) except -1
    cdef int hold(self, Call call) except -1
    cdef int forget_opened(self, Call call) except -1

    cdef Call find_accepted(self, uint64_t id)
    cdef int _placed(self, Frame* frame) except -1
    cdef int _discard(self, Frame* frame) except -1

    # Hooks.
    cdef Call new_call(self)
    cdef int on_begun(self, Call call, Frame* frame) except -1
    cdef int on_request(self, Call call, Frame* frame, bytes payload) except -1
    cdef int on_end(self, Call call) except -1
    cdef int on_cancel(self, Call call, int reason) except -1
    cdef int on_head(self, Call call, bytes metadata) except -1
    cdef int on_response(self, Call call, Frame* frame, bytes payload) except -1
    cdef int on_freed(self, Call call) except -1
    cdef int on_local_end(self, Call call, int status, str text) except -1
    cdef int on_ignored(self, Frame* frame) except -1
    cdef int on_credit(self, uint64_t id, uint32_t size) except -1
    cdef int on_control(self, Frame* frame) except -1

    # The parts of the state tables.
    cdef int _request(self, Frame* frame, bytes payload) except -1
    cdef bint _refuse_early(self, Call call, Frame* frame) except -1
    cdef int _begin_request(self, Call call, Frame* frame) except -1
    cdef int _unlist(self, Call call) except -1
    cdef int _cancel(self, Frame* frame) except -1
    cdef int _end(self, Frame* frame) except -1
    cdef int _data(self, Frame* frame, bytes payload) except -1
    cdef int _callee_data(self, Call call, Frame* frame, bytes payload) except -1
    cdef int _caller_data(self, Call call, Frame* frame, bytes payload) except -1
    cdef int _given_up_data(self, Call call, Frame* frame) except -1
    cdef int _head(self, Frame* frame) except -1
    cdef int _check_received(self, Frame* frame) except -1
    cdef int _response(self, Frame* frame, bytes payload) except -1
    cdef int _begin_response(self, Call call, Frame* frame) except -1
    cdef int _credit(self, Frame* frame) except -1
    cdef bint _is_modest(self, Frame* frame) noexcept
    cdef str _over_limit(self, Frame* frame, int* status, bint* is_faulty)
    cdef str _over_count(self, Frame* frame, bint* is_faulty)
    cdef bint _is_overdue(self, Call call, int reason) noexcept
    cdef str _metadata_text(self)
    cdef str _answer_text(self, uint64_t size)
