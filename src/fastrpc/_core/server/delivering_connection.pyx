"""The served connection of messages from a broker: their calls have no caller and no byte stream.

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
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.payload.marshal cimport Marshal
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.server.served_connection cimport PLAIN_GROUPS


@cython.final
cdef class DeliveringForms(Forms):
    """Messages of a broker: the marshal of a route decodes them by a function that reads `decoded`."""

    cdef str protocol(self, Call call):
        return (<ServerCall>call).connection.protocol

    cdef object peer(self, Call call):
        return (<ServerCall>call).connection.describe_peer()

    cdef Marshal marshal(self, Call call):
        if (<ServerCall>call).given is None:
            (<DeliveringConnection>(<ServerCall>call).connection).decoded = call
        return call.route.marshal

    cdef uint32_t most_metadata(self) noexcept:
        # Nothing is written.
        return 0xFFFFFFFF

    cdef int check_sent(self, Call call, bytes metadata) except -1:
        return 0

    cdef int note_answer(self, Call call, int status, dict fields, object compress) except -1:
        return 0


@cython.final
cdef class DeliveringOutcomes(PythonOutcomes):
    """The outcomes of messages, which settle them; after the end of the connection they are dropped."""

    cdef DeliveringConnection ended(self, Call call):
        """Return the connection of a call that ends."""
        cdef DeliveringConnection connection = <DeliveringConnection>(<ServerCall>call).connection
        # The call holds the decoded value: both are freed together.
        connection.decoded = None
        return connection

    cdef int answer(self, Call call, bytes payload) except -1:
        return 0 if self.ended(call).is_closed else PythonOutcomes.answer(self, call, payload)

    cdef int fail(self, Call call, Failure failure) except -1:
        return 0 if self.ended(call).is_closed else PythonOutcomes.fail(self, call, failure)

    cdef int refuse(self, Call call, int status, str text, bint is_faulty) except -1:
        self.ended(call)
        return PythonOutcomes.refuse(self, call, status, text, is_faulty)


cdef DeliveringOutcomes DELIVERING_OUTCOMES = DeliveringOutcomes.__new__(DeliveringOutcomes)
cdef ContractGroups DELIVERING_GROUPS = PLAIN_GROUPS.with_own(None, DeliveringForms.__new__(DeliveringForms), None, None)


cdef class DeliveringConnection(PythonServedConnection):
    """The calls made from the messages of one subscription."""

    def __init__(self, gate not None, str protocol not None):
        PythonServedConnection.__init__(self, gate, protocol)
        self.delivers = True
        self.groups = DELIVERING_GROUPS

    cdef int look_by(self, uint64_t due_ns) except -1:
        # The subscription bounds the wait of a message.
        return 0
