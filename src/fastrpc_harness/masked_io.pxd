from fastrpc._core.io.blocking_io cimport BlockingIO

cdef enum:
    # The most bytes that are received in one step and held until they are read.
    AHEAD_BYTES = 5_000
    # The most bytes that are sent in one step.
    SENT_BYTES = 3_000


cdef class MaskedIO(BlockingIO):
    cdef:
        # The socket, which owns the descriptor.
        object socket

        # `ahead[head:tail]`: bytes that were received and unmasked but not read yet. The socket no longer has them.
        char[AHEAD_BYTES] ahead
        Py_ssize_t head
        Py_ssize_t tail
