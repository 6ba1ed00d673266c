"""Many calls of one thread at once: what `SyncClient.call_many` makes, one write and one wake-up for all of them."""

cimport cython

from fastrpc._core.calling.blocking_call cimport BlockingCall
from fastrpc._core.calling.blocking_state cimport BlockingState
from fastrpc._core.calling.blocking_wait cimport new_wait
from fastrpc._core.calling.caller_view cimport checked_item, route_on
from fastrpc._core.calling.pending_call cimport mark_own
from fastrpc._core.calls.call cimport NO_DEADLINE
from fastrpc._core.base.wire cimport now_ns

from fastrpc.errors import FastRPCError


@cython.final
cdef class BatchMember(PendingCall):
    """One call of a batch."""

    def __dealloc__(self):
        if self.is_counted:
            self.count_unread()

    cdef int settle(self) except -1:
        return self.wait.came()


@cython.final
cdef class BlockingBatch:
    """Many calls of one thread: one write, one wake-up."""

    cdef bint start_on(self, BlockingSession session, Py_ssize_t unsent) except -1:
        """Take all calls to a connection; False when that takes none any more.

        `unsent` is how many calls to count where the deadline has passed.
        """
        cdef BatchMember member
        cdef Py_ssize_t i
        cdef bytes payload
        cdef uint64_t now = now_ns()
        cdef ViewOptions options = self.options
        cdef list payloads
        self.route = route_on(self.route, session)
        payloads = [self.route.marshal.encode_arguments(given, None) for given in self.argument_tuples]
        self.session = session
        self.members = []
        self.wait = new_wait(len(payloads), self.deadline_ns)
        for i in range(len(payloads)):
            member = BatchMember.__new__(BatchMember)
            member.wait = self.wait
            member.deadline_ns = self.deadline_ns
            options.apply_options(member, self.route, now, unsent)
            member.names = self.route.marshal.names_at(len(<tuple>self.argument_tuples[i]))
            payload = options.pack(member, <bytes>payloads[i], session.peer, session.is_ready)
            payloads[i] = payload
            self.members.append(member)
        if not session.start_many(self.members, payloads):
            return False
        for _ in payloads:
            (<BlockingState>options.shared).budget.count_call(now)
        return True

    cdef list end(self):
        """Wait for all answers and return them; errors may be followed by another attempt."""
        cdef list values
        cdef object failure = None
        try:
            values = self.outcomes()
            failure = next((value for value in values if isinstance(value, FastRPCError)), None)
        except BaseException as error:
            failure = error
            raise
        finally:
            self.leave(failure)
        if failure is None:
            return values
        if self.session.is_left_behind:
            if self.return_exceptions:
                return values
            raise failure
        return (<BlockingState>self.options.shared).runner.finish_batch(self, values)

    cdef int leave(self, object error) except -1:
        """Tell the endpoint set what became of the attempt: what the first error says, the whole batch is one attempt."""
        cdef EndpointState endpoint_state = self.endpoint_state
        if endpoint_state is None:
            return 0
        self.endpoint_state = None
        if self.session.is_left_behind:
            return self.endpoint_set.drop(endpoint_state, self.route.method, self.ticket)
        return self.endpoint_set.conclude(endpoint_state, self.route.method, self.ticket, self.started_ns, now_ns(), error)

    cdef list outcomes(self):
        """Wait for all answers to a started batch and return them, errors in place of those that failed."""
        cdef BatchMember member
        cdef list values = []
        try:
            if not self.session.wait(self.wait):
                self.session.give_up_all(self.members, True)
        except BaseException:
            self.session.give_up_all(self.members, False)
            raise
        for member in self.members:
            if member.failure is not None:
                values.append(member.failure)
                continue
            try:
                values.append(member.value())
            except FastRPCError as error:
                mark_own(error)
                values.append(error)
        self.members = None
        return values

    @property
    def _options(self):
        """Those of the client or view that made it."""
        return self.options

    @property
    def _size(self):
        """How many calls it is."""
        return len(self.argument_tuples)

    @property
    def _returns_errors(self):
        """Whether errors are results."""
        return self.return_exceptions

    def _attempt_on(self, BlockingSession session not None):
        """Start the batch on a connection, or return False; `_finish` has to follow."""
        return self.start_on(session, 0)

    def _finish(self):
        """Return the answers to a batch that was started, errors in place of those that failed."""
        return self.outcomes()

    def _count_unsent(self, status):
        """Count calls that failed before a connection could be had, all of them."""
        cdef BatchMember member = BatchMember.__new__(BatchMember)
        member.route = self.route
        member.started_ns = self.started_ns
        for _ in self.argument_tuples:
            member._count_unsent(status)

    def _single(self, Py_ssize_t index):
        """Return one of the calls, to be made from its beginning."""
        cdef BlockingCall call = BlockingCall.__new__(BlockingCall)
        call.route = self.route
        call.options = self.options
        call.hash_key = self.hash_key
        call.args = checked_item(self.argument_tuples, index)
        return call

    def _attempted(self, Py_ssize_t index):
        """Return one of the calls, of which an attempt was made with the batch: for the runner to go on with."""
        cdef BlockingCall call = <BlockingCall>self._single(index)
        call.deadline_ns = self.deadline_ns
        self.options.apply_options(call, self.route, self.started_ns)
        call.session = self.session
        return call

    @property
    def arguments(self):
        """Those of its first call, which stand for the batch where it is placed by them."""
        return self.argument_tuples[0] if self.argument_tuples else ()

    @property
    def method(self):
        """Full name of the method."""
        return self.route.method

    @property
    def _needs_ready(self):
        """Whether it waits for the peer's settings, as a call does."""
        return self.options.needs_settings(self.route, None)

    @property
    def _elapsed(self):
        """How long the batch takes already."""
        return (now_ns() - self.started_ns) / 1e9

    @property
    def deadline(self):
        """Instant of `time.monotonic()` at which the batch ends, or None."""
        return None if self.deadline_ns == NO_DEADLINE else self.deadline_ns / 1e9
