"""The compiled part of `Stream`: a client's stream, for tasks.

Several attempts may be in progress together, when a fail mode hedges (`client/stream_runner.py`).
"""

import logging
from collections.abc import AsyncGenerator, Generator

from libc.stdint cimport uint64_t

from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport twin_of
from fastrpc._core.calls.calling_part cimport CallingPart
from fastrpc._core.client.awaited_call cimport AwaitedCall, new_stream_call
from fastrpc._core.client.call_errors cimport check_message, idle_error, mark_own
from fastrpc._core.client.client_call cimport ClientCall
from fastrpc._core.loop.loop_state cimport LoopState
from fastrpc._core.streams.stream_channel cimport MOST_AT_ONCE, NOT_YET, SECOND_SENDER, StreamChannel
from fastrpc._core.wire.frame cimport CANCEL_DEADLINE, CANCEL_DECODE, CANCEL_USER

from fastrpc.errors import DecodeError, FastRPCError
from fastrpc.tracebacks import shortened
from fastrpc.user_code import contained

logger = logging.getLogger("fastrpc.client")

THE_ITERABLE = "the iterable of the messages"
FEED_FAILED = "%s: the iterable of its messages failed after the end of the stream"


cdef class CalledStream(ClientStream):
    """The messages of a client's call, for tasks."""

    def __init__(self, options, hash_key, route, args, kwargs):
        ClientStream.__init__(self, options, hash_key, route, args, kwargs)
        self.attempts = set()

    cdef ClientCall new_origin(self):
        return new_stream_call(self)

    def __del__(self):
        cdef AwaitedCall attempt
        if self.origin is None:
            return
        # The program dropped the stream, so nothing reads it any more.
        self._drop_packing()
        self.origin.streaming.detach(self.origin)
        attempts = list(self.attempts)
        try:
            for attempt in attempts:
                attempt.abandon(CANCEL_USER, None)
        finally:
            # Each attempt has a borrowed pointer to this stream.
            for attempt in attempts:
                attempt.streaming.detach(attempt)

    # Its attempts

    cdef int attach(self, ClientCall attempt) except -1:
        self.attempts.add(attempt)
        self.loop_state = (<CallingPart>attempt.session.calling).loop_state
        self.is_open = True
        if not self.is_chosen:
            self.call = attempt
            if self.takes_stream:
                self.is_chosen = attempt.streaming.is_chosen = True
        return 0

    cdef int detach(self, ClientCall attempt) noexcept:
        self.attempts.discard(attempt)
        return 0

    cdef bint take_attempt(self, ClientCall attempt) except -1:
        if self.is_chosen:
            return False
        self.is_chosen = True
        self.call = attempt
        if attempt.streaming.sign is not None and not attempt.streaming.sign.done():
            attempt.streaming.sign.set_result(None)
        return True

    cdef int show_sign(self) except -1:
        self.has_sign = True
        self.on_sign()
        return 0

    cdef int attempt_over(self, ClientCall attempt) except -1:
        cdef object error = attempt.failure
        attempt.streaming.detach(attempt)
        if not attempt.streaming.is_chosen:
            if attempt.streaming.sign is not None:
                if error is None:
                    attempt.streaming.is_chosen = self.take_attempt(attempt)
                elif not attempt.streaming.sign.done():
                    attempt.streaming.sign.set_result(None)
                if error is not None or not attempt.streaming.is_chosen:
                    return 0
            elif error is not None and self.tries_again(error):
                return 0
            else:
                self.is_chosen = attempt.streaming.is_chosen = True
                self.call = attempt
        # The attempt keeps its own error, which is never raised.
        self.finish(twin_of(error))
        return 0

    cdef int fail_with(self, object error, int reason) except -1:
        (<AwaitedCall>self.call).abandon(reason, error)
        self.finish(error)
        return 0

    # Called by its runner

    def on_sign(self):
        """Note a sign of the server: a message or the initial metadata."""
        raise NotImplementedError

    def tries_again(self, error):
        """Return whether another attempt follows after the first one has failed."""
        raise NotImplementedError

    def finish(self, error):
        """End the stream: its last attempt has ended, or no attempt could be made."""
        raise NotImplementedError

    def drained(self):
        """Called after the last received message was taken, if `_tell_drained` has asked for it."""
        raise NotImplementedError

    def _drop(self, error):
        """End the stream now: drop the received messages, and end all waits with the error."""
        if self.call is not self.origin:
            (<AwaitedCall>self.call).abandon(CANCEL_USER, None)
        self.close(error)

    def _tell_drained(self):
        """Call `drained` when no message is left, which may be now."""
        self.tells_drained = True
        if self.waiting == 0:
            self.on_drained()

    def _drop_messages(self):
        """Drop the received messages, and let the stream continue."""
        self.drop_messages()
        if self.tells_drained:
            self.on_drained()

    def _set_loop(self, LoopState state not None, double idle_seconds):
        """Set the loop, and the most seconds of a wait for a message; 0: no limit."""
        self.loop_state = state
        self.idle_ns = <uint64_t>(idle_seconds * 1e9)
        if self.takes_stream and (self.is_fed or not self.gives_stream):
            # Until all is sent the server owes nothing: the stream waits for its iterable or for room, or no answer is
            # due.
            self._counting_ns = NOT_YET

    # Receiving

    def __anext__(self):
        if self.is_open and self.gives_stream:
            return self.next_message()
        return self._next_slowly()

    def receive(self):
        """Return the next message; for a method that streams its input only, return its answer."""
        if self.is_open and self.gives_stream:
            return StreamChannel.receive(self)
        return self._receive_slowly()

    def receive_many(self, limit=MOST_AT_ONCE):
        """Return the messages that have arrived, at least one and at most `limit`."""
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

    cdef int on_unreadable(self, object error) except -1:
        mark_own(error)
        return self.fail_with(error, CANCEL_DECODE if isinstance(error, DecodeError) else CANCEL_USER)

    cdef object unpacking(self, bytes payload, int compressor):
        cdef ClientCall call = <ClientCall>self.call
        call.answer_compressor = <uint8_t>compressor
        return self.unpack_message(call, payload, call.message_limit)

    def unpack_message(self, ClientCall call, bytes payload, most):
        """Return a generator that decompresses a message in short steps."""
        raise NotImplementedError

    cdef bint awaits_message(self) noexcept:
        return self._receiver is not None and self.waiting == 0

    cdef int reader_waits(self) except -1:
        cdef ClientCall call = <ClientCall>self.call
        return 0 if call.session is None else (<CallingPart>call.session.calling).reader_waits(call)

    # Sending

    cdef int emit(self, bytes payload) except -1:
        cdef ClientCall call = <ClientCall>self.call
        cdef uint8_t number = 0
        if self.is_worth_compressing(payload):
            if call.options.packs_later(payload, (<CallingPart>call.session.calling).peer, True):
                return self.pack(call.options.compressor, payload)
            payload = self.compressed(payload, &number)
        return self._emit_as(payload, number)

    cdef int _emit_as(self, bytes payload, uint8_t number) except -1:
        check_message(<CallingPart>(<ClientCall>self.call).session.calling, self.call, payload)
        return self.hand_over(payload, number)

    cdef object packing(self, object compressor, bytes payload):
        return self.pack_message(compressor, payload)

    def pack_message(self, compressor, bytes payload):
        """Begin the compression of a message in slices; `_packed` gets the result."""
        raise NotImplementedError

    cdef int emit_packed(self, bytes payload, bint is_smaller) except -1:
        cdef ClientCall call = <ClientCall>self.call
        cdef int number = 0
        compressor = call.options.compressor
        if call.is_settled or call.session.is_closed:
            return 0
        if is_smaller:
            number = (<CallingPart>call.session.calling).peer.compressor_number(compressor.wire_id, compressor.name)
        self._emit_as(payload, <uint8_t>max(0, number))
        if self.owes_end:
            self.owes_end = False
            (<CallingPart>call.session.calling).send_end(call)
        return 0

    cdef int on_unpackable(self, object error) except -1:
        if not isinstance(error, FastRPCError):
            error = self._unpackable(error)
        mark_own(error)
        return self.fail_with(error, CANCEL_USER)

    cdef int await_turn(self) except -1:
        cdef ClientCall call = <ClientCall>self.call
        return (<CallingPart>call.session.calling).await_turn(call)

    cdef int on_idle(self) except -1:
        cdef uint64_t since = self.receiving_since()
        cdef bint sends = self._sending_ns and (since == 0 or self._sending_ns < since)
        error = idle_error(self.origin.route.method, self.idle_ns, sends)
        mark_own(error)
        return self.fail_with(error, CANCEL_DEADLINE)

    cdef int on_drained(self) except -1:
        self.tells_drained = False
        self.drained()
        return 0

    cdef int send_out(self, object message) except -1:
        """Encode a message and send it."""
        if self.output_ended:
            raise self._end_of_output()
        if self.sent_wraps is not None:
            message = self.wrapped(message)
        try:
            return self.send_payload(<bytes>self.call.route.marshal.encode_message(message))
        except FastRPCError as error:
            mark_own(error)
            raise shortened(error)

    async def send(self, message, /):
        """Send a message, as soon as the server's window has room for it."""
        if not self.is_open:
            await self.begin()
        self.check_sends()
        if not self.output_ended and self.is_full():
            await self._wait_turn()
        self.send_out(message)

    async def send_many(self, messages, /):
        """Send messages. Messages that exist already share writes. Waits for room as `send` does."""
        self._check_iterable(messages)
        if not self.is_open:
            await self.begin()
        self.check_sends()
        for message in messages:
            if not self.output_ended and self.is_full():
                await self._wait_turn()
            self.send_out(message)

    async def _wait_turn(self):
        """Wait for room; meanwhile no other task may send."""
        if self.is_sending:
            raise RuntimeError(SECOND_SENDER)
        self.is_sending = True
        try:
            while not self.output_ended and self.is_full():
                await self.wait_room()
        finally:
            self.is_sending = False

    async def end(self):
        """Announce that no more messages are sent. The server may continue to answer."""
        if not self.is_open:
            await self.begin()
        self.check_sends()
        self.send_end()

    cdef int send_end(self) except -1:
        cdef ClientCall call = <ClientCall>self.call
        if not self.output_ended:
            self.end_output(None)
            self._counting_ns = now_ns()
            if self._packing is not None:
                self.owes_end = True
            else:
                (<CallingPart>call.session.calling).send_end(call)
        return 0

    async def begin(self):
        """Start the call, unless it has begun."""
        raise NotImplementedError


# An iterable of messages. The task that sends it holds the call of the stream, but no reference to the stream.


async def feed(AwaitedCall call not None, messages):
    """Send every message of an iterable, then the end; an exception of the iterable ends the stream and is its error.

    A generator is closed at the end; any other iterable is left to the program.
    """
    iterator = None
    try:
        with contained(THE_ITERABLE):
            if hasattr(messages, "__aiter__"):
                iterator = aiter(messages)
                async for message in iterator:
                    while (room := offer(call, message)) is not None:
                        await room
                    if call.streaming.has_enough:
                        break
            else:
                iterator = iter(messages)
                for message in iterator:
                    while (room := offer(call, message)) is not None:
                        await room
                    if call.streaming.has_enough:
                        break
        feed_ended(call, None)
    except BaseException as error:
        feed_ended(call, error)
        if not isinstance(error, Exception):
            raise
    finally:
        await close_fed(call, iterator)


cdef CalledStream stream_of(AwaitedCall call):
    return None if call.streaming.stream is NULL else <CalledStream>call.streaming.stream


cdef object offer(AwaitedCall call, object message):
    """Send a message and return None; without room return an awaitable for it. Messages after the end are dropped."""
    cdef CalledStream stream = stream_of(call)
    if stream is not None and not stream.output_ended:
        if stream.is_full():
            return stream.wait_room()
        stream.send_out(message)
        return None
    call.streaming.has_enough = True
    return None


cdef int feed_ended(AwaitedCall call, object error) except -1:
    cdef CalledStream stream = stream_of(call)
    if stream is None or stream.output_ended:
        if isinstance(error, Exception):
            logger.error(FEED_FAILED, call.route.method, exc_info=error)
        return 0
    return stream.send_end() if error is None else stream.fail_with(error, CANCEL_USER)


async def close_fed(AwaitedCall call, iterator):
    try:
        with contained(THE_ITERABLE):
            if isinstance(iterator, AsyncGenerator):
                await iterator.aclose()
            elif isinstance(iterator, Generator):
                iterator.close()
    except Exception as error:
        logger.error(FEED_FAILED, call.route.method, exc_info=error)
