"""What a loop's transport does not tell of itself: the socket below it, and what the system holds of its output."""

from libc.stdint cimport int64_t


cdef int plain_descriptor(object transport) except -2
cdef int64_t unsent_bytes(object transport) except? -1
cdef int64_t unsent_in_socket(int descriptor) except? -1
cdef int64_t unread_bytes(object transport) except? -1
