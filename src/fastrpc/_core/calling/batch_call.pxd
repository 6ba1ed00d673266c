from fastrpc._core.calling.client_call cimport PickedCall
from fastrpc._core.calling.pending_call cimport PendingCall


cdef class BatchMember(PendingCall):
    cdef:
        BatchCall batch

    cdef bint make_new(self) noexcept


cdef class BatchCall(PickedCall):
    cdef:
        # What to send; how many answers are missing; whether errors are results.
        list argument_tuples
        bint return_exceptions
        list members
        Py_ssize_t missing

        # The encoded arguments, if somebody looked at them before they are sent.
        list payloads

    cdef list _collected(self, bint* failed)
    cdef list _encoded(self)
