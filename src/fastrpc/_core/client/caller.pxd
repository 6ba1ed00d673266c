"""The compiled base of `Client`: its verbs, and the batch of `call_many`."""

from fastrpc._core.client.awaited_call cimport AwaitedCall
from fastrpc._core.client.batch_call cimport BatchCall
from fastrpc._core.client.caller_view cimport CallerView


cdef class AwaitedBatch(BatchCall):
    cdef int _send(self, AwaitedCall head) except -1


cdef class Caller(CallerView):
    cdef AwaitedCall new_call(self, object method, tuple args, dict kwargs, int verb)
