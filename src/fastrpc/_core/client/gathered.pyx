"""Messages of a blocking stream that are there already, encoded up to the size of one write, then handed over together.

If one cannot be encoded, those before it go out.
"""

from array import array

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE
from libc.stdint cimport uint8_t

from fastrpc._core.calls.calling_part cimport CallingPart
from fastrpc._core.client.call_errors cimport check_message, mark_own
from fastrpc._core.client.client_call cimport ClientCall

from fastrpc.errors import FastRPCError

cdef enum:
    # Bytes of messages that leave in one write; bytes that each counts besides its payload.
    GATHERED_BYTES = 65_536
    MESSAGE_BYTES = 16


@cython.final
cdef class Gathered:
    """Encoded messages that leave in one write."""

    def __cinit__(self):
        self.messages = []

    cdef bint is_sent(self) noexcept:
        return self.next >= len(self.messages)

    cdef int hand_over(self, ClientStream stream) except -1:
        """Hand over the messages that have room. The guard of the connection is held."""
        try:
            while not self.is_sent() and not stream.is_full():
                one = self.messages[self.next]
                self.next += 1
                if type(one) is tuple:
                    stream.hand_over(<bytes>one[0], <uint8_t>one[1])
                else:
                    stream.hand_over(<bytes>one, 0)
        except FastRPCError as error:
            mark_own(error)
            raise
        return 0


cdef bint are_there(object messages) except -1:
    """Return whether all messages of an iterable are there already, so that several may leave in one write."""
    return isinstance(messages, (list, tuple, range, array))


cdef Gathered gather(ClientStream stream, object source):
    """Encode the next messages of an iterator, up to the bytes of one write."""
    cdef Gathered gathered = Gathered.__new__(Gathered)
    cdef Py_ssize_t size = 0
    cdef bytes payload
    cdef uint8_t number
    try:
        for message in source:
            if stream.sent_wraps is not None:
                message = stream.wrapped(message)
            payload = <bytes>stream.call.route.marshal.encode_message(message)
            number = 0
            if stream.is_worth_compressing(payload):
                payload = stream.compressed(payload, &number)
            check_message(<CallingPart>(<ClientCall>stream.call).session.calling, stream.call, payload)
            gathered.messages.append(payload if number == 0 else (payload, number))
            size += PyBytes_GET_SIZE(payload) + MESSAGE_BYTES
            if size >= GATHERED_BYTES:
                return gathered
    except Exception as error:
        mark_own(error)
        gathered.failure = error
    gathered.is_last = True
    return gathered
