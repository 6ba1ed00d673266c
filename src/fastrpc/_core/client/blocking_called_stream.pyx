"""The compiled part of `SyncStream`: a client's stream for threads that block. It starts no loop and no thread.

The thread that reads the connection puts messages into the channel; the thread that receives takes them out. Both hold
the session's guard meanwhile; messages are decoded without it. Only a thread that uses the stream ends it: the reading
thread records the end of the attempt and wakes the receiving thread, which continues
(`client/blocking/stream.py`).

If the messages to send are an iterable, the receiving thread sends them, whenever there is room and no message to
receive.
"""

import asyncio
import logging
from collections.abc import Generator

from libc.stdint cimport uint8_t

from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport Call, twin_of, unmistakable
from fastrpc._core.calls.calling_part cimport CallingPart
from fastrpc._core.client.blocking_call cimport BlockingCall, new_stream_call
from fastrpc._core.client.blocking_session cimport BlockingSession
from fastrpc._core.client.blocking_wait cimport new_wait
from fastrpc._core.client.call_errors cimport check_message, idle_error, mark_own
from fastrpc._core.client.client_call cimport ClientCall
from fastrpc._core.client.client_stream cimport are_there, gather
from fastrpc._core.streams.stream_channel cimport MOST_AT_ONCE, NOT_YET, Message
from fastrpc._core.wire.frame cimport CANCEL_DEADLINE, CANCEL_DECODE, CANCEL_USER

from fastrpc._core.client.called_stream import FEED_FAILED
from fastrpc.errors import DecodeError, FastRPCError, StreamEndedError
from fastrpc.tracebacks import shortened

logger = logging.getLogger("fastrpc.client")

cdef str SECOND_RECEIVER = "a stream has one receiver at a time, and another thread waits for its next message"
cdef str SECOND_SENDER = "a stream has one sender at a time, and another thread sends"

# Stands for "no message was received", as None is a message.
cdef object NOTHING = object()


cdef class BlockingCalledStream(ClientStream):
    """The messages of a call of a `SyncClient`."""

    cdef ClientCall new_origin(self):
        return new_stream_call(self)

    def __del__(self):
        cdef BlockingCall attempt
        if self.origin is None:
            return
        # The program dropped the stream, so nothing reads it any more.
        self.origin.streaming.detach(self.origin)
        if self.call is not self.origin:
            attempt = <BlockingCall>self.call
            attempt.streaming.detach(attempt)
            if not attempt.is_settled:
                attempt.shared_session.let_go(attempt)
            attempt.end_pick(asyncio.CancelledError())

    # Attempts of the stream. The caller holds the session's guard.

    cdef int attach(self, ClientCall attempt) except -1:
        self.attempt_ended = False
        self.call = attempt
        return 0

    cdef int withdraw(self, Call before) except -1:
        self.call = before
        # A new attempt begins only after the last one has ended.
        self.attempt_ended = before is not self.origin
        return 0

    cdef int show_sign(self) except -1:
        self.has_sign = True
        return self.wake_receiver()

    cdef int attempt_over(self, ClientCall attempt) except -1:
        self.attempt_ended = True
        self.wake_receiver()
        return self.wake_sender()

    cdef int fail_with(self, object error, int reason) except -1:
        self.fail(error)
        return 0

    cdef bint awaits_message(self) noexcept:
        return self._reader_wait is not None and self.waiting == 0

    cdef int wake_receiver(self) except -1:
        return 0 if self._reader_wait is None else self._reader_wait.came()

    cdef int wake_sender(self) except -1:
        return 0 if self._sender_wait is None else self._sender_wait.came()

    @property
    def _is_waited_for(self):
        """Whether a thread waits for a message, or for room to send."""
        return self._reader_wait is not None or self._sender_wait is not None

    # Done by its runner

    def begin(self):
        """Start the call, unless it has begun."""
        raise NotImplementedError

    def settle_attempt(self):
        """Start another attempt after an ended one, or end the stream."""
        raise NotImplementedError

    def _set_idle(self, double seconds):
        """Limit each wait to this number of seconds; 0 means no limit."""
        self.idle_ns = <uint64_t>(seconds * 1e9)
        if self.takes_stream and not self.is_fed and not self.gives_stream:
            # Another thread may wait for the answer: its time begins after the last message is sent.
            self._counting_ns = NOT_YET

    def _set_source(self, messages):
        """Set an iterable whose messages the receiving thread sends; messages of a list or tuple share a write."""
        self._source = iter(messages)
        self._is_there = are_there(messages)

    def _drop_source(self):
        """Stop sending the iterator's messages. A generator is closed, another iterator is left alone."""
        if self._is_receiving:
            # The receiving thread may be running the iterator, so it drops it.
            return
        source, self._source = self._source, None
        self._gathered = None
        if self.is_open and isinstance(source, Generator):
            try:
                source.close()
            except Exception as error:
                logger.error(FEED_FAILED, self.origin.route.method, exc_info=error)

    def _cancel_attempt(self, error):
        """Cancel the attempt in progress, and notify the server."""
        cdef BlockingCall call = <BlockingCall>self.call
        if call is not self.origin and not self.attempt_ended:
            reason = CANCEL_DECODE if isinstance(error, DecodeError) else CANCEL_USER
            call.shared_session.end_stream(call, reason, error)

    def _drop(self, error):
        """Drop the received messages, and end all waits with the error."""
        cdef BlockingSession session
        cdef BlockingCall call = <BlockingCall>self.call
        if call is self.origin:
            self.close(error)
            return
        session = call.shared_session
        session.enter_use()
        try:
            self.close(error)
        finally:
            session.leave_use()

    # Receiving

    def __iter__(self):
        return self

    def __next__(self):
        cdef object message = NOTHING
        if self.gives_stream:
            if self.waiting:
                message = self._take()
            if message is not NOTHING:
                return message
        try:
            return self.receive()
        except StreamEndedError:
            if self.input_error is not None:
                raise
        raise StopIteration

    def receive(self):
        """Return the next message; for a method that streams its input only, return its answer."""
        cdef object message
        if not self.gives_stream:
            return self._receive_answer()
        while True:
            if not self.waiting:
                self._await_messages()
            message = self._take()
            if message is not NOTHING:
                return message

    def receive_many(self, limit=MOST_AT_ONCE):
        """Return the messages that have arrived, at least one and at most `limit`."""
        cdef list messages = []
        if not isinstance(limit, int) or limit < 1:
            raise ValueError(f"limit is {limit!r}, it must be a whole number from 1")
        if not self.gives_stream:
            return [self._receive_answer()]
        while not messages:
            if not self.waiting:
                self._await_messages()
            while self.waiting and len(messages) < limit:
                try:
                    message = self._take()
                except Exception:
                    # The next call raises the error.
                    if not messages:
                        raise
                    break
                if message is NOTHING:
                    break
                messages.append(message)
        return messages

    def _receive_answer(self):
        """Return the answer of a method that streams its input only; `client/blocking/stream.py` implements this."""
        raise NotImplementedError

    def _await_messages(self):
        """Wait until a message arrives, and send messages meanwhile; raise the error after the last message."""
        if self._is_receiving:
            raise RuntimeError(SECOND_RECEIVER)
        if not self.is_open:
            self.begin()
        self._is_receiving = True
        try:
            while not self.waiting:
                if self.input_ended:
                    raise self.end_of_input(StreamEndedError)
                if self.attempt_ended:
                    self.settle_attempt()
                elif self._source is not None and not self.is_full():
                    self._feed()
                else:
                    self._wait_for(True, self._source is not None)
        finally:
            self._is_receiving = False
            if self.output_ended and self._source is not None:
                self._drop_source()

    def _await_sign(self):
        """Wait for the server's first sign of this attempt, or for its end; send messages meanwhile."""
        if self._is_receiving:
            raise RuntimeError(SECOND_RECEIVER)
        self._is_receiving = True
        try:
            self._await_sign_of_attempt()
        finally:
            self._is_receiving = False

    def _await_sign_of_attempt(self):
        """Wait as `_await_sign` does, in a thread that is already receiving."""
        while not self.has_sign and not self.attempt_ended and not self.input_ended:
            if self._source is not None and not self.is_full():
                self._feed()
            else:
                self._wait_for(True, self._source is not None)

    cdef object _take(self):
        """Take the oldest message out of the channel, return its credit, and return it decoded; NOTHING without one."""
        cdef Message message
        cdef bytes payload
        cdef BlockingSession session = (<BlockingCall>self.call).shared_session
        session.enter_use()
        try:
            if self.waiting == 0:
                return NOTHING
            payload = self._pop(&message)
            self.taken(message.cost)
        finally:
            session.leave_use()
        return self._decoded(payload, message.codec, message.compressor)

    cdef object _decoded(self, bytes payload, int codec, int compressor):
        """Decode a message; an unreadable one ends the stream."""
        try:
            value = self.decode(payload, codec, compressor)
            if self.received_wraps is not None:
                for wrap in reversed(self.received_wraps):
                    value = wrap(value)
        except BaseException as error:
            failure = unmistakable(error, self.call)
            mark_own(failure)
            kept = twin_of(failure)
            self.fail(kept)
            self._drop(kept)
            raise failure
        return value

    def fail(self, error):
        """End the stream from this side and notify the server; received messages are returned before the error."""
        raise NotImplementedError

    cdef object decode(self, bytes payload, int codec, int compressor):
        cdef BlockingCall call = <BlockingCall>self.call
        if compressor:
            call.answer_compressor = <uint8_t>compressor
            payload = call.decompressed(payload)
        return ClientStream.decode(self, payload, codec, 0)

    # Waiting

    cdef int _wait_for(self, bint message, bint room) except -1:
        """Wait until a message, HEAD or the end arrives, until there is room to send, or for both."""
        cdef BlockingSession session = (<BlockingCall>self.call).shared_session
        # The deadline of the call, or `Timeouts.stream_idle` from now on.
        cdef uint64_t due_ns = min(self.call.deadline_ns, now_ns() + self.idle_ns) if self.idle_ns else self.call.deadline_ns
        cdef Wait wait = new_wait(1, due_ns)
        cdef bint waits = False, had_sign = self.has_sign
        session.reentry.check()
        session.enter_use()
        try:
            if message:
                waits = not self.waiting and not self.input_ended and had_sign == self.has_sign
            else:
                waits = not self.output_ended
            waits = waits and not self.attempt_ended and (not room or self.is_full())
            if waits and message:
                self._reader_wait = wait
                (<CallingPart>session.engine.calling).reader_waits(self.call)
            if waits and room:
                self._sender_wait = wait
                if self.call.unsent is not None:
                    self.call.waits_to_send = True
                else:
                    session.events.room_waits.append(wait)
        finally:
            if waits:
                session.stream.leave()
            else:
                session.leave_use()
        if not waits:
            return 0
        try:
            if not session.wait(wait):
                self._overdue(due_ns, not message)
        finally:
            if message:
                self._reader_wait = None
            if room:
                self._sender_wait = None
        return 0

    cdef int _overdue(self, uint64_t due_ns, bint sends) except -1:
        """Handle a wait that ended without its event: it took too long, or the connection ended."""
        cdef BlockingCall call = <BlockingCall>self.call
        cdef BlockingSession session = call.shared_session
        if self.attempt_ended or self.is_closed:
            return 0
        if due_ns == call.deadline_ns:
            error = call.overdue(session.engine, (<CallingPart>session.engine.calling).was_written(call))
        elif not sends and now_ns() < self._counting_ns + self.idle_ns:
            # Another thread has sent something meanwhile, or is still sending.
            return 0
        else:
            error = idle_error(call.route.method, self.idle_ns, sends)
        return session.end_stream(call, CANCEL_DEADLINE, error)

    # Sending

    def send(self, message, /):
        """Send a message, as soon as the server's window has room for it."""
        _begin_sending(self)
        try:
            self._await_room()
            self._encode_and_send(message)
        finally:
            self.is_sending = False

    def send_many(self, messages, /):
        """Send messages. Messages that exist already share writes. Waits for room as `send` does."""
        self._check_iterable(messages)
        _begin_sending(self)
        try:
            if are_there(messages):
                self._send_gathering(messages)
            else:
                # The next message may depend on the answer to this one.
                for message in messages:
                    self._await_room()
                    self._encode_and_send(message)
        finally:
            self.is_sending = False

    cdef int _send_gathering(self, object messages) except -1:
        """Send messages that exist already, as many in one write as fit; stop at a message that cannot be encoded."""
        cdef Gathered gathered
        cdef bint is_last = not len(messages)
        source = iter(messages)
        while not is_last:
            self._check_output()
            gathered = gather(self, source)
            while not gathered.is_sent():
                self._await_room()
                if not _hand_over(self, gathered):
                    self._check_output()
            if gathered.failure is not None:
                raise gathered.failure
            is_last = gathered.is_last
        return 0

    def end(self):
        """Announce that no more messages are sent. The server may continue to answer."""
        if not self.is_open:
            self.begin()
        self.check_sends()
        self._send_end()

    def _send_end(self):
        cdef BlockingCall call = <BlockingCall>self.call
        cdef BlockingSession session = call.shared_session
        if self.output_ended:
            return
        self.end_output(None)
        self._counting_ns = now_ns()
        session.enter_use()
        try:
            if not self.attempt_ended:
                (<CallingPart>session.engine.calling).send_end(call)
        finally:
            session.leave_use()

    cdef int _check_output(self) except -1:
        """Raise an error if nothing can be sent any more."""
        if self.attempt_ended and not self.output_ended:
            self._end_sending((<BlockingCall>self.call).failure)
        if self.output_ended:
            raise self._end_of_output()
        return 0

    cdef int _await_room(self) except -1:
        """Wait until the channel is not full."""
        self._check_output()
        while self.is_full():
            self._wait_for(False, True)
            self._check_output()
        return 0

    cdef int _encode_and_send(self, object message) except -1:
        """Encode a message and send it; raise the stream's error if the server has ended it."""
        if self.sent_wraps is not None:
            message = self.wrapped(message)
        try:
            if not _send_now(self, <bytes>self.call.route.marshal.encode_message(message)):
                self._check_output()
        except FastRPCError as error:
            mark_own(error)
            raise shortened(error)
        return 0

    cdef int _feed_gathered(self) except -1:
        """Send messages of a list or tuple while there is room, and the end after the last one."""
        cdef Gathered gathered = self._gathered
        if gathered is None:
            gathered = self._gathered = gather(self, self._source)
        if not gathered.is_sent():
            _hand_over(self, gathered)
        if gathered.is_sent():
            self._gathered = None
            if gathered.failure is not None:
                raise gathered.failure
            if gathered.is_last:
                self._source = None
                self._send_end()
        return 0

    cdef int _feed(self) except -1:
        """Send the next message of the iterable, or the end. An exception of the iterable ends the stream as its error."""
        cdef bint is_over = False
        try:
            if self._is_there:
                return 0 if self.attempt_ended else self._feed_gathered()
            try:
                message = next(self._source)
            except StopIteration:
                is_over = True
            if is_over:
                self._source = None
                self._send_end()
            elif not self.attempt_ended:
                self._encode_and_send(message)
        except BaseException as error:
            if not self.attempt_ended:
                self.fail(error)
            elif isinstance(error, Exception):
                # The end of the attempt counts.
                logger.error(FEED_FAILED, self.origin.route.method, exc_info=error)
            if not isinstance(error, Exception):
                raise
        return 0


cdef bint _send_now(BlockingCalledStream stream, bytes payload) except -1:
    """Pass a message to the connection; False: nothing can be sent any more."""
    cdef uint8_t number = 0
    if stream.is_worth_compressing(payload):
        payload = stream.compressed(payload, &number)
    check_message(<CallingPart>(<BlockingCall>stream.call).session.calling, stream.call, payload)
    return _hand_over(stream, None, payload, number)


cdef bint _hand_over(BlockingCalledStream stream, Gathered gathered, bytes payload=None, uint8_t number=0) except -1:
    """Pass a message, or the gathered messages that fit, to the connection, and read the input.

    False: nothing can be sent any more.
    """
    cdef BlockingSession session = (<BlockingCall>stream.call).shared_session
    session.enter_use()
    try:
        if stream.attempt_ended or stream.output_ended:
            return False
        session.engine.now = now_ns()
        try:
            if gathered is None:
                stream.hand_over(payload, number)
            else:
                gathered.hand_over(stream)
        finally:
            session.flush()
    finally:
        session.leave_use()
    return True


cdef int _begin_sending(BlockingCalledStream stream) except -1:
    """Start the call unless it has started; from now on this thread sends."""
    if not stream.is_open:
        stream.begin()
    stream.check_sends()
    if stream.is_sending:
        raise RuntimeError(SECOND_SENDER)
    stream.is_sending = True
    return 0
