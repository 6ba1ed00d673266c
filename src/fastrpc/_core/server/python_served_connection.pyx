"""The served connection of a protocol that is written in Python without a wire.

::

    Gate ──► PythonOutcomes ──► answer, fail, refuse, hold, release of a subclass
                    └──► crash: one of them raised

These methods run inside steps of the gate, so their errors are caught and end the connection instead. Messages of
brokers use this class (`server/delivering_connection`). A protocol with a byte stream uses `PythonWire`.
"""

from fastrpc._core.calls.call cimport Call
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.wire.frame cimport ONE_WAY

from fastrpc.user_code import plain_error


cdef class PythonServedConnection(ServedConnection):
    """The served calls of one connection, whose outcomes are passed to methods in Python."""

    def __init__(self, gate not None, str protocol not None):
        ServedConnection.__init__(self, gate, protocol)
        self.outcomes = PYTHON_OUTCOMES

    def answer(self, call, payload):
        """Send the result of a call."""
        raise NotImplementedError(f"{type(self).__name__} does not implement answer()")

    def fail(self, call, failure):
        """Send the failure of a call."""
        raise NotImplementedError(f"{type(self).__name__} does not implement fail()")

    def refuse(self, call, status, text, is_faulty):
        """Send the refusal of a call that was not started; `call.pushback_ms` is the pause before a retry."""
        self.fail(call, Failure(status, text, pushback_ms=call.pushback_ms, has_run=False))

    def hold(self, call):
        """Note that a call is not answered in this turn. Until it is answered, a cancellation has to find it."""

    def release(self, call):
        """Note the end of a one-way call, which has no answer."""


cdef class PythonOutcomes(Outcomes):
    """Passes the outcome of a call to the Python methods of its connection."""

    cdef int answer(self, Call call, bytes payload) except -1:
        cdef PythonServedConnection connection = <PythonServedConnection>(<ServerCall>call).connection
        return 0 if connection.is_closed else pass_on(connection.answer, (call, payload), connection)

    cdef int fail(self, Call call, Failure failure) except -1:
        cdef PythonServedConnection connection = <PythonServedConnection>(<ServerCall>call).connection
        return 0 if connection.is_closed else pass_on(connection.fail, (call, failure), connection)

    cdef int refuse(self, Call call, int status, str text, bint is_faulty) except -1:
        cdef PythonServedConnection connection = <PythonServedConnection>(<ServerCall>call).connection
        if call.flags & ONE_WAY:
            return self.release(call)
        return pass_on(connection.refuse, (call, status, text, is_faulty), connection)

    cdef int hold(self, Call call) except -1:
        cdef PythonServedConnection connection = <PythonServedConnection>(<ServerCall>call).connection
        return pass_on(connection.hold, (call,), connection)

    cdef int release(self, Call call) except -1:
        cdef PythonServedConnection connection = <PythonServedConnection>(<ServerCall>call).connection
        return pass_on(connection.release, (call,), connection)


cdef int pass_on(object method, tuple outcome, ServedConnection connection) except -1:
    """Call a method of a protocol in Python; its error ends the connection."""
    try:
        method(*outcome)
    except BaseException as error:
        connection.crash(plain_error(error, "the protocol"))
    return 0


cdef PythonOutcomes PYTHON_OUTCOMES = PythonOutcomes.__new__(PythonOutcomes)
