from libc.stdint cimport uint8_t

from fastrpc._core.client.client_stream cimport ClientStream


cdef class CalledStream(ClientStream):
    cdef:
        # The attempts that point to the stream.
        set attempts

        # Whether the end of the output follows the message that is being compressed.
        bint owes_end

        # Whether interceptors wrap the call: the stream then ends with them, after its attempt.
        public bint is_intercepted

    cdef int send_out(self, object message) except -1
    cdef int send_end(self) except -1
    cdef int _emit_as(self, bytes payload, uint8_t number) except -1
