"""Many calls of one thread at once, made by `SyncClient.call_many`. A BlockingCall is the head of this batch."""

cimport cython

from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.calling_part cimport CallingPart
from fastrpc._core.client.blocking_wait cimport new_wait
from fastrpc._core.client.caller_view cimport route_on
from fastrpc._core.client.client_call cimport ClientCall

from fastrpc.errors import FastRPCError


@cython.final
cdef class BlockingBatch(BatchCall):
    """The calls of a batch that a thread waits for."""

    cdef ClientCall new_call(self):
        return BlockingCall.__new__(BlockingCall)

    cdef bint start_on(self, BlockingCall head, BlockingSession session, Py_ssize_t unsent) except -1:
        """Hand all calls to a connection; False if it takes no more calls.

        `unsent` is the number of calls to count if the deadline has passed.
        """
        cdef CallingPart part = <CallingPart>session.engine.calling
        cdef Py_ssize_t i
        cdef bytes payload
        cdef list payloads, calls = [], sent = []
        head.route = route_on(head.route, session.engine)
        self.payloads = self.encoded(head.route)
        head.apply_options(head.route, now_ns(), unsent)
        head.session = session.engine
        head.byte_stream = session
        head.wait = new_wait(1, head.deadline_ns)
        payloads = self.begin_members(head)
        for i in range(len(payloads)):
            payload = self.take_in(head, <bytes>payloads[i], part.peer, part.is_settled, None)
            if payload is not None:
                calls.append(self.members[i])
                sent.append(payload)
        if not session.start_many(calls, sent):
            self.members = None
            return False
        for _ in payloads:
            head.options.shared.budget.count_call(head.started_ns)
        return True

    cdef list end(self, BlockingCall head):
        """Wait for all answers and return them; another attempt may follow errors."""
        cdef list values
        cdef object failure = None
        try:
            values = self.outcomes(head)
            failure = next((value for value in values if isinstance(value, FastRPCError)), None)
        except BaseException as error:
            failure = error
            raise
        finally:
            head.conclude(failure)
        if failure is None:
            return values
        if head.byte_stream.is_left_behind:
            if self.return_exceptions:
                return values
            raise failure
        return head.options.shared.runner.finish_batch(head, values)

    cdef list outcomes(self, BlockingCall head):
        """Wait for all answers to a started batch and return them, errors in place of those that failed."""
        cdef BlockingSession session = head.byte_stream
        cdef bint failed = False
        try:
            if not session.wait(head.wait):
                session.give_up_all(self.members, True)
        except BaseException:
            session.give_up_all(self.members, False)
            raise
        return self.collected(None, &failed)

    # For the runner

    def attempt_on(self, BlockingCall head not None, BlockingSession session not None):
        """Start the batch on a connection, or return False; `finish` has to follow."""
        self.check_head(head)
        return self.start_on(head, session, 0)

    def finish(self, BlockingCall head not None):
        """Return the answers to a batch that was started, errors in place of those that failed."""
        self.check_head(head)
        return self.outcomes(head)


cdef BlockingCall new_batch(list argument_tuples, bint return_exceptions):
    """Return the head of a batch, for the caller to fill in."""
    cdef BlockingCall head = BlockingCall.__new__(BlockingCall)
    cdef BlockingBatch batch = BlockingBatch.__new__(BlockingBatch)
    batch.lead(head, argument_tuples, return_exceptions)
    return head
