from fastrpc._core.client.blocking_session cimport BlockingSession
from fastrpc._core.client.blocking_wait cimport Wait
from fastrpc._core.client.client_call cimport ClientCall
from fastrpc._core.client.client_stream cimport ClientStream
from libc.stdint cimport uint64_t


cdef class BlockingCall(ClientCall):
    cdef:
        # `shared_session`: the session of the connection, which threads share; `wait`: the wait of the call's thread,
        # None for a stream; `is_used`: whether the session counts the stream among its users.
        BlockingSession shared_session
        Wait wait
        bint is_used

    cdef bint start_on(self, BlockingSession session, uint64_t now) except -1
    cdef int conclude(self, object error) except -1
    cdef object end(self)
    cdef object outcome(self)

    # The attempt of a stream.
    cdef bint start(self, ClientStream stream) except -1


cdef BlockingCall new_stream_call(ClientStream stream)
