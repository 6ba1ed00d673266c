from libc.stdint cimport uint64_t

from fastrpc._core.calls.call cimport Call
from fastrpc._core.framing.frame cimport Frame
from fastrpc._core.native.connection cimport Connection


cdef int mark_own(object error) except -1
cdef double seconds_between(uint64_t first, uint64_t last) noexcept
cdef int check_request(Connection connection, Call call, bytes payload) except -1
cdef int check_message(Connection connection, Call call, bytes payload) except -1
cdef object error_of_answer(Call call, Connection connection, Frame* frame, bytes payload)
cdef object unstarted_error(Connection connection, object endpoint, Call call)
cdef object lost_error(Connection connection, object endpoint, Call call, bint handed, str why)
cdef object overdue_error(Call call, object endpoint, bint handed, uint64_t began_ns)
cdef object overdue_stream_error(Call call, object endpoint, bint handed, uint64_t began_ns)
cdef object idle_error(str method, uint64_t idle_ns, bint sends)
