from fastrpc._core.calling.caller_view cimport CallerView
from fastrpc._core.calling.client_call cimport ClientCall


cdef class Caller(CallerView):
    cdef ClientCall new_call(self, object method, tuple args, dict kwargs, int verb)
