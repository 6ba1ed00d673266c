from fastrpc._core.io.blocking_io cimport LayeredIO


cdef class TLSBlockingIO(LayeredIO):
    cdef:
        # The socket of the SocketIO below.
        readonly object socket

        # Makes the SSL object, checks the open connection, describes failures.
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

        # Whether our close_notify was sent: from then on input is discarded.
        bint _has_said_end

    cdef Py_ssize_t _decrypt(self, char* place, Py_ssize_t room) except? -1
    cdef int _say_end(self) except -1
