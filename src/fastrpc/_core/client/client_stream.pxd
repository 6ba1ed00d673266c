cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t

from fastrpc._core.calls.call cimport Call
from fastrpc._core.client.client_call cimport ClientCall, Streaming
from fastrpc._core.streams.stream_channel cimport StreamChannel


cdef class ClientStream(StreamChannel):
    cdef:
        # The call that interceptors see. Its attempts have the connection.
        readonly ClientCall origin

        # `takes_stream`: whether the program may send; `gives_stream`: whether messages or one answer are returned.
        readonly bint takes_stream
        readonly bint gives_stream

        # `is_open`: whether an attempt is in progress; `is_chosen`: whether the stream has chosen one; `has_sign`:
        # whether a message or HEAD has arrived.
        readonly bint is_open
        readonly bint is_chosen
        readonly bint has_sign

        # `is_fed`: whether an iterable is sent, so that the program may not send; `is_sending`: whether a sender waits
        # for room or sends.
        public bint is_fed
        bint is_sending

    # Implemented by the subclass that waits.
    cdef ClientCall new_origin(self)
    cdef int attach(self, ClientCall attempt) except -1
    cdef int withdraw(self, Call before) except -1
    cdef int detach(self, ClientCall attempt) noexcept
    cdef bint take_attempt(self, ClientCall attempt) except -1
    cdef int show_sign(self) except -1
    cdef int attempt_over(self, ClientCall attempt) except -1
    cdef int fail_with(self, object error, int reason) except -1
    cdef bint awaits_message(self) noexcept

    # The messages it sends.
    cdef int check_sends(self) except -1
    cdef object wrapped(self, object message)
    cdef int hand_over(self, bytes payload, uint8_t number) except -1
    cdef bytes compressed(self, bytes payload, uint8_t* number)
    cdef bint is_worth_compressing(self, bytes payload) noexcept


cdef Streaming new_streaming(PyObject* stream)


@cython.final
cdef class Gathered:
    cdef:
        # `messages`: payloads, each with the number of its compressor if it has one; `next`: the first of them that is
        # not passed on yet.
        list messages
        Py_ssize_t next

        # `failure`: the exception if the next message cannot be encoded, or None; `is_last`: whether no message
        # follows.
        object failure
        bint is_last

    cdef bint is_sent(self) noexcept
    cdef int hand_over(self, ClientStream stream) except -1


cdef bint are_there(object messages) except -1
cdef Gathered gather(ClientStream stream, object source)
