"""The socket below a loop's transport, and the output that the system holds for it."""

from libc.stdint cimport int64_t


cdef int plain_descriptor(object transport) except -2
cdef int socket_of(object transport) except -2
cdef int64_t unsent_bytes(object transport) except? -1
cdef int64_t unsent_in_socket(int descriptor) except? -1
cdef int64_t unread_bytes(object transport) except? -1
