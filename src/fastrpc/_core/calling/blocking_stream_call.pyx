"""The call of a stream of a `SyncClient`, and what it tells the stream.

An attempt points to its stream without a reference: the table of calls holds the attempt, and a stream that the program
has let go of is to be cancelled. What comes for it arrives in the thread that reads the connection, under the guard of
the session: the message is put into the channel, and the thread that waits for it is woken.
"""

import asyncio
import time

from cpython.bytes cimport PyBytes_GET_SIZE
from libc.stdint cimport uint8_t

from fastrpc._core.base.status cimport UNAVAILABLE
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calling.blocking_state cimport BlockingState
from fastrpc._core.calling.caller_view cimport metadata_of
from fastrpc._core.calls.call cimport Draining
from fastrpc._core.framing.frame cimport IDEMPOTENT, OUTCOME_RAN, STREAM_OUT

from fastrpc._core.calling.stream_call import REOPEN_HINT
from fastrpc.errors import UnavailableError


cdef class BlockingChannel(StreamChannel):
    """The messages of one stream, and the threads that wait for them."""

    cdef int wake_receiver(self) except -1:
        return 0 if self._reader_wait is None else self._reader_wait.came()

    cdef int wake_sender(self) except -1:
        return 0 if self._sender_wait is None else self._sender_wait.came()

    @property
    def _is_waited_for(self):
        """Whether a thread waits for a message, or for room to send."""
        return self._reader_wait is not None or self._sender_wait is not None


cdef class BlockingStreamCall(PendingCall):
    """A call of a `SyncClient` that streams, as interceptors see it, and each attempt of it."""

    def __dealloc__(self):
        if self.is_counted:
            self.count_unread()

    # An attempt

    cdef bint start(self, BlockingChannel stream) except -1:
        """Send the attempt; False when the connection takes none any more.

        Raises:
            TypeError: the arguments do not fit the method.
            EncodeError: they cannot travel.
        """
        cdef BlockingSession session = self.session
        cdef bytes payload = <bytes>self.route.marshal.encode_call(self.args, self.kwargs, &self.names)
        # The runner counts one that is too late, unless an attempt was sent.
        self.options.apply_options(self, self.route, now_ns(), 0)
        payload = self._packed(self.options.pack(self, payload, session.peer, session.is_ready))
        self.stream_pointer = <PyObject*>stream
        before = stream.call
        stream.attempt_ended = False
        stream.call = self
        # It is a user of the connection until it is settled.
        self.is_used = True
        try:
            self.is_used = session.start(self, payload, None) and not self.is_settled
        except BaseException:
            self.is_used = False
            stream.call = before
            raise
        if not self.is_used and not self.is_settled:
            stream.call = before
            return False
        stream.is_open = True
        session.enter_use()
        session.leave_use()
        return True

    cdef bytes _packed(self, bytes payload):
        """Compress the arguments however short they are: messages may be compressed only as the REQUEST is."""
        cdef int number
        compressor = self.options.compressor
        if compressor is None or self.compressor or not self.session.is_ready:
            return payload
        number = self.session.peer.compressor_number(compressor.wire_id, compressor.name)
        if number < 0:
            return payload
        self.compressor = <uint8_t>number
        return bytes(compressor.compress(payload))

    cdef int message_came(self, Frame* frame, bytes payload, Py_ssize_t cost) except -1:
        cdef Py_ssize_t size = PyBytes_GET_SIZE(payload)
        self.route.counters.moved(size, 0)
        self.moved_bytes += size
        self.route.totals.received(size)
        if self.stream_pointer is NULL:
            return self.session.assembler.message_taken(self, cost)
        stream = <BlockingChannel>self.stream_pointer
        stream.has_sign = True
        return stream.put(frame, payload, cost)

    cdef int head_came(self, bytes metadata) except -1:
        self.first_metadata = metadata
        if self.stream_pointer is not NULL:
            stream = <BlockingChannel>self.stream_pointer
            stream.has_sign = True
            stream.wake_receiver()
        return 0

    cdef int may_send(self) except -1:
        if self.stream_pointer is not NULL:
            (<BlockingChannel>self.stream_pointer).wake_sender()
        return 0

    cdef int settle(self) except -1:
        """The attempt ended: whoever waits goes on. The guard is held."""
        if self.is_used:
            self.is_used = False
            self.session.users -= 1
        if self.failure is None and self.flags & STREAM_OUT:
            self.count_outcome(0)
        if self.stream_pointer is not NULL:
            stream = <BlockingChannel>self.stream_pointer
            self.stream_pointer = NULL
            stream.attempt_ended = True
            stream.wake_receiver()
            stream.wake_sender()
        return 0

    cdef int end_pick(self, object error) except -1:
        """Tell the endpoint set, once, what became of the attempt."""
        pick, self.pick = self.pick, None
        if pick is None:
            return 0
        if self.session.is_left_behind:
            pick.dropped()
        else:
            pick.ended(error)
        return 0

    cdef object _error_of(self, Frame* frame, bytes payload):
        if frame.status == UNAVAILABLE and frame.outcome == OUTCOME_RAN and self.session.peer_drains:
            text = frame.text[:frame.text_size].decode("utf-8", "replace")
            return UnavailableError(
                text, processed="yes", retryable=bool(self.flags & IDEMPOTENT), hint=REOPEN_HINT
            )
        return PendingCall._error_of(self, frame, payload)

    # For interceptors

    def wrap_sent(self, function):
        """Have a function make something else of each message sent; the one given first is called first."""
        cdef BlockingChannel stream = self._wrapping(function)
        stream.sent_wraps = [*(stream.sent_wraps or ()), function]

    def wrap_received(self, function):
        """Have a function make something else of each message received; the one given first is called last."""
        cdef BlockingChannel stream = self._wrapping(function)
        stream.received_wraps = [*(stream.received_wraps or ()), function]

    def _wrapping(self, function):
        if not callable(function):
            raise TypeError(f"{function!r} is no function that takes a message and returns one")
        if self.stream_pointer is NULL or (<BlockingChannel>self.stream_pointer).is_open:
            raise RuntimeError(f"{self.route.method}: messages are wrapped before `proceed` is called")
        return <object>self.stream_pointer

    @property
    def arguments(self):
        """The arguments as they were given, without the stream."""
        return (*self.args, *self.kwargs.values()) if self.kwargs else self.args

    @property
    def endpoint(self):
        """Where it went last, or None."""
        return None if self.session is None else self.session.endpoint

    cdef object get_peer(self):
        return (<BlockingState>self.options.shared).runner.peer(self)

    @property
    def retry_policy(self):
        """The rules and the budget of its client."""
        return (<BlockingState>self.options.shared).runner.policy

    @property
    def draining(self):
        """Awaitable that is done once the server drains: on this side never, a call ends by itself."""
        return Draining(asyncio.Event())

    async def sleep(self, double seconds):
        """Wait, in an interceptor: blocks the thread, as everything here does."""
        time.sleep(seconds)

    # For the runner

    @property
    def _options(self):
        """Those of the client or view that made it."""
        return self.options

    @property
    def _stream(self):
        """The stream that it is the call of, or None."""
        return None if self.stream_pointer is NULL else <object>self.stream_pointer

    def _start_clock(self):
        """Give the call its options and deadline before any attempt; raises when no time is left."""
        self.options.apply_options(self, self.route, now_ns())
        (<BlockingState>self.options.shared).budget.count_call(self.started_ns)

    def _attempt_on(self, BlockingSession session not None, int number, pick=None):
        """Start attempt `number` of this call on a connection; None when that takes no calls any more."""
        cdef BlockingStreamCall attempt = BlockingStreamCall.__new__(BlockingStreamCall)
        if self.stream_pointer is NULL:
            raise RuntimeError(f"{self.route.method}: the stream was dropped")
        attempt.route = self.route
        attempt.options = self.options
        attempt.hash_key = self.hash_key
        attempt.args = self.args
        attempt.kwargs = self.kwargs
        attempt.session = session
        attempt.deadline_ns = self.deadline_ns
        attempt.began_ns = self.started_ns
        attempt.attempt_number = <uint8_t>min(number, 255)
        attempt.sent_metadata = metadata_of(self)
        if self._on_attempt is not None:
            self._on_attempt(number, session.endpoint)
        if not attempt.start(<BlockingChannel>self.stream_pointer):
            return None
        attempt.pick = pick
        return attempt

    def _end_pick(self, error):
        """Tell the endpoint set what became of the attempt, if it was not told yet."""
        self.end_pick(error)

    def _adopt(self, BlockingStreamCall attempt not None):
        """Take over what an attempt learned: metadata, where it came from, when it ended."""
        self.received_metadata = attempt.received_metadata
        self._reply_metadata = None
        self.session = attempt.session
        self.attempt_number = attempt.attempt_number
        self.ended_ns = attempt.ended_ns
        # Adopted twice it counts once.
        self.moved_bytes += attempt.moved_bytes
        attempt.moved_bytes = 0

    def _answer(self):
        """Return the one answer of a method that streams its input only."""
        return self.value()

    @property
    def _failure(self):
        """The error of an attempt that is over, or None."""
        return self.failure

    @property
    def _needs_ready(self):
        """Whether it waits for the peer's settings, as a call does."""
        return self.options.needs_settings(self.route, metadata_of(self))
