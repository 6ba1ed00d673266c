"""Streams of ours: a call whose messages go one way or both, and what its user holds.

::

    client.stream(Feed.follow) ──► CalledStream ──► StreamCall: an attempt on a ClientSession
                                        ▲                │
           receive, async for  ◄────────┴── messages, HEAD, the end

The stream is the channel itself, so the messages of one read are there for `async for` without anything in between. It
outlives its attempts: as long as nothing came, an attempt that failed may be followed by another one
(`client/stream_runner.py`). The first attempt that shows a sign of the server is the one the stream takes messages of.

An attempt points to its stream without a reference: the table of calls holds the attempt, and a stream that the program
has let go of is to be cancelled.
"""

import asyncio

from cpython.bytes cimport PyBytes_GET_SIZE
from libc.stdint cimport uint8_t

from fastrpc._core.base.status cimport CANCELLED, UNAVAILABLE
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calling.caller_state cimport CallerState
from fastrpc._core.calling.caller_view cimport count_start, over_floor
from fastrpc._core.calling.pending_call cimport mark_own
from fastrpc._core.calls.call cimport Draining, Route
from fastrpc._core.framing.frame cimport (
    CANCEL_DEADLINE,
    CANCEL_DECODE,
    CANCEL_LOST_HEDGE,
    CANCEL_USER,
    IDEMPOTENT,
    OUTCOME_RAN,
    STREAM_OUT,
)
from fastrpc._core.framing.settings cimport FIRST_OWN_NUMBER
from fastrpc._core.loop.loop_state cimport LoopState
from fastrpc._core.payload.metadata cimport decode_metadata, encode_metadata
from fastrpc._core.streams.stream_channel cimport MOST_AT_ONCE

from fastrpc._core.payload.metadata import Metadata
from fastrpc.errors import (
    DeadlineExceededError,
    DecodeError,
    EncodeError,
    FastRPCError,
    StreamEndedError,
    UnavailableError,
)

REOPEN_HINT = "open it again"
DEADLINE_HINT = "give it more time with timeout=, in with_options() or @method"
IDLE_HINT = "raise Timeouts.stream_idle, or have the server send a message now and then"


cdef class StreamCall(PendingCall):
    """A call that streams, as interceptors see it, and each attempt of it."""

    def __dealloc__(self):
        if self.is_counted:
            self.count_unread()

    # An attempt

    cdef int start(self, CalledStream stream) except -1:
        """Send the attempt; from here on it tells the stream what comes.

        Raises:
            TypeError: the arguments do not fit the method.
            EncodeError: they cannot travel.
        """
        cdef uint64_t now = now_ns()
        cdef bytes payload = <bytes>self.route.marshal.encode_call(self.args, self.kwargs, &self.names)
        self.options.apply_options(self, self.route, now)
        payload = self._packed(self.options.pack(self, payload, self.session.peer, self.session.is_ready))
        count_start(self, payload)
        self.stream_pointer = <PyObject*>stream
        stream.attach(self)
        try:
            self.session.now = now
            self.session.start(self, payload)
        except BaseException as error:
            self.detach()
            self.forget(error.status if isinstance(error, FastRPCError) else CANCELLED)
            raise
        return 0

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

    cdef int detach(self) noexcept:
        self.stream_pointer = NULL
        return 0

    cdef bint choose(self) except -1:
        """The server showed a sign: return whether the stream takes this attempt, and gives all others up."""
        cdef CalledStream stream
        if self.is_chosen:
            return True
        if self.stream_pointer is NULL:
            return False
        stream = <CalledStream>self.stream_pointer
        if not stream.take_attempt(self):
            self.has_lost = True
            self.abandon(CANCEL_LOST_HEDGE, None)
            return False
        self.is_chosen = True
        return True

    cdef int message_came(self, Frame* frame, bytes payload, Py_ssize_t cost) except -1:
        cdef Py_ssize_t size = PyBytes_GET_SIZE(payload)
        self.route.counters.moved(size, 0)
        self.route.totals.received(size)
        if self.stream_pointer is NULL or not self.choose():
            return self.session.assembler.message_taken(self, cost)
        stream = <CalledStream>self.stream_pointer
        if not stream.has_sign:
            stream.show_sign()
        return stream.put(frame, payload, cost)

    cdef int head_came(self, bytes metadata) except -1:
        self.first_metadata = metadata
        if self.stream_pointer is not NULL and self.choose():
            stream = <CalledStream>self.stream_pointer
            stream.show_sign()
        return 0

    cdef int may_send(self) except -1:
        if self.stream_pointer is not NULL:
            (<CalledStream>self.stream_pointer).wake_sender()
        return 0

    cdef int settle(self) except -1:
        cdef CalledStream stream = None
        if self.stream_pointer is not NULL:
            # It may lose its last other reference on the way.
            stream = <CalledStream>self.stream_pointer
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
        return self.session.abandon(self, CANCEL_LOST_HEDGE if self.has_lost else reason)

    cdef int on_timer(self) except -1:
        """The deadline passed."""
        cdef bint handed
        if self.is_settled:
            return 0
        handed = self.session.was_written(self)
        self.session.abandon(self, CANCEL_DEADLINE)
        return self.failed(
            DeadlineExceededError(
                f"{self.route.method}: the stream from {self.session.endpoint} did not end within "
                f"{(self.deadline_ns - min(self.deadline_ns, self.began_ns or self.started_ns)) * 1e-9:.3g} s",
                processed="unknown" if handed else "no",
                hint=DEADLINE_HINT,
            )
        )

    # For interceptors

    def wrap_sent(self, function):
        """Have a function make something else of each message sent; the one given first is called first."""
        cdef CalledStream stream = self._wrapping(function)
        stream.sent_wraps = [*(stream.sent_wraps or ()), function]

    def wrap_received(self, function):
        """Have a function make something else of each message received; the one given first is called last."""
        cdef CalledStream stream = self._wrapping(function)
        stream.received_wraps = [*(stream.received_wraps or ()), function]

    def _wrapping(self, function):
        if not callable(function):
            raise TypeError(f"{function!r} is no function that takes a message and returns one")
        if self.stream_pointer is NULL or (<CalledStream>self.stream_pointer).is_open:
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

    def _attempt_on(self, ClientSession session not None, int number):
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
        attempt.sent_metadata = self.sent_metadata if self._metadata is None else encode_metadata(self._metadata)
        return attempt

    def _begin(self, CalledStream stream not None, sign=None, pick=None):
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
        return self.is_settled

    @property
    def arguments(self):
        """The arguments as they were given, without the stream."""
        return (*self.args, *self.kwargs.values()) if self.kwargs else self.args

    @property
    def endpoint(self):
        """Where it went last, or None."""
        return None if self.session is None else self.session.endpoint

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
        return asyncio.sleep(seconds)

    @property
    def _needs_ready(self):
        """Whether it waits for the peer's settings, as a call does."""
        metadata = self.sent_metadata or self.options.sent_metadata
        if self._metadata is not None:
            metadata = encode_metadata(self._metadata)
        return (
            self.options.compressor is not None
            or self.route.marshal.codec_id >= FIRST_OWN_NUMBER
            or over_floor(metadata)
        )


cdef class CalledStream(StreamChannel):
    """The messages of a call of ours."""

    def __init__(
        self, ViewOptions options not None, hash_key, Route route not None, tuple args not None, dict kwargs not None
    ):
        cdef StreamCall call = StreamCall.__new__(StreamCall)
        call.route = route
        call.options = options
        call.hash_key = hash_key
        call.args = args
        call.kwargs = kwargs
        call.is_local = True
        call.stream_pointer = <PyObject*>self
        self.origin = self.call = call
        self.takes_stream = route.takes_stream
        self.gives_stream = route.gives_stream

    def __del__(self):
        # Let go of by the program: nobody reads it any more.
        self.origin.detach()
        if self.call is not self.origin:
            (<StreamCall>self.call).abandon(CANCEL_USER, None)
            (<StreamCall>self.call).detach()

    # Its attempts

    cdef int attach(self, StreamCall attempt) noexcept:
        """An attempt begins; a stream that sends belongs to its only one from the start."""
        self.loop_state = attempt.session.loop_state
        self.is_open = True
        if not self.is_chosen:
            self.call = attempt
            if self.takes_stream:
                self.is_chosen = attempt.is_chosen = True
        return 0

    cdef bint take_attempt(self, StreamCall attempt) except -1:
        if self.is_chosen:
            return False
        self.is_chosen = True
        self.call = attempt
        if attempt.sign is not None and not attempt.sign.done():
            attempt.sign.set_result(None)
        return True

    cdef int show_sign(self) except -1:
        self.has_sign = True
        self.on_sign()
        return 0

    cdef int attempt_over(self, StreamCall attempt) except -1:
        """An attempt ended, well or not."""
        cdef object error = attempt.failure
        attempt.detach()
        if not attempt.is_chosen:
            if attempt.sign is not None:
                if error is None:
                    attempt.is_chosen = self.take_attempt(attempt)
                elif not attempt.sign.done():
                    attempt.sign.set_result(None)
                if error is not None or not attempt.is_chosen:
                    return 0
            elif error is not None and self.tries_again(error):
                return 0
            else:
                self.is_chosen = attempt.is_chosen = True
                self.call = attempt
        self.finish(error)
        return 0

    cdef int fail(self, object error, int reason) except -1:
        """End the stream from this side: the server is told, and everybody who waits gets the error."""
        (<StreamCall>self.call).abandon(reason, error)
        self.finish(error)
        return 0

    # What whoever runs it does

    def on_sign(self):
        """The server showed a sign: a message or the initial metadata."""
        raise NotImplementedError

    def tries_again(self, error):
        """Return whether another attempt follows the first one, which failed."""
        raise NotImplementedError

    def finish(self, error):
        """End the stream: its last attempt is over, or none could be made."""
        raise NotImplementedError

    def _end(self, error):
        """Let messages that are there be taken, then raise the error; None is a clean end."""
        self._end_sending(error)
        self.end_input(error)

    def _end_sending(self, error):
        """Tell senders that nothing can be sent any more."""
        if error is None:
            error = StreamEndedError(f"{self.origin.route.method}: the server ended the stream")
        self.end_output(error)

    def _drop(self, error):
        """End the stream at once: messages that are there are dropped, everybody who waits gets the error."""
        if self.call is not self.origin:
            (<StreamCall>self.call).abandon(CANCEL_USER, None)
        self.close(error)

    def _set_loop(self, LoopState state not None, double idle_seconds):
        """Belong to a loop; a wait for a message may take so many seconds, 0: any."""
        self.loop_state = state
        self.idle_ns = <uint64_t>(idle_seconds * 1e9)

    @property
    def _attempt(self):
        """The attempt it takes messages of, or took last; None before there is one."""
        return None if self.call is self.origin else self.call

    @property
    def _window_bytes(self):
        """The bytes that the server may send before messages are taken; 0 before there is an attempt."""
        return self.call.window.size

    @property
    def _first_metadata(self):
        """The initial metadata, or None as long as neither HEAD nor a message came."""
        cdef StreamCall call = <StreamCall>self.call
        if call.first_metadata is not None:
            return Metadata(decode_metadata(call.first_metadata))
        return Metadata() if self.has_sign else None

    # Receiving and sending

    def __anext__(self):
        if self.is_open and self.gives_stream:
            return self.next_message()
        return self._next_slowly()

    def receive(self):
        """Return the next message; of a method that streams its input only, the one answer."""
        if self.is_open and self.gives_stream:
            return StreamChannel.receive(self)
        return self._receive_slowly()

    def receive_many(self, limit=MOST_AT_ONCE):
        """Return the messages that are there, at least one and at most `limit`."""
        if self.is_open and self.gives_stream:
            return StreamChannel.receive_many(self, limit)
        return self._receive_many_slowly(limit)

    def _message(self):
        return StreamChannel.receive(self)

    def _messages(self, limit):
        return StreamChannel.receive_many(self, limit)

    async def _next_slowly(self):
        raise NotImplementedError

    async def _receive_slowly(self):
        raise NotImplementedError

    async def _receive_many_slowly(self, limit):
        raise NotImplementedError

    cdef object decode(self, bytes payload, int codec, int compressor):
        cdef StreamCall call = <StreamCall>self.call
        if codec != call.route.marshal.codec_id:
            raise DecodeError(
                f"{call.route.method} sent a message in codec {call.numbers.codec_label(codec)}, asked was codec "
                f"{call.route.marshal.coders.codec!r}"
            )
        return call.route.marshal.decode_result(payload)

    cdef int on_unreadable(self, object error) except -1:
        mark_own(error)
        return self.fail(error, CANCEL_DECODE if isinstance(error, DecodeError) else CANCEL_USER)

    cdef object unpacking(self, bytes payload, int compressor):
        cdef StreamCall call = <StreamCall>self.call
        call.answer_compressor = <uint8_t>compressor
        return self.unpack_message(call, payload, call.message_limit)

    def unpack_message(self, StreamCall call, bytes payload, most):
        """Return a generator that decompresses a message in short steps."""
        raise NotImplementedError

    cdef int taken(self, Py_ssize_t cost) except -1:
        cdef StreamCall call = <StreamCall>self.call
        return call.session.assembler.message_taken(call, cost)

    cdef int reader_waits(self) except -1:
        cdef StreamCall call = <StreamCall>self.call
        return 0 if call.session is None or call.session.is_closed else call.session.assembler.reader_waits(call)

    cdef int emit(self, bytes payload) except -1:
        cdef StreamCall call = <StreamCall>self.call
        cdef uint8_t number = 0
        if call.compressor and PyBytes_GET_SIZE(payload) > call.options.shared.compress_above:
            payload = self._compressed(payload, &number)
        call.session.sender.send_message(call, payload, call.codec, number)
        call.route.counters.moved(0, PyBytes_GET_SIZE(payload))
        call.route.totals.sent(PyBytes_GET_SIZE(payload))
        return 0

    cdef bytes _compressed(self, bytes payload, uint8_t* number):
        """Compress a message where it pays; `number` is set to what the server calls the compressor."""
        cdef StreamCall call = <StreamCall>self.call
        cdef bytes smaller
        compressor = call.options.compressor
        try:
            smaller = call.session.peer.compressed(compressor, compressor.wire_id, payload, number)
        except Exception as error:  # An installed compressor may raise anything.
            raise EncodeError(
                f"a message to {call.route.method} cannot be compressed by {compressor.name}: {error!r}"
            ) from error
        return payload if smaller is None else smaller

    cdef bint output_is_full(self) noexcept:
        return (<StreamCall>self.call).session.output_is_full()

    cdef int await_output(self) except -1:
        return (<StreamCall>self.call).session.await_output(self.call)

    cdef int on_idle(self) except -1:
        error = DeadlineExceededError(
            f"{self.origin.route.method}: no message within {self.idle_ns * 1e-9:.3g} s (Timeouts.stream_idle)",
            hint=IDLE_HINT,
        )
        mark_own(error)
        return self.fail(error, CANCEL_DEADLINE)

    cdef int send_out(self, object message) except -1:
        """Encode a message and send it."""
        if self.output_ended:
            raise self._end_of_output()
        if self.sent_wraps is not None:
            message = self._wrapped(message)
        try:
            return self.send_payload(<bytes>self.call.route.marshal.encode_message(message))
        except FastRPCError as error:
            mark_own(error)
            raise

    def _wrapped(self, message):
        try:
            return self.wrapped_for_sending(message)
        except Exception as error:
            self.fail(error, CANCEL_USER)
            raise

    def _check_sends(self):
        if not self.takes_stream:
            raise RuntimeError(f"{self.origin.route.method} takes no stream: nothing can be sent to it")
        if self.is_fed:
            raise RuntimeError(f"{self.origin.route.method}: what is sent comes from the iterable that it was given")

    async def send(self, message, /):
        """Send a message, as soon as the server's window has room for it."""
        if not self.is_open:
            await self.begin()
        self._check_sends()
        while not self.output_ended and self.is_full():
            await self.wait_room()
        self.send_out(message)

    async def end(self):
        """Say that nothing more will be sent; the server may go on answering."""
        if not self.is_open:
            await self.begin()
        self._check_sends()
        self._send_end()

    def _send_end(self):
        cdef StreamCall call = <StreamCall>self.call
        if not self.output_ended:
            self.end_output(None)
            call.session.sender.send_end(call)

    async def _feed(self, messages):
        """Send every message of an iterable, then the end; an exception in it ends the stream and is its error."""
        try:
            if hasattr(messages, "__aiter__"):
                async for message in messages:
                    while not self.output_ended and self.is_full():
                        await self.wait_room()
                    if self.output_ended:
                        break
                    self.send_out(message)
            else:
                for message in messages:
                    while not self.output_ended and self.is_full():
                        await self.wait_room()
                    if self.output_ended:
                        break
                    self.send_out(message)
            self._send_end()
        except BaseException as error:
            if not self.output_ended:
                self.fail(error, CANCEL_USER)
            if not isinstance(error, Exception):
                raise
        finally:
            if hasattr(messages, "aclose"):
                await messages.aclose()
            elif hasattr(messages, "close"):
                messages.close()

    async def begin(self):
        """Start the call, if it did not begin yet."""
        raise NotImplementedError
