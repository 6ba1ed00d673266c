from fastrpc._core.calling.caller_view cimport CallerView
from fastrpc._core.calling.awaited_call cimport AwaitedCall


cdef class Caller(CallerView):
    cdef AwaitedCall new_call(self, object method, tuple args, dict kwargs, int verb)
