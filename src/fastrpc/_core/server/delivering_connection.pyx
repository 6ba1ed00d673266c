"""The served connection of messages from a broker. Calls of messages have no caller and no byte stream.

::

    message ──► Gate.delivery, Gate.deliver ──► handler
    answer, fail, refuse ◄─────────────────────────┘

A subclass in Python implements `answer`, `fail` and `refuse` to settle the message. The marshal of its route decodes a
message by a function of the subclass, which takes the call from `decoded`. Nothing is written, so there is no engine. An
answer or failure after `Gate.connection_lost` is dropped: the subscription may have given its message to another
member.
"""

cimport cython
from libc.stdint cimport uint32_t, uint64_t

from fastrpc._core.link.contract cimport ContractGroups, Forms
from fastrpc._core.payload.marshal cimport Marshal
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.server.served_connection cimport PLAIN_GROUPS


@cython.final
cdef class DeliveringForms(Forms):
    """The forms of a broker's messages: the marshal of a route decodes them with a function that reads `decoded`."""

    cdef str protocol(self, Call call):
        return (<ServerCall>call).connection.protocol

    cdef object peer(self, Call call):
        return (<ServerCall>call).connection.describe_peer()

    cdef Marshal marshal(self, Call call):
        if (<ServerCall>call).given is None:
            (<DeliveringConnection>(<ServerCall>call).connection).decoded = call
        return call.route.marshal

    cdef uint32_t most_metadata(self) noexcept:
        # No limit, as no metadata is written.
        return 0xFFFFFFFF

    cdef int check_sent(self, Call call, bytes metadata) except -1:
        return 0

    cdef int note_answer(self, Call call, int status, dict fields, object compress) except -1:
        return 0


cdef ContractGroups DELIVERING_GROUPS = PLAIN_GROUPS.with_own(None, DeliveringForms.__new__(DeliveringForms), None, None)


cdef class DeliveringConnection(PythonServedConnection):
    """The calls made from the messages of one subscription."""

    def __init__(self, gate not None, str protocol not None):
        PythonServedConnection.__init__(self, gate, protocol)
        self.delivers = True
        self.groups = DELIVERING_GROUPS

    cdef int look_by(self, uint64_t due_ns) except -1:
        # The subscription limits the wait of a message.
        return 0
