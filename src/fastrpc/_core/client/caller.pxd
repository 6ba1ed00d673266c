from fastrpc._core.client.awaited_call cimport AwaitedCall
from fastrpc._core.client.caller_view cimport CallerView


cdef class Caller(CallerView):
    cdef AwaitedCall new_call(self, object method, tuple args, dict kwargs, int verb)
