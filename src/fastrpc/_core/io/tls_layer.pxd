from libc.stdint cimport uint64_t

from fastrpc._core.io.layer cimport Layer


cdef class TLSLayer(Layer):
    cdef:
        # Creates the SSL object, checks the open connection, and explains failures.
        readonly object end

        # The TLS engine: an `ssl.SSLObject` between two `ssl.MemoryBIO`, and its methods.
        readonly object ssl_object
        object _incoming
        object _outgoing
        object _read
        object _encrypt

        # The input so far, while the peer's first bytes are to select the SSL object; None once it is selected, or if
        # there is nothing to select.
        bytes _hello

        # `descriptor`: the socket, for writes that bypass the transport (-1 if that is impossible); `transport_holds`:
        # whether the transport may hold bytes.
        readonly int descriptor
        bint transport_holds

        # Whether the protocol above provides a buffer to receive into.
        bint _is_buffered
        # Called when bytes of the handshake were received; None if the protocol above does not need it.
        object _heard_below
        # Output written before the end of the handshake.
        list _early

        # A future that is done once the handshake has ended; None if nothing awaits it. `failure`: the error that ended
        # the handshake, or the open connection.
        object _opened
        readonly bint is_open
        readonly object failure
        bint has_heard

        # Whether the last read filled its buffer: the socket may hold more.
        bint is_full
        # The size of the buffer for the next read.
        Py_ssize_t _most
        # `_received`: the encrypted bytes of the last read, for the protocol above; `_brought`: the decrypted bytes
        # that they contained.
        Py_ssize_t _received
        Py_ssize_t _brought
        # The excess of encrypted bytes over LEAST_PART times the decrypted bytes that they contained.
        Py_ssize_t _barren
        # Whether reading is paused until the next turn.
        bint _rests

        # Orders given before the end of the handshake and executed after it: `ends_when_open` to stop writing,
        # `closes_when_open` to close.
        bint ends_when_open
        bint closes_when_open

        # A timer that closes a connection whose handshake failed or should end, unless the peer closes first; None if
        # not needed.
        object _linger

        # `is_closed`: whether this side has closed. `has_said_end`: whether it has sent close_notify. `has_peer_end`:
        # whether the peer has sent close_notify. `has_stream_end`: whether the stream below has ended.
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
