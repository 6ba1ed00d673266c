from fastrpc._core.client.awaited_call cimport AwaitedCall
from fastrpc._core.client.batch_call cimport BatchCall


cdef class AwaitedBatch(BatchCall):
    cdef int _send(self, AwaitedCall head) except -1


cdef AwaitedCall new_batch(list argument_tuples, bint return_exceptions)
