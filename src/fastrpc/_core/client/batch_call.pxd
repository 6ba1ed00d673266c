from cpython.object cimport PyObject

from fastrpc._core.calls.call cimport MethodRoute
from fastrpc._core.client.caller_view cimport ViewOptions
from fastrpc._core.client.client_call cimport ClientCall
from fastrpc._core.wire.settings cimport WireSettings


cdef class BatchMember(ClientCall):
    cdef:
        # The call that represents the batch, while the member is in progress.
        ClientCall head

    cdef bint make_new(self) noexcept


cdef class BatchCall:
    cdef:
        # `argument_tuples`: the arguments of each call. `returns_errors`: whether errors are returned among the
        # results.
        list argument_tuples
        readonly bint returns_errors

        # `members`: the calls in progress on a connection; None before and after them. `missing`: the number of missing
        # answers.
        list members
        Py_ssize_t missing

        # The encoded arguments, if they were encoded before sending; an error in place of arguments that cannot be encoded.
        list payloads

    # For both clients.
    cdef ClientCall lead(
        self, MethodRoute route, ViewOptions options, object hash_key, list argument_tuples, bint return_exceptions
    )
    cdef list encoded(self, MethodRoute route)
    cdef list begin_members(self, ClientCall head)
    cdef bytes add_member(self, ClientCall head, object payload, WireSettings peer, bint is_ready, list spare)
    cdef list too_late(self, object error)
    cdef list collected(self, list spare, bint* failed)
    cdef object first_failure(self)
    cdef ClientCall single_call(self, ClientCall head, Py_ssize_t index)
    cdef int check_head(self, ClientCall head) except -1

    # Implemented by the subclass that waits.
    cdef ClientCall new_call(self)
    cdef int begin(self, ClientCall head, PyObject** result) except -1
    cdef int resume(self, ClientCall head, PyObject** result) except -1
    cdef int settle(self, ClientCall head) except -1
    cdef int abandon(self, ClientCall head, int reason) except -1
    cdef int expire(self, ClientCall head) except -1
