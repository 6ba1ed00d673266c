"""The call of a stream on a loop, and what it tells the stream.

An attempt points to its stream without a reference: the table of calls holds the attempt, and a stream that the program
has let go of is to be cancelled. The call that the attempts belong to points to it in the same way: interceptors and the
task that sends an iterable hold that call, and find their stream by it for as long as it is wanted.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Generator

from cpython.bytes cimport PyBytes_GET_SIZE
from libc.stdint cimport uint64_t

from fastrpc._core.base.status cimport CANCELLED, UNAVAILABLE
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calling.caller_state cimport CallerState
from fastrpc._core.calling.caller_view cimport count_start, metadata_of
from fastrpc._core.calling.pending_call cimport lost_error, unstarted_error
from fastrpc._core.calls.call cimport Draining
from fastrpc._core.framing.frame cimport (
    CANCEL_DEADLINE,
    CANCEL_LOST_HEDGE,
    CANCEL_USER,
    IDEMPOTENT,
    OUTCOME_RAN,
    STREAM_OUT,
)
from fastrpc._core.framing.settings cimport Settings

from fastrpc._core.calling.client_call import slept
from fastrpc.errors import DeadlineExceededError, FastRPCError, UnavailableError

logger = logging.getLogger("fastrpc.client")

REOPEN_HINT = "open it again"
FEED_FAILED = "%s: the iterable of its messages failed behind the end of the stream"
DEADLINE_HINT = "give it more time with timeout=, in with_options() or @method"


cdef class CallerChannel(StreamChannel):
    """The messages of one stream, and its attempts."""

    cdef int attach(self, StreamCall attempt) except -1:
        """An attempt begins; a stream that sends belongs to its only one from the start."""
        raise NotImplementedError

    cdef int detach(self, StreamCall attempt) noexcept:
        """An attempt tells the stream nothing more."""
        return 0

    cdef bint take_attempt(self, StreamCall attempt) except -1:
        """Return whether the stream takes the messages of this attempt: the first one that shows a sign."""
        raise NotImplementedError

    cdef int show_sign(self) except -1:
        """A message or the initial metadata came."""
        raise NotImplementedError

    cdef int attempt_over(self, StreamCall attempt) except -1:
        """An attempt ended, well or not."""
        raise NotImplementedError

    cdef int fail(self, object error, int reason) except -1:
        """End the stream from this side: the server is told, and everybody who waits gets the error."""
        raise NotImplementedError

    cdef int send_out(self, object message) except -1:
        """Encode a message and send it."""
        raise NotImplementedError

    cdef int send_end(self) except -1:
        """Say that nothing more will be sent, if it was not said."""
        raise NotImplementedError


cdef class StreamCall(PendingCall):
    """A call that streams, as interceptors see it, and each attempt of it."""

    def __dealloc__(self):
        if self.is_counted:
            self.count_unread()

    # An attempt

    cdef int start(self, CallerChannel stream) except -1:
        """Send the attempt; from here on it tells the stream what comes.

        Raises:
            TypeError: the arguments do not fit the method.
            EncodeError: they cannot travel.
        """
        cdef uint64_t now = now_ns()
        cdef bytes payload = self.packed_arguments
        cdef Settings peer = self.session.peer
        cdef bint is_packed = payload is not None
        if not is_packed:
            payload = <bytes>self.route.marshal.encode_call(self.args, self.kwargs, &self.names)
        self.options.apply_options(self, self.route, now)
        if is_packed:
            self.packed_arguments = None
            self.options.take_packed(self, peer, self.is_smaller)
        else:
            payload = self._packed(self.options.pack(self, payload, peer, self.session.settled))
        count_start(self, payload)
        self.stream_pointer = <PyObject*>stream
        stream.attach(self)
        try:
            self.session.now = now
            self.session.calling.start(self, payload)
        except BaseException as error:
            self.detach()
            self.forget(error.status if isinstance(error, FastRPCError) else CANCELLED)
            raise
        return 0

    def _to_pack(self):
        """Return compressor and encoded arguments where these are to be compressed in slices before it begins, else None."""
        cdef bytes payload
        if self.options.compressor is None:
            return None
        payload = <bytes>self.route.marshal.encode_call(self.args, self.kwargs, &self.names)
        if not self.options.packs_later(payload, self.session.peer, self.session.settled):
            return None
        return self.options.compressor, payload

    def _take_packed(self, bytes payload not None, bint is_smaller):
        """Have the arguments as they are now; raise if its connection takes no calls any more."""
        cdef Connection session = self.session
        if session.is_closed:
            raise lost_error(session, session.calling.endpoint, self, False, "it closed while the arguments were compressed")
        if not session.is_usable:
            raise unstarted_error(session, session.calling.endpoint, self)
        self.packed_arguments = payload
        self.is_smaller = is_smaller

    def _unpackable(self, error):
        """Return the error of arguments that cannot be compressed."""
        return self.options.unpackable(self, error)

    cdef bytes _packed(self, bytes payload):
        """Compress the arguments however short they are: messages may be compressed only as the REQUEST is."""
        cdef int number
        compressor = self.options.compressor
        if compressor is None or self.compressor or not self.session.settled:
            return payload
        number = self.session.peer.compressor_number(compressor.wire_id, compressor.name)
        if number < 0:
            return payload
        self.compressor = <uint8_t>number
        return bytes(compressor.compress(payload))

    cdef int detach(self) noexcept:
        if self.stream_pointer is not NULL:
            (<CallerChannel>self.stream_pointer).detach(self)
            self.stream_pointer = NULL
        return 0

    cdef bint choose(self) except -1:
        """The server showed a sign: return whether the stream takes this attempt, and gives all others up."""
        cdef CallerChannel stream
        if self.is_chosen:
            return True
        if self.stream_pointer is NULL:
            return False
        stream = <CallerChannel>self.stream_pointer
        if not stream.take_attempt(self):
            self.has_lost = True
            self.abandon(CANCEL_LOST_HEDGE, None)
            return False
        self.is_chosen = True
        return True

    cdef int message_came(self, Frame* frame, bytes payload, Py_ssize_t cost) except -1:
        cdef Py_ssize_t size = PyBytes_GET_SIZE(payload)
        self.route.counters.moved(size, 0)
        self.moved_bytes += size
        self.route.totals.received(size)
        if self.stream_pointer is NULL or not self.choose():
            return self.session.assembler.message_taken(self, cost)
        stream = <CallerChannel>self.stream_pointer
        if not stream.has_sign:
            stream.show_sign()
        return stream.put(frame, payload, cost)

    cdef int head_came(self, bytes metadata) except -1:
        self.first_metadata = metadata
        if self.stream_pointer is not NULL and self.choose():
            stream = <CallerChannel>self.stream_pointer
            stream.show_sign()
        return 0

    cdef int may_send(self) except -1:
        if self.stream_pointer is not NULL:
            (<CallerChannel>self.stream_pointer).wake_sender()
        return 0

    cdef int settle(self) except -1:
        cdef CallerChannel stream = None
        if self.stream_pointer is not NULL:
            # It may lose its last other reference on the way.
            stream = <CallerChannel>self.stream_pointer
        if self.failure is None and self.flags & STREAM_OUT:
            self.count_outcome(0)
        try:
            self.end_pick(self.failure)
        finally:
            if stream is not None:
                stream.attempt_over(self)
        return 0

    cdef int end_pick(self, object error) except -1:
        """Tell the endpoint set, once, what became of the attempt."""
        pick, self.pick = self.pick, None
        if pick is not None:
            pick.ended(error)
        return 0

    cdef object _error_of(self, Frame* frame, bytes payload):
        if frame.status == UNAVAILABLE and frame.outcome == OUTCOME_RAN and self.session.peer_drains:
            text = frame.text[:frame.text_size].decode("utf-8", "replace")
            return UnavailableError(
                text, processed="yes", retryable=bool(self.flags & IDEMPOTENT), hint=REOPEN_HINT
            )
        return PendingCall._error_of(self, frame, payload)

    cdef int abandon(self, int reason, object error) except -1:
        """Give the attempt up: the server is told, what still comes for it is dropped."""
        if self.is_settled or self.session is None:
            return 0
        self.detach()
        self.forget(CANCELLED if error is None or not isinstance(error, FastRPCError) else error.status)
        self.end_pick(asyncio.CancelledError() if error is None else error)
        return self.session.calling.abandon(self, CANCEL_LOST_HEDGE if self.has_lost else reason)

    cdef int on_timer(self) except -1:
        """The deadline passed."""
        cdef bint handed
        if self.is_settled:
            return 0
        handed = self.session.was_written(self)
        self.session.calling.abandon(self, CANCEL_DEADLINE)
        return self.failed(self._overdue(handed))

    def _overdue(self, bint handed=False):
        """Return the error of an attempt whose deadline passed."""
        return DeadlineExceededError(
            f"{self.route.method}: the stream from {self.session.calling.endpoint} did not end within "
            f"{(self.deadline_ns - min(self.deadline_ns, self.began_ns or self.started_ns)) * 1e-9:.3g} s",
            processed="unknown" if handed else "no",
            hint=DEADLINE_HINT,
        )

    # For interceptors

    def wrap_sent(self, function):
        """Have a function make something else of each message sent; the one given first is called first."""
        cdef CallerChannel stream = self._wrapping(function)
        stream.sent_wraps = [*(stream.sent_wraps or ()), function]

    def wrap_received(self, function):
        """Have a function make something else of each message received; the one given first is called last."""
        cdef CallerChannel stream = self._wrapping(function)
        stream.received_wraps = [*(stream.received_wraps or ()), function]

    def _wrapping(self, function):
        if not callable(function):
            raise TypeError(f"{function!r} is no function that takes a message and returns one")
        if self.stream_pointer is NULL or (<CallerChannel>self.stream_pointer).is_open:
            raise RuntimeError(f"{self.route.method}: messages are wrapped before `proceed` is called")
        return <object>self.stream_pointer

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
        (<CallerState>self.options.shared).budget.count_call(self.started_ns)

    def _attempt_on(self, Connection session not None, int number):
        """Return attempt `number` of this call on a connection, within the call's deadline; it is not started."""
        cdef StreamCall attempt = StreamCall.__new__(StreamCall)
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
            self._on_attempt(number, session.calling.endpoint)
        return attempt

    def _begin(self, CallerChannel stream not None, sign=None, pick=None):
        """Send the attempt; `sign`, a future, is done at the first sign of the server."""
        self.sign = sign
        self.start(stream)
        self.pick = pick

    def _give_up(self, error=None):
        """End the attempt, if it is not over: nobody waits for it."""
        self.abandon(CANCEL_USER, error)

    def _lose(self):
        """Note that another attempt was faster: when this one is given up, the server is told why."""
        self.has_lost = True

    def _adopt(self, StreamCall attempt not None):
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
    def _is_over(self):
        """Whether the attempt ended, by its answer or otherwise."""
        return bool(self.is_settled)

    @property
    def arguments(self):
        """The arguments as they were given, without the stream."""
        return (*self.args, *self.kwargs.values()) if self.kwargs else self.args

    @property
    def endpoint(self):
        """Where it went last, or None."""
        return None if self.session is None else self.session.calling.endpoint

    cdef object get_peer(self):
        return (<CallerState>self.options.shared).runner.peer(self)

    @property
    def retry_policy(self):
        """The rules and the budget of its client."""
        return (<CallerState>self.options.shared).runner.policy

    @property
    def draining(self):
        """Awaitable that is done once the server drains: on this side never, a call ends by itself."""
        return Draining(asyncio.Event())

    def sleep(self, seconds):
        """Wait, in an interceptor."""
        return slept(seconds)

    @property
    def _needs_ready(self):
        """Whether it waits for the peer's settings, as a call does."""
        return self.options.needs_settings(self.route, metadata_of(self))

    # An iterable of messages

    async def _feed(self, messages):
        """Send every message of an iterable, then the end; an exception in it ends the stream and is its error.

        A generator is closed at the end, an iterable of another kind is left to the program. Whoever waits here holds
        the stream by no reference.
        """
        iterator = None
        try:
            if hasattr(messages, "__aiter__"):
                iterator = aiter(messages)
                async for message in iterator:
                    while (room := self._offer(message)) is not None:
                        await room
                    if self.has_enough:
                        break
            else:
                iterator = iter(messages)
                for message in iterator:
                    while (room := self._offer(message)) is not None:
                        await room
                    if self.has_enough:
                        break
            self._feed_ended(None)
        except BaseException as error:
            self._feed_ended(error)
            if not isinstance(error, Exception):
                raise
        finally:
            await self._close_fed(iterator)

    def _offer(self, message):
        """Send a message and return None; where there is no room return what to wait for. Nobody may want it any more."""
        cdef CallerChannel stream
        if self.stream_pointer is not NULL:
            stream = <CallerChannel>self.stream_pointer
            if not stream.output_ended:
                if stream.is_full():
                    return stream.wait_room()
                stream.send_out(message)
                return None
        self.has_enough = True
        return None

    def _feed_ended(self, error):
        cdef CallerChannel stream = None
        if self.stream_pointer is not NULL:
            stream = <CallerChannel>self.stream_pointer
        if stream is None or stream.output_ended:
            if isinstance(error, Exception):
                logger.error(FEED_FAILED, self.route.method, exc_info=error)
        elif error is None:
            stream.send_end()
        else:
            stream.fail(error, CANCEL_USER)

    async def _close_fed(self, iterator):
        try:
            if isinstance(iterator, AsyncGenerator):
                await iterator.aclose()
            elif isinstance(iterator, Generator):
                iterator.close()
        except Exception as error:
            logger.error(FEED_FAILED, self.route.method, exc_info=error)
