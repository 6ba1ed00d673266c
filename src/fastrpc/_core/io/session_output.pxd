from libc.stdint cimport uint64_t

from fastrpc._core.io.engine cimport ByteStream, Engine
from fastrpc._core.io.layer cimport SentOutput
from fastrpc._core.loop.loop_state cimport LoopState
from fastrpc._core.loop.polling cimport Spinner

cdef class SessionOutput(ByteStream):
    cdef:
        # The protocol.
        readonly Engine engine

        # `transport`: the transport below; `loop_state`: the loop that it runs on; both are None before connection_made
        # and after connection_lost. `_write`: the callback, which holds the stream until connection_lost.
        readonly object transport
        readonly LoopState loop_state
        object _write
        # Created on first use: many connections flush only at the end of their reads.
        object _flush_callback

        # Keeps the loop from sleeping while this connection is busy; None without spinning. `spin_ns`: for how long.
        Spinner spinner
        uint64_t spin_ns

        # The socket, for writes that bypass the transport and for reads while spinning; -1 if neither is possible.
        # `transport_holds`: the transport may still hold bytes that it was given.
        readonly int descriptor
        bint transport_holds

        # `_flush_scheduled`: whether a flush is scheduled. `is_write_paused`: whether the transport is full.
        bint _flush_scheduled
        readonly bint is_write_paused

        # The output given to the transport so far.
        SentOutput sent

    cdef int open_output(self, object transport) except -1
    cdef int close_output(self) except -1
    cdef int schedule_flush(self) except -1
    cdef int leave_closed_loop(self) except -1
    cdef int _write_all(self) except -1
    cdef int _write_output(self) except -1
    cdef bint _send_directly(self) except -1
    cdef bint _hears_more(self) except -1
    cdef int _note_blocked(self) except -1
