from fastrpc._core.io.blocking_io cimport LockedIO


cdef class TLSBlockingIO(LockedIO):
    cdef:
        # Owns the descriptor.
        readonly object socket

        # Makes the SSL object, checks the open connection, finds words for failures.
        object _end

        # The encrypting half: an `ssl.SSLObject` between two `ssl.MemoryBIO`, and its methods. One thread at a time is
        # in it, with the lock.
        readonly object ssl_object
        object _incoming
        object _outgoing
        object _read
        object _write

        # Where encrypted bytes are received; used with the lock held.
        bytearray _ahead

        # Encrypted bytes that the system did not take yet, from `_left_at` on. `_owes`: the last byte of ours among them
        # was reported as not sent, so that the caller comes again for them; it is skipped then.
        bytes _left
        Py_ssize_t _left_at
        bint _owes

        # Whether decrypted bytes may be had without the socket, whether our close_notify has left: then what comes is
        # discarded.
        bint _has_more
        bint _has_said_end

    cdef Py_ssize_t _receive(self, char* place, Py_ssize_t room) except? -1
    cdef Py_ssize_t _decrypt(self, char* place, Py_ssize_t room) except? -1
    cdef Py_ssize_t _send(self, const char* data, Py_ssize_t size) except? -1
    cdef Py_ssize_t _flush(self) except? -1
    cdef Py_ssize_t _broken(self, object error) noexcept
    cdef int _say_end(self) except -1
