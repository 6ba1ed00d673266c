cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.client.blocking_stream cimport BlockingStream, StreamEvents
from fastrpc._core.client.client_call cimport ClientCall


@cython.final
cdef class BlockingEvents(StreamEvents):
    # Read and written under the guard of the stream, except `ended_ns`, `lost_because` and `lost_hint`: any thread reads
    # them under the GIL.
    cdef:
        # The waits for the settings of the server; one-way calls that the system has not taken, each with the wait of its
        # thread; the waits until all output is sent, before a stream adds to it. Each is empty after its event; a wait
        # that ended by itself stays until then.
        list ready_waits
        list hand_overs
        list room_waits

        # The reason for the end of the connection, None while it stands; the hint of its error; the instant of the end, 0
        # before it.
        str lost_because
        object lost_hint
        uint64_t ended_ns

    # Calls at the end of the connection. The stream knows whether it was lost or left behind.
    cdef bint may_have_left(self, BlockingStream stream, ClientCall call) noexcept
    cdef object error_of_end(self, BlockingStream stream, ClientCall call)
