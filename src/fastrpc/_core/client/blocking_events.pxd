cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.client.blocking_stream cimport BlockingStream, StreamEvents
from fastrpc._core.client.client_call cimport ClientCall


@cython.final
cdef class BlockingEvents(StreamEvents):
    # The stream's guard protects all fields but `ended_ns`, `lost_because` and `lost_hint`, which any thread reads under
    # the GIL.
    cdef:
        # `ready_waits`: the waits for the server's settings; `hand_overs`: one-way calls that the system has not taken,
        # each with the wait of its thread; `room_waits`: the waits of streams until all output is sent. The event
        # empties its list; a wait that times out stays in the list until then.
        list ready_waits
        list hand_overs
        list room_waits

        # `lost_because`: the reason for the end of the connection, None while it stands; `lost_hint`: the hint of its
        # error; `ended_ns`: the instant of the end, 0 before it.
        str lost_because
        object lost_hint
        uint64_t ended_ns

    # The outcome of calls at the end of the connection; it depends on whether the stream was lost or left behind.
    cdef bint may_have_left(self, BlockingStream stream, ClientCall call) noexcept
    cdef object error_of_end(self, BlockingStream stream, ClientCall call)
