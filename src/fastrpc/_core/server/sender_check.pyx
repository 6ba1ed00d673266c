"""The check of the sender of a long request, by its beginning, before the rest of it is received.

::

    judge ──► admitted: the rest is received
       │ └──► refused: leave_rest, and the answer
       └────► takes time: await_sender ──► verdict ──► sender_known
                               └──► its deadline comes first: refused

An engine has one for its connection, which judges one request at a time. The gate judges the complete call once more;
the verdict on its credential is kept.
"""

cimport cython

from fastrpc._core.base.status cimport OK
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport NO_DEADLINE
from fastrpc._core.io.engine cimport Engine
from fastrpc._core.server.access cimport WAITS
from fastrpc._core.server.engine_served_connection cimport EngineServedConnection
from fastrpc._core.server.gate cimport Gate


@cython.final
cdef class SenderCheck:

    cdef int judge(self, ServerCall call, str method) except -1:
        cdef EngineServedConnection connection = <EngineServedConnection>call.connection
        cdef Gate gate = <Gate>connection.gate
        cdef uint64_t stated_ns
        cdef int status
        try:
            status = gate.judge(call)
        except BaseException as error:
            return self._fail(call, method, error)
        if status != WAITS:
            return self._conclude(call, method, status)
        self.call = call
        # The deadline of the call itself is set once it is complete.
        stated_ns = call.deadline_ns
        gate.set_caller_deadline(call)
        self.due_ns = call.deadline_ns
        call.deadline_ns = stated_ns
        connection.await_sender(call, 0 if self.due_ns == NO_DEADLINE else self.due_ns)
        gate.verify(call, method, lambda identity, status, seconds: self._verified(call, method, identity, status, seconds))
        return SENDER_WAITS

    def _verified(self, ServerCall call, str method, identity, int status, seconds):
        """Go on with a deferred verdict."""
        cdef EngineServedConnection connection = <EngineServedConnection>call.connection
        cdef int verdict
        if self.call is not call:
            return
        self.call = None
        if connection._engine is NULL or (<Engine>connection._engine).is_closed:
            return
        connection.now = now_ns()
        try:
            verdict = self._conclude(call, method, (<Gate>connection.gate).take(call, identity, status, seconds))
        except BaseException as error:
            verdict = self._fail(call, method, error)
        connection.sender_known(call, verdict)

    cdef int _conclude(self, ServerCall call, str method, int status) except -1:
        if status == OK:
            return SENDER_ADMITTED
        (<EngineServedConnection>call.connection).leave_rest(call)
        (<Gate>call.connection.gate).refuse_access(call, method, status)
        return SENDER_REFUSED

    def _fail(self, ServerCall call, str method, error):
        (<EngineServedConnection>call.connection).leave_rest(call)
        (<Gate>call.connection.gate).refuse_undecided(call, method, error)
        return SENDER_REFUSED

    cdef uint64_t check(self, uint64_t now) except? 0:
        """Answer a call whose deadline passes before its verdict; return that deadline, 0 without a call that waits."""
        cdef ServerCall call = self.call
        cdef EngineServedConnection connection
        if call is None or self.due_ns == NO_DEADLINE:
            return 0
        if now < self.due_ns:
            return self.due_ns
        connection = <EngineServedConnection>call.connection
        if (<Gate>connection.gate).give_up(call):
            self.call = None
            connection.now = now
            connection.leave_rest(call)
            (<Gate>connection.gate).refuse_late_in(call, "its credential was verified")
            connection.sender_known(call, SENDER_REFUSED)
        return 0

    cdef int drop(self) noexcept:
        self.call = None
        return 0
