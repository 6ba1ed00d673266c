"""The served connection of messages from a broker: their calls have no caller and no byte stream.

::

    message ──► Gate.delivery, Gate.deliver ──► handler
    answer, fail, refuse ◄─────────────────────────┘

A subclass in Python implements these three, and settles the message by them. Nothing is written, so there is no engine. An
answer or failure after `Gate.connection_lost` is dropped: the subscription may have given its message to another member.
"""

from libc.stdint cimport uint64_t

from fastrpc._core.calls.call cimport Call
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.payload.marshal cimport Marshal


cdef class DeliveringConnection(ServedConnection):
    """The calls that messages of one subscription are."""

    def __init__(self, gate not None, str protocol not None):
        ServedConnection.__init__(self, gate, protocol)
        self.delivers = self.has_marshals = True

    def marshal_of_message(self, call):
        """Return the marshal of a message, which decodes its value by the rules of its topic."""
        raise NotImplementedError(f"{type(self).__name__} does not implement marshal_of_message()")

    cdef int do_answer(self, Call call, bytes payload) except -1:
        return 0 if self.is_closed else ServedConnection.do_answer(self, call, payload)

    cdef int do_fail(self, Call call, Failure failure) except -1:
        return 0 if self.is_closed else ServedConnection.do_fail(self, call, failure)

    cdef Marshal marshal_of(self, Call call):
        return <Marshal?>self.marshal_of_message(call)

    cdef int look_by(self, uint64_t due_ns) except -1:
        # A message waits for its start as long as its subscription holds it.
        return 0
