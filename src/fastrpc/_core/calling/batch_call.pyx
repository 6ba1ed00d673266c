"""Many calls of a client on asyncio at once: what `client.call_many` returns, one write and one wake-up for all of them."""

import asyncio

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.ref cimport Py_INCREF, Py_REFCNT, PyObject
from cpython.tuple cimport PyTuple_GET_SIZE

from fastrpc._core.calls.call cimport NO_DEADLINE, STATE_NEW, Route
from fastrpc._core.loop.turns cimport SLICED_ABOVE
from fastrpc._core.calling.caller_state cimport CallerState
from fastrpc._core.calling.caller_view cimport ViewOptions, checked_item, count_start, route_on
from fastrpc._core.calling.client_call cimport ClientCall, expire
from fastrpc._core.native.connection cimport Connection
from fastrpc._core.calling.coroutine_call cimport RETURNED, CoroutineCall, make_awaitable
from fastrpc._core.calling.pending_call cimport mark_own
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.payload.marshal cimport Marshal

from fastrpc.errors import FastRPCError

cdef extern from "Python.h":
    object PyObject_Call(object function, object arguments, object options)

cdef enum:
    # Members that a client keeps; no more of them, some 200 KiB.
    SPARE_MEMBERS = 512

cdef object Future = asyncio.Future


@cython.final
cdef class BatchMember(PendingCall):
    """One call of a batch."""

    def __dealloc__(self):
        if self.is_counted:
            self.count_unread()

    cdef bint make_new(self) noexcept:
        """Become as good as new, if the call went the plain way; what `copy_options` and the table set may stay."""
        if self.failure is not None or self.compressor or self.batch is not None or not self.is_plain():
            return False
        self.id = 0
        self.state = STATE_NEW
        self.handed_at = 0
        self.is_settled = False
        self.answer = None
        self.early_request = None
        self.route = None
        self.numbers = None
        self.ended_ns = 0
        return True

    cdef int settle(self) except -1:
        cdef BatchCall batch = self.batch
        # The batch holds its members: an answer that nobody reads must not hold the batch.
        self.batch = None
        batch.missing -= 1
        if batch.missing == 0:
            batch.settle()
        return 0


cdef BatchMember new_member(list spare):
    return <BatchMember>spare.pop() if spare else <BatchMember>BatchMember.__new__(BatchMember)


cdef int take_back(list spare, list members) except -1:
    """Keep members of a batch that ended, so that the next one allocates none; `members` is given up."""
    cdef BatchMember member
    while members and len(spare) < SPARE_MEMBERS:
        member = <BatchMember>members.pop()
        if Py_REFCNT(member) == 1 and member.make_new():
            spare.append(member)
    return 0


@cython.final
cdef class BatchCall(PickedCall):
    """What `client.call_many` returns: many calls, one write, one wake-up."""

    cdef int begin(self, PyObject** result) except -1:
        cdef ViewOptions options = self.options
        cdef CallerState state = <CallerState>options.shared
        cdef Connection session = self.session
        state.check_use()
        if not self.argument_tuples:
            value = []
            Py_INCREF(value)
            result[0] = <PyObject*>value
            return RETURNED
        if session is None and not options.needs_runner and not self.route.takes_stream and not state.takes_slow_path():
            session = state.pick() if state.endpoint_set is None else self.place(state.endpoint_set, now_ns())
        if session is None or (not session.settled and not self.is_attempt and self._needs_ready):
            self.undo()
            return self.delegate(state.runner.run_batch(self), result)
        if options.compressor is not None and not self.is_attempt and self._is_long:
            self.undo()
            return self.delegate(state.runner.run_singles(self), result)
        self.session = session
        self.future = PyObject_Call(Future, (), state.future_options)
        try:
            self._send()
        except BaseException as error:
            self.undo()
            mark_own(error)
            raise
        return self.wait(result)

    def _send(self):
        cdef BatchMember member
        cdef ViewOptions options = self.options
        cdef bytes payload
        cdef Py_ssize_t i
        cdef Connection session = self.session
        cdef Marshal marshal
        cdef list payloads = self.payloads
        cdef Route route = self.route
        self.route = route_on(route, session)
        marshal = self.route.marshal
        if payloads is None or self.route is not route:
            payloads = self._encoded()
        self.payloads = None
        options.apply_options(self, self.route, now_ns(), 0 if self.is_attempt else len(payloads))
        self.members = []
        self.missing = len(payloads)
        session.now = self.started_ns
        for i in range(len(payloads)):
            (<CallerState>options.shared).budget.count_call(self.started_ns)
            member = new_member((<CallerState>options.shared).spare)
            member.batch = self
            options.copy_options(member, self)
            member.names = marshal.names_at(PyTuple_GET_SIZE(<tuple>self.argument_tuples[i]))
            self.members.append(member)
            try:
                payload = options.pack(member, <bytes>payloads[i], session.peer, session.settled)
                count_start(member, payload)
                session.calling.send(member, payload)
            except FastRPCError as error:
                # The others are on their way: this one's error is its result.
                member.failed(error)
        if self.deadline_ns != NO_DEADLINE and self.missing:
            session.loop_state.start_timer(self, self.deadline_ns)

    cdef list _encoded(self):
        cdef Marshal marshal = self.route.marshal
        return [marshal.encode_arguments(given, None) for given in self.argument_tuples]

    @property
    def _is_long(self):
        """Whether arguments of its calls are compressed in slices: each of these calls is then made by itself."""
        if self.options.compressor is None:
            return False
        if self.payloads is None:
            self.payloads = self._encoded()
        return any([PyBytes_GET_SIZE(<bytes>payload) > SLICED_ABOVE for payload in self.payloads])

    cdef int settle(self) except -1:
        cdef BatchMember member
        self.session.loop_state.stop_timer(self)
        try:
            if self.endpoint_state is not None:
                # The whole batch is one attempt: what it says of the endpoint is what its first error says.
                for member in self.members:
                    if member.failure is not None:
                        self.leave(member.failure, now_ns())
                        break
                else:
                    self.leave(None, now_ns())
        finally:
            CoroutineCall.settle(self)
        return 0

    cdef int on_timer(self) except -1:
        cdef BatchMember member
        for member in self.members:
            if not member.is_settled:
                expire(member, self.session)
        return 0

    cdef int resume(self, PyObject** result) except -1:
        cdef BatchMember member
        cdef list values
        cdef bint failed = False, is_packed = False
        for member in self.members:
            is_packed |= member.answer_compressor != 0
        member = None
        if is_packed and self._packed():
            return self.delegate((<CallerState>self.options.shared).runner.unpack_batch(self), result)
        values = self._collected(&failed)
        if failed and not self.is_attempt:
            return self.delegate((<CallerState>self.options.shared).runner.finish_batch(self, values), result)
        Py_INCREF(values)
        result[0] = <PyObject*>values
        return RETURNED

    def _packed(self):
        """Those of its calls whose answers are not decompressed yet."""
        cdef BatchMember member
        cdef list found = []
        for member in self.members or ():
            if member.answer_compressor and member.failure is None:
                found.append(member)
        return found

    def _collect(self):
        """Return what its calls stand for, errors in place of values; once."""
        cdef bint failed = False
        if self.members is None or self.missing:
            raise RuntimeError(f"the answers of {self.route.method} are not there, or were collected")
        return self._collected(&failed)

    cdef list _collected(self, bint* failed):
        cdef BatchMember member
        cdef list values = []
        for member in self.members:
            if member.failure is not None:
                failed[0] = True
                values.append(member.failure)
                continue
            try:
                values.append(member.value())
            except FastRPCError as error:
                failed[0] = True
                mark_own(error)
                values.append(error)
        member = None
        take_back((<CallerState>self.options.shared).spare, self.members)
        self.members = None
        return values

    cdef int abandon(self, int reason) except -1:
        cdef BatchMember member
        self.session.loop_state.stop_timer(self)
        if self.endpoint_state is not None:
            self.leave(asyncio.CancelledError(), now_ns())
        for member in self.members:
            if not member.is_settled:
                member.forget()
                self.session.calling.abandon(member, reason)
        self.members = None
        return 0

    @property
    def arguments(self):
        """Those of its first call, which stand for the batch where it is placed by them."""
        return self.argument_tuples[0] if self.argument_tuples else ()

    def _start_clock(self):
        """Give the batch its deadline before there is a connection; raises when no time is left: the runner counts that."""
        self.options.apply_options(self, self.route, now_ns(), 0)

    @property
    def _needs_ready(self):
        """Whether it waits for the peer's settings, as a call does."""
        return self.options.needs_settings(self.route, None)

    @property
    def _size(self):
        """How many calls it is."""
        return len(self.argument_tuples)

    @property
    def _returns_errors(self):
        """Whether errors are results."""
        return self.return_exceptions

    def _single(self, Py_ssize_t index):
        """Return a coroutine that makes one of the calls by itself, within the batch's deadline."""
        cdef ClientCall call = ClientCall.__new__(ClientCall)
        call.route = self.route
        call.options = self.options
        call.hash_key = self.hash_key
        call.args = checked_item(self.argument_tuples, index)
        call.deadline_ns = self.deadline_ns
        return call

    def _attempted(self, Py_ssize_t index):
        """Return one of the calls, of which an attempt was made with the batch: for the runner to go on with."""
        cdef ClientCall call = ClientCall.__new__(ClientCall)
        call.args = checked_item(self.argument_tuples, index)
        self.options.copy_options(call, self)
        call.options = self.options
        call.hash_key = self.hash_key
        call.session = self.session
        # It was awaited already, as part of the batch.
        call.close()
        return call

    def _attempt_on(self, Connection session not None):
        """Return a coroutine that makes the whole batch on a connection and gives errors in place of values."""
        cdef BatchCall attempt = BatchCall.__new__(BatchCall)
        attempt.route = self.route
        attempt.options = self.options
        attempt.hash_key = self.hash_key
        attempt.argument_tuples = self.argument_tuples
        attempt.session = session
        attempt.deadline_ns = self.deadline_ns
        attempt.is_attempt = True
        self.session = session
        return attempt


make_awaitable(BatchCall)
