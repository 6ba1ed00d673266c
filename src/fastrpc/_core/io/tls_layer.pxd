from libc.stdint cimport uint64_t

from fastrpc._core.io.layer cimport Layer


cdef class TLSLayer(Layer):
    cdef:
        # Makes the SSL object, checks the open connection, describes failures.
        readonly object end

        # The encrypting half: an `ssl.SSLObject` between two `ssl.MemoryBIO`, and its methods.
        readonly object ssl_object
        object _incoming
        object _outgoing
        object _read
        object _encrypt

        # The input so far, if the first bytes of the peer choose the SSL object; None once they chose it, or if they
        # need not.
        bytes _hello

        # The socket to write past the transport (-1 if that is impossible), whether it may hold bytes of ours.
        readonly int descriptor
        bint transport_holds

        # The protocol above has a place for received bytes.
        bint _is_buffered
        # Called when bytes of the handshake were received; None if the protocol above does not need it.
        object _heard_below
        # Output from before the end of the handshake.
        list _early

        # Done once the handshake has ended, with the error that ended it; None without a waiter.
        object _opened
        readonly bint is_open
        readonly object failure
        bint has_heard

        # The last read filled its place: there may be more in the socket.
        bint is_full
        # The size of the place of the last read.
        Py_ssize_t _most
        # The bytes of the last read, for the protocol above, and the decrypted bytes that they brought.
        Py_ssize_t _received
        Py_ssize_t _brought
        # Received bytes that brought too few decrypted bytes.
        Py_ssize_t _barren
        # Reading pauses until the next turn.
        bint _rests

        # Orders from before the end of the handshake, executed then: to stop writing, to close.
        bint ends_when_open
        bint closes_when_open

        # Closes a connection whose handshake failed or should end, unless the peer closes first; None if not needed.
        object _linger

        # Ends: we closed or sent our last bytes; the peer's close_notify came; the stream below ended.
        bint is_closed
        bint has_said_end
        bint has_peer_end
        bint has_stream_end

    cdef int _encrypt_by(self, object ssl_object) except -1
    cdef Py_ssize_t take_received(self) noexcept
    cdef int _wake(self) except -1
    cdef int _hear(self, bytes data) except -1
    cdef int _shake_hands(self) except -1
    cdef int _tell(self) except -1
    cdef object _explained(self, object error)
    cdef int _fail(self, object error) except -1
    cdef int _decrypt(self) except -1
    cdef int _note_barren(self, uint64_t since) except -1
    cdef Py_ssize_t _fill(self, object view) except -2
    cdef bint _may_write(self) except -1
    cdef int _put_back(self, bytes waiting) except -1
    cdef int _write_all(self, object data) except -1
    cdef int _send(self) except -1
    cdef int _say_end(self) except -1
    cdef int _end_input(self) except -1
