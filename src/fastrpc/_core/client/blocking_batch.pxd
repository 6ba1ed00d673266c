from fastrpc._core.client.batch_call cimport BatchCall
from fastrpc._core.client.blocking_call cimport BlockingCall
from fastrpc._core.client.blocking_session cimport BlockingSession


cdef class BlockingBatch(BatchCall):
    cdef bint start_on(self, BlockingCall head, BlockingSession session, Py_ssize_t unsent) except -1
    cdef list end(self, BlockingCall head)
    cdef list outcomes(self, BlockingCall head)


cdef BlockingCall new_batch(list argument_tuples, bint return_exceptions)
