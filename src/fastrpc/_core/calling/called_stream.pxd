from libc.stdint cimport uint8_t, uint64_t

from fastrpc._core.calling.stream_call cimport CallerChannel, StreamCall


cdef class CalledStream(CallerChannel):
    cdef:
        # The call as interceptors see it; its attempts have the connection. Those of them that point to the stream.
        readonly StreamCall origin
        set attempts

        # Whether the program may send, whether messages or one answer come back.
        readonly bint takes_stream
        readonly bint gives_stream

        # Whether an iterable is sent, so that nobody else may send; whether somebody waits to send.
        public bint is_fed
        bint is_sending

        # Whether the end of what is sent follows the message that is being compressed.
        bint owes_end

        # Whether the end of the attempt is not yet the end of the stream: interceptors stand around the call.
        public bint is_intercepted

    cdef int _emit_as(self, bytes payload, uint8_t number) except -1
    cdef bytes _compressed(self, bytes payload, uint8_t* number)


cdef object idle_error(str method, uint64_t idle_ns, bint sends)
