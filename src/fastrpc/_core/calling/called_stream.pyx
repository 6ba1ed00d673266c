"""Streams of ours: a call whose messages go one way or both, and what its user holds.

::

    client.stream(Feed.follow) ──► CalledStream ──► StreamCall: an attempt on a connection
                                        ▲                │
           receive, async for  ◄────────┴── messages, HEAD, the end

The stream is the channel itself, so the messages of one read are there for `async for` without anything in between. It
outlives its attempts: as long as nothing came, an attempt that failed may be followed by another one
(`client/stream_runner.py`). The first attempt that shows a sign of the server is the one the stream takes messages of.
"""

from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint64_t

from fastrpc._core.calling.caller_view cimport ViewOptions
from fastrpc._core.calling.pending_call cimport check_message, mark_own
from fastrpc._core.calls.call cimport Route, twin_of
from fastrpc._core.framing.frame cimport CANCEL_DEADLINE, CANCEL_DECODE, CANCEL_USER
from fastrpc._core.loop.loop_state cimport LoopState
from fastrpc._core.payload.metadata cimport decode_metadata
from fastrpc._core.streams.stream_channel cimport MOST_AT_ONCE, SECOND_SENDER, StreamChannel

from fastrpc._core.payload.metadata import Metadata
from fastrpc.errors import DeadlineExceededError, DecodeError, EncodeError, FastRPCError, StreamEndedError

IDLE_HINT = "raise Timeouts.stream_idle, or have the server send a message now and then"
IDLE_SENDER_HINT = "raise Timeouts.stream_idle, or see what keeps the handler from reading its messages"

cdef class CalledStream(CallerChannel):
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
        self.attempts = set()
        self.takes_stream = route.takes_stream
        self.gives_stream = route.gives_stream

    def __del__(self):
        cdef StreamCall attempt
        if self.origin is None:
            return
        # Let go of by the program: nobody reads it any more.
        self._drop_packing()
        self.origin.detach()
        for attempt in list(self.attempts):
            attempt.abandon(CANCEL_USER, None)
            attempt.detach()

    # Its attempts

    cdef int attach(self, StreamCall attempt) except -1:
        self.attempts.add(attempt)
        self.loop_state = attempt.session.loop_state
        self.is_open = True
        if not self.is_chosen:
            self.call = attempt
            if self.takes_stream:
                self.is_chosen = attempt.is_chosen = True
        return 0

    cdef int detach(self, StreamCall attempt) noexcept:
        self.attempts.discard(attempt)
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
        # The attempt keeps its own, which nobody raises.
        self.finish(twin_of(error))
        return 0

    cdef int fail(self, object error, int reason) except -1:
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

    def drained(self):
        """The last message was taken of those that are there, as `_tell_drained` asked to be told."""
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

    def _tell_drained(self):
        """Have `drained` called once no message is there, which may be now."""
        self.tells_drained = True
        if self.waiting == 0:
            self.on_drained()

    def _drop_messages(self):
        """Drop the messages that are there, and let the rest go on."""
        self.drop_messages()
        if self.tells_drained:
            self.on_drained()

    def _set_loop(self, LoopState state not None, double idle_seconds):
        """Belong to a loop; a wait for a message may take so many seconds, 0: any."""
        self.loop_state = state
        self.idle_ns = <uint64_t>(idle_seconds * 1e9)

    def _kept(self, error):
        """Return an error like this one: a stream keeps none that is raised, which would hold the stream."""
        return twin_of(error)

    def _again(self, error):
        """Return an error like the one that is kept, to be raised."""
        self.fresh_error = None
        return twin_of(error).with_traceback(None)

    @property
    def _attempt(self):
        """The attempt it takes messages of, or took last; None before there is one."""
        return None if self.call is self.origin else self.call

    @property
    def _window_bytes(self):
        """The bytes that the server may send before messages are taken; 0 before its REQUEST is written."""
        return 0 if self.call.window is None else self.call.window.size

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
            if call.options.packs_later(payload, call.session.peer, True):
                return self.pack(call.options.compressor, payload)
            payload = self._compressed(payload, &number)
        return self._emit_as(payload, number)

    cdef int _emit_as(self, bytes payload, uint8_t number) except -1:
        cdef StreamCall call = <StreamCall>self.call
        check_message(call.session, call, payload)
        call.session.sender.send_message(call, payload, call.codec, number)
        call.route.counters.moved(0, PyBytes_GET_SIZE(payload))
        call.moved_bytes += PyBytes_GET_SIZE(payload)
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
            raise self._unpackable(error) from error
        return payload if smaller is None else smaller

    def _unpackable(self, error):
        name = (<StreamCall>self.call).options.compressor.name
        return EncodeError(f"a message to {self.call.route.method} cannot be compressed by {name}: {error!r}")

    cdef object packing(self, object compressor, bytes payload):
        return self.pack_message(compressor, payload)

    def pack_message(self, compressor, bytes payload):
        """Begin the compression of a message in slices; `_packed` gets the result."""
        raise NotImplementedError

    cdef int emit_packed(self, bytes payload, bint is_smaller) except -1:
        cdef StreamCall call = <StreamCall>self.call
        cdef int number = 0
        compressor = call.options.compressor
        if call.is_settled or call.session.is_closed:
            return 0
        if is_smaller:
            number = call.session.peer.compressor_number(compressor.wire_id, compressor.name)
        self._emit_as(payload, <uint8_t>max(0, number))
        if self.owes_end:
            self.owes_end = False
            call.session.sender.send_end(call)
        return 0

    cdef int on_unpackable(self, object error) except -1:
        if not isinstance(error, FastRPCError):
            error = self._unpackable(error)
        mark_own(error)
        return self.fail(error, CANCEL_USER)

    cdef bint output_is_full(self) noexcept:
        cdef StreamCall call = <StreamCall>self.call
        # Without an id its REQUEST was dropped for its deadline: nothing follows, and its timer ends the wait.
        return call.id == 0 or call.session.output_is_full(call)

    cdef int await_turn(self) except -1:
        cdef StreamCall call = <StreamCall>self.call
        return call.session.await_turn(call) if call.id else 0

    cdef int on_idle(self) except -1:
        cdef bint sends = self._sending_ns and (self._receiving_ns == 0 or self._sending_ns < self._receiving_ns)
        error = idle_error(self.origin.route.method, self.idle_ns, sends)
        mark_own(error)
        return self.fail(error, CANCEL_DEADLINE)

    cdef int on_drained(self) except -1:
        self.tells_drained = False
        self.drained()
        return 0

    cdef int send_out(self, object message) except -1:
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
            self.fail(twin_of(error), CANCEL_USER)
            raise

    def _check_sends(self):
        if not self.takes_stream:
            raise RuntimeError(f"{self.origin.route.method} takes no stream: nothing can be sent to it")
        if self.is_fed:
            raise RuntimeError(f"{self.origin.route.method}: its iterable sends the messages, not send()")

    async def send(self, message, /):
        """Send a message, as soon as the server's window has room for it."""
        if not self.is_open:
            await self.begin()
        self._check_sends()
        if not self.output_ended and self.is_full():
            await self._wait_turn()
        self.send_out(message)

    async def _wait_turn(self):
        """Wait for room. The first one who does stays the sender until it goes on."""
        if self.is_sending:
            raise RuntimeError(SECOND_SENDER)
        self.is_sending = True
        try:
            while not self.output_ended and self.is_full():
                await self.wait_room()
        finally:
            self.is_sending = False

    async def end(self):
        """Say that nothing more will be sent; the server may go on answering."""
        if not self.is_open:
            await self.begin()
        self._check_sends()
        self.send_end()

    cdef int send_end(self) except -1:
        cdef StreamCall call = <StreamCall>self.call
        if not self.output_ended:
            self.end_output(None)
            if self._packing is not None:
                self.owes_end = True
            elif call.id or call.unsent is not None:
                call.session.sender.send_end(call)
        return 0

    async def begin(self):
        """Start the call, if it did not begin yet."""
        raise NotImplementedError


cdef object idle_error(str method, uint64_t idle_ns, bint sends):
    """What a stream fails with that waited too long, for a message or to send one."""
    seconds = f"{idle_ns * 1e-9:.3g} s (Timeouts.stream_idle)"
    if sends:
        return DeadlineExceededError(
            f"{method}: nothing could be sent for {seconds}: the server takes no messages", hint=IDLE_SENDER_HINT
        )
    return DeadlineExceededError(f"{method}: no message within {seconds}", hint=IDLE_HINT)
