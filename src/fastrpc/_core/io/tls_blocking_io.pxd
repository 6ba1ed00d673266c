from fastrpc._core.io.blocking_io cimport LayeredIO


cdef class TLSBlockingIO(LayeredIO):
    cdef:
        # The socket of the SocketIO below.
        readonly object socket

        # Creates the SSL object, checks the open connection, and explains failures.
        object _end

        # The TLS engine: an `ssl.SSLObject` between two `ssl.MemoryBIO`, and its methods. Only the thread with the lock
        # uses it.
        readonly object ssl_object
        object _incoming
        object _outgoing
        object _read
        object _write

        # The buffer into which encrypted bytes are received; used with the lock held.
        bytearray _ahead

        # Whether close_notify was sent: from then on input is discarded.
        bint _has_said_end

    cdef Py_ssize_t _decrypt(self, char* place, Py_ssize_t room) except? -1
    cdef int _say_end(self) except -1
