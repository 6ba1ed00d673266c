"""Streams of a `SyncClient`: a call whose messages go one way or both, without a loop and without a thread of its own.

::

    client.stream(Feed.follow) ──► BlockingCalledStream ──► BlockingStreamCall: an attempt on a BlockingSession
                                        ▲                        │
              receive, for      ◄───────┴── messages, HEAD, the end

Who reads the connection puts messages into the channel, under the guard of the session; who receives takes them out,
under the guard too, and decodes them without it. Nothing ends a stream but a thread that uses it: the one that reads
notes that the attempt ended, and wakes the one that receives, which goes on from there (`client/blocking/stream.py`).

An iterable of messages is sent by the thread that receives, whenever there is room and no message waits for it.
"""

import asyncio
import logging
from collections.abc import Generator

from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint64_t

from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calling.blocking_session cimport BlockingSession
from fastrpc._core.calling.blocking_wait cimport Wait, new_wait
from fastrpc._core.calling.called_stream cimport idle_error
from fastrpc._core.calling.caller_view cimport ViewOptions
from fastrpc._core.calling.pending_call cimport check_message, mark_own
from fastrpc._core.calls.call cimport Route, twin_of, unmistakable
from fastrpc._core.framing.frame cimport CANCEL_DEADLINE, CANCEL_DECODE, CANCEL_USER
from fastrpc._core.payload.metadata cimport decode_metadata
from fastrpc._core.streams.stream_channel cimport MOST_AT_ONCE, Message

from fastrpc._core.calling.stream_call import DEADLINE_HINT, FEED_FAILED
from fastrpc._core.payload.metadata import Metadata
from fastrpc.errors import DeadlineExceededError, DecodeError, EncodeError, FastRPCError, StreamEndedError

logger = logging.getLogger("fastrpc.client")

cdef str SECOND_RECEIVER = "a stream has one receiver at a time, and another thread waits for its next message"
cdef str SECOND_SENDER = "a stream has one sender at a time, and another thread sends"

# What stands for "no message is there": None is one.
cdef object NOTHING = object()


cdef class BlockingCalledStream(BlockingChannel):
    """The messages of a call of a `SyncClient`."""

    def __init__(
        self, ViewOptions options not None, hash_key, Route route not None, tuple args not None, dict kwargs not None
    ):
        cdef BlockingStreamCall call = BlockingStreamCall.__new__(BlockingStreamCall)
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
        cdef BlockingStreamCall attempt
        if self.origin is None:
            return
        # Let go of by the program: nobody reads it any more.
        self.origin.stream_pointer = NULL
        if self.call is not self.origin:
            attempt = <BlockingStreamCall>self.call
            attempt.stream_pointer = NULL
            if not attempt.is_settled:
                attempt.session.let_go(attempt)
            attempt.end_pick(asyncio.CancelledError())

    # What whoever runs it does

    def begin(self):
        """Start the call, if it did not begin yet."""
        raise NotImplementedError

    def settle_attempt(self):
        """The attempt ended: make another one, or end the stream."""
        raise NotImplementedError

    def _set_idle(self, double seconds):
        """Let one wait take so many seconds, 0: any."""
        self.idle_ns = <uint64_t>(seconds * 1e9)

    def _set_source(self, source):
        """Have an iterator whose messages are sent by whoever receives."""
        self._source = source

    def _drop_source(self):
        """Send no more of the iterator. A generator of which messages were taken is closed, what else there is left."""
        if self._is_receiving:
            # It may be running: whoever receives drops it.
            return
        source, self._source = self._source, None
        if self.is_open and isinstance(source, Generator):
            try:
                source.close()
            except Exception as error:
                logger.error(FEED_FAILED, self.origin.route.method, exc_info=error)

    def _kept(self, error):
        """Return an error like this one: a stream keeps none that is raised, which would hold the stream."""
        return twin_of(error)

    def _again(self, error):
        """Return an error like the one that is kept, to be raised."""
        self.fresh_error = None
        return twin_of(error).with_traceback(None)

    def _end(self, error):
        """Let messages that are there be taken, then raise the error; None is a clean end."""
        self._end_sending(error)
        self.end_input(error)

    def _end_sending(self, error):
        """Tell senders that nothing can be sent any more."""
        if error is None:
            error = StreamEndedError(f"{self.origin.route.method}: the server ended the stream")
        self.end_output(error)

    def _cancel_attempt(self, error):
        """End the attempt that is under way; the server is told."""
        cdef BlockingStreamCall call = <BlockingStreamCall>self.call
        if call is not self.origin and not self.attempt_ended:
            call.session.end_stream(call, CANCEL_DECODE if isinstance(error, DecodeError) else CANCEL_USER, error)

    def _drop(self, error):
        """Drop the messages that are there; everybody who waits gets the error."""
        cdef BlockingStreamCall call = <BlockingStreamCall>self.call
        if call is self.origin:
            self.close(error)
            return
        call.session.enter_use()
        try:
            self.close(error)
        finally:
            call.session.leave_use()

    @property
    def _attempt(self):
        """The attempt it takes messages of, or took last; None before there is one."""
        return None if self.call is self.origin else self.call

    @property
    def _first_metadata(self):
        """The initial metadata, or None as long as neither HEAD nor a message came."""
        cdef BlockingStreamCall call = <BlockingStreamCall>self.call
        if call.first_metadata is not None:
            return Metadata(decode_metadata(call.first_metadata))
        return Metadata() if self.has_sign else None

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
        """Return the next message; of a method that streams its input only, the one answer."""
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
        """Return the messages that are there, at least one and at most `limit`."""
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
                    # It is raised next time.
                    if not messages:
                        raise
                    break
                if message is NOTHING:
                    break
                messages.append(message)
        return messages

    def _receive_answer(self):
        """Return the one answer of a method that only takes a stream; `client/blocking/stream.py` does."""
        raise NotImplementedError

    def _await_messages(self):
        """Return once a message is there; raise what lies behind the last one. Messages of ours are sent meanwhile."""
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
                    self._await_change(self._source is not None)
        finally:
            self._is_receiving = False
            if self.output_ended and self._source is not None:
                self._drop_source()

    def _await_sign(self):
        """Return once the server showed a sign of this attempt, or it ended. Messages of ours are sent meanwhile."""
        if self._is_receiving:
            raise RuntimeError(SECOND_RECEIVER)
        self._is_receiving = True
        try:
            self._await_sign_of_attempt()
        finally:
            self._is_receiving = False

    def _await_sign_of_attempt(self):
        """As `_await_sign`, for whoever receives already."""
        while not self.has_sign and not self.attempt_ended and not self.input_ended:
            if self._source is not None and not self.is_full():
                self._feed()
            else:
                self._await_change(self._source is not None)

    cdef object _take(self):
        """Return the oldest message, decoded, or NOTHING."""
        cdef uint8_t codec = 0, compressor = 0
        cdef bytes payload = self._taken_payload(&codec, &compressor)
        return NOTHING if payload is None else self._decoded(payload, codec, compressor)

    cdef bytes _taken_payload(self, uint8_t* codec, uint8_t* compressor):
        """Take the oldest message out of the channel, and give its credit back."""
        cdef Message message
        cdef bytes payload
        cdef BlockingSession session = (<BlockingStreamCall>self.call).session
        session.enter_use()
        try:
            if self.waiting == 0:
                return None
            payload = self._pop(&message)
            self.taken(message.cost)
        finally:
            session.leave_use()
        codec[0] = message.codec
        compressor[0] = message.compressor
        return payload

    cdef object _decoded(self, bytes payload, int codec, int compressor):
        """Decode a message; one that cannot be read ends the stream."""
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
        """End the stream from this side: the server is told, messages that are there come first."""
        raise NotImplementedError

    cdef object decode(self, bytes payload, int codec, int compressor):
        cdef BlockingStreamCall call = <BlockingStreamCall>self.call
        if compressor:
            payload = self._decompressed(payload, compressor)
        if codec != call.route.marshal.codec_id:
            raise DecodeError(
                f"{call.route.method} sent a message in codec {call.numbers.codec_label(codec)}, asked was codec "
                f"{call.route.marshal.coders.codec!r}"
            )
        return call.route.marshal.decode_result(payload)

    cdef bytes _decompressed(self, bytes payload, int number):
        cdef BlockingStreamCall call = <BlockingStreamCall>self.call
        call.answer_compressor = <uint8_t>number
        compressor = call.compressor_of_answer()
        try:
            return compressor.decompress(payload, call.message_limit)
        except Exception as error:  # An installed compressor may raise anything.
            raise call._unpacking_failed(error)

    cdef int taken(self, Py_ssize_t cost) except -1:
        cdef BlockingStreamCall call = <BlockingStreamCall>self.call
        return call.session.assembler.message_taken(call, cost)

    # Waiting

    cdef uint64_t _due(self) except? 0:
        """Until when one wait may take: the deadline of the call, or `Timeouts.stream_idle` from now on."""
        cdef uint64_t due_ns = self.call.deadline_ns
        return min(due_ns, now_ns() + self.idle_ns) if self.idle_ns else due_ns

    cdef bint _await_change(self, bint or_room) except -1:
        """Wait until a message, HEAD or the end comes; with `or_room` also until there is room to send."""
        cdef BlockingSession session = (<BlockingStreamCall>self.call).session
        cdef uint64_t due_ns = self._due()
        cdef Wait wait = new_wait(1, due_ns)
        cdef bint waits = False, had_sign = self.has_sign
        session.reentry.check()
        session.enter_use()
        try:
            waits = not self.waiting and not self.attempt_ended and not self.input_ended and had_sign == self.has_sign
            waits = waits and (not or_room or self.is_full())
            if waits:
                self._reader_wait = wait
                session.assembler.reader_waits(self.call)
                if or_room:
                    self._ask_for_room(wait)
        finally:
            if waits:
                session.byte_stream.leave()
            else:
                session.leave_use()
        if not waits:
            return False
        try:
            if not session.wait(wait):
                self._overdue(due_ns, False)
        finally:
            self._reader_wait = None
            if or_room:
                self._sender_wait = None
        return True

    def _ask_for_room(self, Wait wait not None):
        cdef BlockingSession session = (<BlockingStreamCall>self.call).session
        self._sender_wait = wait
        if self.call.unsent is not None:
            self.call.waits_to_send = True
        else:
            session.room_waits.append(wait)

    cdef int _overdue(self, uint64_t due_ns, bint sends) except -1:
        """A wait ended without what it waited for: for its time, or with the connection."""
        cdef BlockingStreamCall call = <BlockingStreamCall>self.call
        cdef bint handed
        if self.attempt_ended or self.is_closed:
            return 0
        handed = call.session.was_written(call)
        if due_ns == call.deadline_ns:
            error = DeadlineExceededError(
                f"{call.route.method}: the stream from {call.session.endpoint} did not end within "
                f"{(due_ns - min(due_ns, call.began_ns or call.started_ns)) * 1e-9:.3g} s",
                processed="unknown" if handed else "no",
                hint=DEADLINE_HINT,
            )
        else:
            error = idle_error(call.route.method, self.idle_ns, sends)
        return call.session.end_stream(call, CANCEL_DEADLINE, error)

    # Sending

    def send(self, message, /):
        """Send a message, as soon as the server's window has room for it."""
        if not self.is_open:
            self.begin()
        self._check_sends()
        if self._is_sending:
            raise RuntimeError(SECOND_SENDER)
        self._is_sending = True
        try:
            self._await_room()
            self._encode_and_send(message)
        finally:
            self._is_sending = False

    def end(self):
        """Say that nothing more will be sent; the server may go on answering."""
        if not self.is_open:
            self.begin()
        self._check_sends()
        self._send_end()

    def _check_sends(self):
        if not self.takes_stream:
            raise RuntimeError(f"{self.origin.route.method} takes no stream: nothing can be sent to it")
        if self.is_fed:
            raise RuntimeError(f"{self.origin.route.method}: its iterable sends the messages, not send()")

    def _send_end(self):
        cdef BlockingStreamCall call = <BlockingStreamCall>self.call
        if self.output_ended:
            return
        self.end_output(None)
        call.session.enter_use()
        try:
            if not self.attempt_ended and (call.id or call.unsent is not None):
                call.session.sender.send_end(call)
        finally:
            call.session.leave_use()

    def _check_output(self):
        """Raise why nothing can be sent any more, if that is so."""
        if self.attempt_ended and not self.output_ended:
            self._end_sending((<BlockingStreamCall>self.call).failure)
        if self.output_ended:
            raise self._end_of_output()

    cdef int _await_room(self) except -1:
        """Wait until the channel is not full."""
        cdef BlockingSession session = (<BlockingStreamCall>self.call).session
        cdef uint64_t due_ns
        cdef Wait wait
        cdef bint waits = False
        while True:
            self._check_output()
            if not self.is_full():
                return 0
            due_ns = self._due()
            wait = new_wait(1, due_ns)
            session.reentry.check()
            session.enter_use()
            try:
                waits = self.is_full() and not self.attempt_ended and not self.output_ended
                if waits:
                    self._ask_for_room(wait)
            finally:
                if waits:
                    session.byte_stream.leave()
                else:
                    session.leave_use()
            if not waits:
                continue
            try:
                if not session.wait(wait):
                    self._overdue(due_ns, True)
            finally:
                self._sender_wait = None

    cdef int _encode_and_send(self, object message) except -1:
        """Encode a message and send it; where the server ended the stream meanwhile it is told why not."""
        if self.sent_wraps is not None:
            try:
                message = self.wrapped_for_sending(message)
            except Exception as error:
                self.fail(twin_of(error))
                raise
        try:
            if not self._send_now(<bytes>self.call.route.marshal.encode_message(message)):
                self._check_output()
        except FastRPCError as error:
            mark_own(error)
            raise
        return 0

    cdef bint _send_now(self, bytes payload) except -1:
        """Hand a message to the connection, and look what came; False: nothing can be sent any more."""
        cdef BlockingStreamCall call = <BlockingStreamCall>self.call
        cdef BlockingSession session = call.session
        cdef uint8_t number = 0
        if call.compressor and PyBytes_GET_SIZE(payload) > call.options.shared.compress_above:
            payload = self._compressed(payload, &number)
        check_message(session, call, payload)
        session.enter_use()
        try:
            if self.attempt_ended or self.output_ended:
                return False
            session.now = now_ns()
            session.sender.send_message(call, payload, call.codec, number)
            call.route.counters.moved(0, PyBytes_GET_SIZE(payload))
            call.moved_bytes += PyBytes_GET_SIZE(payload)
            call.route.totals.sent(PyBytes_GET_SIZE(payload))
            if session.byte_stream.has_news and not session.byte_stream.is_sending:
                session.byte_stream.send_all(False)
            session.byte_stream.look()
        finally:
            session.leave_use()
        return True

    cdef bytes _compressed(self, bytes payload, uint8_t* number):
        """Compress a message where it pays; `number` is set to what the server calls the compressor."""
        cdef BlockingStreamCall call = <BlockingStreamCall>self.call
        cdef bytes smaller
        compressor = call.options.compressor
        try:
            smaller = call.session.peer.compressed(compressor, compressor.wire_id, payload, number)
        except Exception as error:  # An installed compressor may raise anything.
            raise EncodeError(
                f"a message to {call.route.method} cannot be compressed by {compressor.name}: {error!r}"
            ) from error
        return payload if smaller is None else smaller

    cdef int _feed(self) except -1:
        """Send the next message of the iterable, or the end; an exception in it ends the stream and is its error."""
        cdef bint is_over = False
        try:
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
                # What ended the attempt counts.
                logger.error(FEED_FAILED, self.origin.route.method, exc_info=error)
            if not isinstance(error, Exception):
                raise
        return 0

    cdef bint output_is_full(self) noexcept:
        cdef BlockingStreamCall call = <BlockingStreamCall>self.call
        # Without an id its REQUEST was dropped for its deadline: nothing follows, whoever waits finds the time over.
        return call.id == 0 or call.session.output_is_full(call)
