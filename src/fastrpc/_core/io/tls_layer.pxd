from fastrpc._core.loop.loop_state cimport LoopState


cdef class TLSLayer:
    cdef:
        # Makes the SSL object, checks the open connection, finds words for failures.
        readonly object end

        # The encrypting half: an `ssl.SSLObject` between two `ssl.MemoryBIO`, and its methods.
        readonly object ssl_object
        object _incoming
        object _outgoing
        object _read
        object _encrypt
        object _place

        # The transport below, the socket to write past it (-1 where that cannot be), whether it may hold bytes of ours.
        readonly object transport
        readonly int descriptor
        bint transport_holds

        # The protocol above, whether it has a place for what is received, and what it is told by that bytes of the handshake
        # came; None where it does not care. What it writes before the handshake has ended waits in `_early`.
        object _protocol
        bint _is_buffered
        object _heard_below
        readonly LoopState loop_state
        list _early

        # Done once the handshake has ended, with the error that ended it; None where nobody waits.
        object _opened
        readonly bint is_open
        readonly object failure
        bint has_heard

        # What was asked for before the handshake had ended, and is done then: to write no more, to close.
        bint ends_when_open
        bint closes_when_open

        # Ends a connection whose handshake failed or should end by closing, unless the peer does before; None where that did
        # not happen.
        object _linger

        # Whether the protocol above wants no bytes for now, whether decrypting is scheduled.
        bint is_paused
        bint _is_scheduled

        # Ends: we closed or sent our last words; the peer's close_notify came; the stream below ended.
        bint is_closed
        bint has_said_end
        bint has_peer_end
        bint has_stream_end

    cdef int _wake(self) except -1
    cdef int _shake_hands(self) except -1
    cdef int _tell(self) except -1
    cdef object _explained(self, object error)
    cdef int _fail(self, object error) except -1
    cdef int _decrypt(self) except -1
    cdef Py_ssize_t _fill(self, object view) except -2
    cdef bint _may_write(self) except -1
    cdef int _put_back(self, bytes waiting) except -1
    cdef int _write_all(self, object data) except -1
    cdef int _send(self) except -1
    cdef int _say_end(self) except -1
    cdef int _end_input(self) except -1
