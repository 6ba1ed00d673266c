from fastrpc._core.io.blocking_io cimport BlockingIO

cdef enum:
    # Received at once, and held back until somebody takes it.
    AHEAD_BYTES = 5_000
    # Sent at once.
    SENT_BYTES = 3_000


cdef class MaskedIO(BlockingIO):
    cdef:
        # Owns the descriptor.
        object socket

        # Received, unmasked and not yet taken are ahead[head:tail]; the socket knows nothing of them any more.
        char[AHEAD_BYTES] ahead
        Py_ssize_t head
        Py_ssize_t tail
