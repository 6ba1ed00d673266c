"""The calls of one `call_many`, of both clients: one write and one wake-up for all of them.

::

    ClientCall            the head: options, deadline, timer and one pick; the part that waits
    └── BatchCall         the data to send, and the members
        └── BatchMember   one call on the wire

    BatchCall
    ├── AwaitedBatch      (caller) the head is an AwaitedCall
    └── BlockingBatch     (blocking_caller) the head is a BlockingCall
"""

cimport cython
from cpython.tuple cimport PyTuple_GET_SIZE
from cpython.ref cimport Py_REFCNT

from fastrpc._core.calls.call cimport STATE_NEW
from fastrpc._core.client.call_errors cimport hint_at_token, mark_own
from fastrpc._core.payload.marshal cimport Marshal
from fastrpc._core.wire.settings cimport FIRST_OWN_NUMBER

from fastrpc.errors import DeadlineExceededError, EncodeError, FastRPCError

cdef enum:
    # The most members that a client keeps for reuse, about 250 KiB.
    SPARE_MEMBERS = 512


@cython.final
cdef class BatchMember(ClientCall):
    """One call of a batch."""

    cdef bint make_new(self) noexcept:
        """Reset a call for reuse, except the fields that `copy_options` and the call table always set."""
        if self.failure is not None or self.compressor or self.head is not None or not self.is_plain():
            return False
        self.id = 0
        self.state = STATE_NEW
        self.handed_at = 0
        self.is_settled = False
        self.answer = None
        self.early_request = None
        self.route = None
        self.numbers = None
        self.options = None
        self.ended_ns = 0
        self.forget_received()
        return True

    cdef int settle(self) except -1:
        cdef ClientCall head = self.head
        cdef BatchCall batch = <BatchCall>head.batch
        # The batch holds its members. A member with an unread answer must not hold the batch in turn.
        self.head = None
        if self.failure is not None:
            hint_at_token(self.failure, head.options, self.sent_metadata)
        batch.missing -= 1
        return head.settle() if batch.missing == 0 else 0


cdef int take_back(list spare, list members) except -1:
    """Keep the members of an ended batch for the next batch. The caller must not use `members` afterwards."""
    cdef BatchMember member
    while members and len(spare) < SPARE_MEMBERS:
        member = <BatchMember>members.pop()
        if Py_REFCNT(member) == 1 and member.make_new():
            spare.append(member)
    return 0


def sent_failure(outcomes):
    """Return the error that the batch reports as one attempt: the first error of a call that was sent, or None.

    If no call was sent, it is the first error.
    """
    unsent = None
    is_sent = False
    for outcome in outcomes:
        if isinstance(outcome, EncodeError):
            unsent = unsent or outcome
        elif isinstance(outcome, FastRPCError):
            return outcome
        else:
            is_sent = True
    return None if is_sent else unsent


cdef object payload_or_error(Marshal marshal, tuple given):
    try:
        return marshal.encode_arguments(given, None)
    except FastRPCError as error:
        return error


cdef class BatchCall:
    """The calls of a batch, and the data they send."""

    cdef ClientCall lead(
        self, MethodRoute route, ViewOptions options, object hash_key, list argument_tuples, bint return_exceptions
    ):
        """Return a new call that stands for the batch."""
        cdef ClientCall head = self.new_call()
        self.argument_tuples = argument_tuples
        self.returns_errors = return_exceptions
        # The first call represents the batch if its arguments choose the endpoint.
        head.set_request(route, options, hash_key, <tuple>argument_tuples[0] if argument_tuples else (), None)
        head.batch = self
        return head

    cdef list encoded(self, MethodRoute route):
        """Encode the arguments of all calls. If errors are returned, they replace arguments that cannot be encoded."""
        cdef Marshal marshal = route.marshal
        try:
            return [marshal.encode_arguments(given, None) for given in self.argument_tuples]
        except FastRPCError:
            if not self.returns_errors:
                raise
        return [payload_or_error(marshal, <tuple>given) for given in self.argument_tuples]

    cdef list begin_members(self, ClientCall head):
        """Return the payloads of the members that `add_member` adds next."""
        cdef list payloads = self.payloads if self.payloads is not None else self.encoded(head.route)
        self.payloads = None
        self.members = []
        self.missing = len(payloads)
        return payloads

    @cython.final
    cdef bytes add_member(self, ClientCall head, object payload, WireSettings peer, bint is_ready, list spare):
        """Add the member of the next call, with the head's options; return the payload to send, None if it failed.

        Args:
            payload: the encoded arguments, or their error.
        """
        cdef BatchMember member = <BatchMember>spare.pop() if spare else <BatchMember>BatchMember.__new__(BatchMember)
        member.head = head
        member.copy_options(head)
        member.names = head.route.marshal.names_at(PyTuple_GET_SIZE(<tuple>self.argument_tuples[len(self.members)]))
        self.members.append(member)
        if not isinstance(payload, bytes):
            member.failed(payload)
            return None
        if head.options.compressor is None and head.codec < FIRST_OWN_NUMBER:
            return payload
        member.options = head.options
        try:
            return member.options.pack(member, <bytes>payload, peer, is_ready)
        except FastRPCError as error:
            # The other calls continue: this error is the result of this call alone.
            member.failed(error)
            return None

    cdef list too_late(self, object error):
        """Return the results of calls whose time is over before they were sent; None if the error is raised instead."""
        if not self.returns_errors or not isinstance(error, DeadlineExceededError):
            return None
        mark_own(error)
        return [error] * len(self.argument_tuples)

    cdef list collected(self, list spare, bint* failed):
        """Return the results of the calls, with errors in place of values; set `failed` if there is an error."""
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
        if spare is not None:
            take_back(spare, self.members)
        self.members = None
        return values

    cdef object first_failure(self):
        """Return the error of the whole batch, which is one attempt, or None if the batch succeeded."""
        cdef BatchMember member
        return sent_failure([member.failure for member in self.members])

    cdef ClientCall single_call(self, ClientCall head, Py_ssize_t index):
        """Return a call with the arguments of one of the calls."""
        cdef ClientCall call
        if not 0 <= index < len(self.argument_tuples):
            raise IndexError(f"the batch has no call {index}")
        self.check_head(head)
        call = self.new_call()
        call.set_request(head.route, head.options, head.hash_key, <tuple>self.argument_tuples[index], None)
        return call

    cdef int check_head(self, ClientCall head) except -1:
        """Raise if another kind of call is the head of this batch, such as a call of a client of the other kind."""
        if head.batch is not self:
            raise ValueError(f"{head!r} does not stand for this batch")
        return 0

    # Implemented by the subclass that waits

    cdef ClientCall new_call(self):
        """Return a new call of the head's class, which nothing awaits yet."""
        raise NotImplementedError

    cdef int begin(self, ClientCall head, PyObject** result) except -1:
        """Take the first step of the head."""
        raise NotImplementedError

    cdef int resume(self, ClientCall head, PyObject** result) except -1:
        """Continue the head: all answers have arrived."""
        raise NotImplementedError

    cdef int settle(self, ClientCall head) except -1:
        """The last call ended."""
        return 0

    cdef int abandon(self, ClientCall head, int reason) except -1:
        """Give the whole batch up."""
        return 0

    cdef int expire(self, ClientCall head) except -1:
        """The deadline passed."""
        return 0

    # For the runner

    @property
    def size(self):
        """The number of calls in the batch."""
        return len(self.argument_tuples)

    def single(self, ClientCall head not None, Py_ssize_t index):
        """Return one of the calls, to be made anew within the batch's deadline."""
        cdef ClientCall call = self.single_call(head, index)
        call.deadline_ns = head.deadline_ns
        return call

    def attempted(self, ClientCall head not None, Py_ssize_t index):
        """Return one of the calls for the runner to continue; the batch made its first attempt."""
        cdef ClientCall call = self.single_call(head, index)
        call.copy_options(head)
        call.session = head.session
        return call
