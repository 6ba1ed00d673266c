from libc.stdint cimport uint64_t

from fastrpc._core.calls.call cimport Call
from fastrpc._core.calls.calling_part cimport CallingPart
from fastrpc._core.wire.frame cimport Frame

cdef enum:
    # `Frame.codec` of an answer whose details are a google.rpc.Status: no codec has this number.
    STATUS_DETAILS = 48


cdef int mark_own(object error) except -1
cdef double seconds_between(uint64_t first, uint64_t last) noexcept
cdef int check_request(CallingPart part, Call call, bytes payload) except -1
cdef int check_message(CallingPart part, Call call, bytes payload) except -1
cdef object error_of_answer(Call call, bint peer_leaves, Frame* frame, bytes payload)
cdef int hint_at_token(object error, object options, bytes metadata) except -1
cdef object unstarted_error(object endpoint, Call call)
cdef object unreadable_error(object endpoint, Call call, str why)
cdef object violation_error(object endpoint, Call call, bint handed, str why, int reason)
cdef object lost_error(object endpoint, Call call, bint handed, str why)
cdef tuple outcome_of_loss(Call call, bint handed)
cdef object overdue_error(Call call, object endpoint, bint handed, uint64_t began_ns)
cdef object overdue_stream_error(Call call, object endpoint, bint handed, uint64_t began_ns)
cdef object idle_error(str method, uint64_t idle_ns, bint sends)
