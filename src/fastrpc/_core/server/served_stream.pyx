"""The stream of a served call: messages to and from its handler.

::

    DATA ──► ServedStream ──► async for in the handler
    handler's generator ──► drive: one step, encode, send; wait while the stream is full ──► DATA
    end of the generator ──► RESPONSE     its error ──► RESPONSE with a status, after the messages already sent

A generator is stepped only while its stream has room, so at most one message waits for credit, and the messages yielded
before the end or an error were sent. A series of steps takes a few milliseconds at most, even if there is more room.

A generator ends by itself, or is stopped: CancelledError is raised at its current `yield` if the caller cancelled or
disconnected, the deadline passed, the server drains, the stream was idle for too long, or the last message cannot be
sent. Messages yielded after that are dropped; an exception ends the call. `drive` runs generators on the loop,
`handlers/generator_job.py` runs generators in a thread.
"""

import asyncio
from asyncio import CancelledError

from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint64_t

from fastrpc._core.base.wire cimport tick_ns
from fastrpc._core.calls.call cimport STATE_CANCELLED, STATE_GONE, STYLE_INLINE, MethodRoute
from fastrpc._core.calls.invocation cimport call_handler
from fastrpc._core.loop.turns cimport SLICED_ABOVE
from fastrpc._core.payload.arguments cimport BoundArguments
from fastrpc._core.server.output_room cimport SMALL_OUTPUT
from fastrpc._core.server.served_connection cimport ServedConnection
from fastrpc._core.streams.stream_channel cimport Message
from fastrpc._core.wire.frame cimport Frame
from fastrpc._core.wire.settings cimport smaller_of

from fastrpc.errors import CallError
from fastrpc.status import Status

cdef enum:
    # How many nanoseconds one generator is stepped before other tasks run.
    SLICE_NS = 5_000_000

cdef object sleep = asyncio.sleep


cdef class ServedStream(StreamChannel):
    """The stream of a served call, from which the handler receives the caller's messages."""

    # Between a handler and its messages

    cpdef object bound(self):
        """Return the arguments of the handler, including this stream if the handler receives the caller's messages."""
        cdef ServerCall call = self.served
        cdef MethodRoute route = call.route
        given = call.given
        if self.is_bound:
            raise RuntimeError(f"{route.method} runs already: an interceptor called proceed twice for a stream")
        self.is_bound = True
        if not route.takes_stream:
            return given
        if type(given) is BoundArguments:
            args, kwargs = (<BoundArguments>given).args, (<BoundArguments>given).kwargs
        else:
            args, kwargs = given, {}
        args, kwargs = route.definition.bind_stream(args, kwargs, self)
        return BoundArguments(args, kwargs) if kwargs else args

    cpdef bytes encoded(self, object value):
        """Return the payload of a message. May be called in the thread of a handler."""
        cdef Marshal marshal = self.marshal
        cdef bytes payload
        if marshal is None:
            marshal = _marshal_of_call(self)
        if self.sent_wraps is not None:
            value = self.wrapped_for_sending(value)
        payload = <bytes>marshal.encode_result(value)
        if self.checks_results:
            marshal.check_result(value, payload)
        self.served.connection.check_size(self.served, "a message", payload, self.output_room.sent_bytes)
        return payload

    cdef int commit(self) except -1:
        """Send the current contents of `reply_metadata`. Later entries are sent with the end of the stream."""
        cdef ServerCall call = self.served
        self.is_committed = True
        if call._reply_metadata is not None and _is_wanted(self):
            call.pack_metadata()
            metadata, call.sent_metadata = call.sent_metadata, None
            self.flow.head(call, metadata)
        return 0

    def commit_metadata(self):
        """Send the first metadata now, even if it is empty.

        Raises:
            RuntimeError: the first metadata was already sent, alone or with the first message.
        """
        cdef ServerCall call = self.served
        if self.is_committed:
            raise RuntimeError(f"the first metadata of {call.route.method} was sent already; later entries go with the end")
        if call._reply_metadata is None:
            call.reply_metadata = {}
        self.commit()

    def compress_by(self, int number):
        """Compress further messages with the compressor of this number; 0 = do not compress them."""
        self.compressor = number

    # For generators that run in a thread

    def send_payloads(self, payloads):
        """Send encoded messages from the left of a deque, as long as there is room; return the bytes sent."""
        cdef Py_ssize_t size = 0
        cdef bytes payload
        while payloads and not (self.lacks_room() or not self.output_ended and self.is_full()):
            payload = payloads.popleft()
            _send_encoded(self, payload)
            size += PyBytes_GET_SIZE(payload)
        return size

    def wait_where_full(self, bint has_more=True):
        """Return a future that completes when there is room; None if there is room now, or nothing more can be sent.

        Args:
            has_more: whether another message waits, which needs memory of the process, too.

        Raises:
            Exception: the last message could not be compressed.
        """
        self.awaits_memory = False
        if self.unsent_error is not None:
            raise self.unsent_error
        if not self.output_ended and self.is_full():
            return self.wait_room()
        return self.wait_memory() if has_more and self.lacks_room() else None

    cdef object wait_memory(self):
        """Return a future that completes when there may be memory, or when no more messages can be sent."""
        self.awaits_memory = True
        return self.wait_room()

    @property
    def has_sent_wraps(self):
        """Whether functions of interceptors replace each sent message. These have to be called on the loop."""
        return self.sent_wraps is not None

    # The server's side of the stream

    cdef int put(self, Frame* frame, bytes payload, Py_ssize_t cost) except -1:
        self.served.counters.moved(PyBytes_GET_SIZE(payload), 0)
        self.served.moved_bytes += PyBytes_GET_SIZE(payload)
        if self.input_ended:
            # The handler takes no more messages. Drop the message and return its credit.
            return self.flow.taken(self.served, cost)
        _hold(self, cost)
        return StreamChannel.put(self, frame, payload, cost)

    cdef int taken(self, Py_ssize_t cost) except -1:
        # The handler has the message, whose memory counts until the handler asks for the next one.
        self.holds_taken = True
        if self.room is None:
            self.taken_held += cost
        else:
            if self.taken_rooms is None:
                self.taken_rooms = []
            self.taken_rooms.append(self.room)
            self.room = None
        return self.flow.taken(self.served, cost)

    cdef int asked(self) except -1:
        cdef list rooms = self.taken_rooms
        self.holds_taken = False
        if self.taken_held:
            _hold(self, -self.taken_held)
            self.taken_held = 0
        if rooms is not None:
            self.taken_rooms = None
            self.served.connection.gate.dispatcher.close_rooms(rooms)
        return 0

    cdef int drop_messages(self) except -1:
        _drop_job(self)
        StreamChannel.drop_messages(self)
        return self.asked() if self.holds_taken else 0

    cdef int reader_waits(self) except -1:
        return self.flow.reader(self.served, True)

    cdef int reader_left(self) except -1:
        return self.flow.reader(self.served, False)

    cdef object decode(self, bytes payload, int codec, int compressor):
        cdef ServerCall call = self.served
        cdef object value
        if self.form is not None:
            return payload
        try:
            if codec != self.codec:
                text = f"a message is in codec {codec}, the request in {self.codec}"
                raise CallError(Status.INVALID_ARGUMENT, text)
            value = _marshal_of_call(self).decode_message(payload)
        except CallError as error:
            raise call.route.definition.faults.of_message(error, call.route.method) from None
        if self.marshal.charge > PyBytes_GET_SIZE(payload) + SMALL_OUTPUT:
            # Until here the message counted with its received size; now it counts with its decoded size.
            _hold(self, self.marshal.charge - PyBytes_GET_SIZE(payload))
            self.taken_held += self.marshal.charge - PyBytes_GET_SIZE(payload)
        return value

    cdef bint unpack(self) except -1:
        """Start the decompression of the oldest message; return True when the message can be taken."""
        cdef Message* message = &self._ring[self._first]
        if self.job is None:
            # The caller accepts the compressor that it uses. Its REQUEST may have been too short to be compressed, so this
            # is learned here.
            self.compressor = message.compressor
            self.is_unpacking = True
            self.served.connection.gate.dispatcher.unpack_message(
                self, self.served, <bytes><object>message.payload, message.compressor
            )
        return not self.is_unpacking

    cdef int leave_packed(self) except -1:
        if self.job is not None and not self.job.is_begun:
            # The message still waits for room. Drop the job, so that the message waits again only when the handler asks for
            # it.
            _drop_job(self)
        return 0

    def begin_unpacking(self, job):
        """Set the job that decompresses the oldest message, until `unpacked` is called."""
        self.job = job

    def unpacked(self, bytes payload not None, room, error):
        """Replace the oldest message by its decompressed payload, or set the error to raise instead."""
        cdef Message* message
        self.job = None
        self.is_unpacking = False
        if error is not None:
            self._unpacking_error = error
        else:
            if self.waiting == 0:
                raise IndexError("no message waits")
            message = &self._ring[self._first]
            Py_DECREF(<object>message.payload)
            Py_INCREF(payload)
            message.payload = <PyObject*>payload
            message.compressor = 0
            self.room = room
            _hold(self, -message.cost)
        if self._receiver is not None:
            self.wake_receiver()

    cdef int emit(self, bytes payload) except -1:
        if not _is_wanted(self):
            return 0
        if self.compressor and PyBytes_GET_SIZE(payload) > self.compress_above:
            return _emit_compressed(self, payload)
        return _emit_as(self, payload, 0)

    cdef object packing(self, object compressor, bytes payload):
        cdef ServedConnection connection = self.served.connection
        return connection.gate.dispatcher.packing(connection, compressor, payload, self._packed)

    cdef int emit_packed(self, bytes payload, bint is_smaller) except -1:
        cdef int number = 0
        if not _is_wanted(self):
            return 0
        if is_smaller:
            number = self.served.groups.dialect.compressor(self.served, self.compressor)
        return _emit_as(self, payload, number)

    cdef int on_unpackable(self, object error) except -1:
        self.unsent_error = error
        return self.end_output(error)

    cdef bint output_is_full(self) noexcept:
        return self.flow.is_full(self.served)

    cdef int await_turn(self) except -1:
        if self.awaits_memory:
            return self.output_room.add(self._room)
        return self.flow.await_turn(self.served)

    cdef int on_idle(self) except -1:
        cdef bint is_sender = self._sending_ns and (self._receiving_ns == 0 or self._sending_ns < self._receiving_ns)
        seconds = self.idle_ns / 1e9
        status, limit = Status.DEADLINE_EXCEEDED, "Timeouts.stream_idle of the server"
        if not is_sender:
            wait = "no message of its caller came"
        elif not self.awaits_memory:
            wait = "its caller took no message"
        else:
            # The caller has taken all messages that were sent.
            wait, limit = "there was no memory for its next message", f"Memory.process_bytes, {limit}"
            status = Status.RESOURCE_EXHAUSTED
        error = CallError(status, f"{self.served.route.method}: {wait} for {seconds:g} s ({limit})")
        self.end_output(error)
        return self.end_input(error)

    # The end

    cdef int end(self) except -1:
        """Close the stream after the handler has ended, or if it never starts."""
        return self.close(RuntimeError(f"{self.served.route.method} is over, and its stream with it"))


cdef int _send_encoded(ServedStream stream, bytes payload) except -1:
    """Send a message, after the metadata that the handler set before its first one."""
    if not stream.is_committed:
        stream.commit()
    return stream.send_payload(payload)


cdef int _emit_compressed(ServedStream stream, bytes payload) except -1:
    """Send a message, compressed like its request if the peer accepts that and the message gets smaller."""
    cdef ServedConnection connection = stream.served.connection
    cdef bytes smaller
    cdef int number = stream.served.groups.dialect.compressor(stream.served, stream.compressor)
    if number == 0:
        return _emit_as(stream, payload, 0)
    compressor = connection.gate.compressors[stream.compressor]
    if PyBytes_GET_SIZE(payload) > SLICED_ABOVE:
        return stream.pack(compressor, payload)
    smaller = smaller_of(compressor, payload)
    return _emit_as(stream, payload, 0) if smaller is None else _emit_as(stream, smaller, number)


cdef Marshal _marshal_of_call(ServedStream stream):
    cdef MethodRoute route = stream.served.route
    if stream.marshal is None:
        if stream.codec != route.marshal.codec_id or stream.served.groups.forms is not None:
            stream.marshal = stream.served.marshal()
        else:
            stream.marshal = route.marshal
    return stream.marshal


cdef bint _is_wanted(ServedStream stream) noexcept:
    # After a CANCEL only the answer is sent.
    cdef ServerCall call = stream.served
    return not (
        call.connection.is_closed or call.was_ended or call.state == STATE_CANCELLED or call.state == STATE_GONE
    )


cdef int _drop_job(ServedStream stream) except -1:
    job, stream.job = stream.job, None
    stream.is_unpacking = False
    if job is not None:
        job.drop()
    return 0


cdef int _hold(ServedStream stream, int64_t change) except -1:
    stream.held += change
    stream.served.connection.stream_held += change
    return stream.output_room.memory.count(change)


cdef int _emit_as(ServedStream stream, bytes payload, int compressor) except -1:
    cdef ServerCall call = stream.served
    call.counters.moved(0, PyBytes_GET_SIZE(payload))
    call.moved_bytes += PyBytes_GET_SIZE(payload)
    stream.flow.message(call, payload, stream.codec, compressor)
    # Most messages are small, and are not weighed.
    if PyBytes_GET_SIZE(payload) > SMALL_OUTPUT:
        stream.output_room.weigh(call.connection, PyBytes_GET_SIZE(payload))
    return 0


cdef ServedStream new_served_stream(ServerCall call):
    """Create the stream of a call, with the limits of the server. The call holds it until the end."""
    cdef ServedStream stream = ServedStream.__new__(ServedStream)
    cdef OutputRoom room
    runner = call.connection.gate.runner
    room = <OutputRoom?>runner.room
    stream.served = call
    stream.call = call
    stream.flow = call.groups.flow
    stream.loop_state = room.memory.loop_state
    stream.idle_ns = runner.stream_idle_ns
    stream.codec = call.codec
    stream.form = call.groups.handling.form_of(call)
    stream.compressor = call.compressor
    stream.output_room = room
    stream.compress_above = runner.compress_above
    stream.checks_results = runner.checks_results
    # If the caller sends no stream, nothing follows its REQUEST.
    stream.input_ended = not call.route.takes_stream
    stream.output_ended = not call.route.gives_stream
    call.stream = stream
    return stream


async def drive(ServerCall call not None):
    """Run a handler whose answer is a stream: step its generator while there is room for messages."""
    cdef ServedStream stream = <ServedStream?>call.stream
    cdef uint64_t until = tick_ns() + SLICE_NS
    cdef bint is_at_yield = False
    if call.wants_head:
        return
    messages = call_handler(call.route.handler, stream.bound())
    try:
        if call.route.style == STYLE_INLINE:
            messages = OnLoop(messages)
        async for value in messages:
            is_at_yield = True
            while stream.lacks_room():
                # Encode the value only when there is memory.
                await stream.wait_memory()
                until = tick_ns() + SLICE_NS
            _send_encoded(stream, stream.encoded(value))
            value = None
            if stream.is_full():
                await stream.wait_room()
                if stream.output_ended:
                    raise stream._end_of_output()
                until = tick_ns() + SLICE_NS
            elif tick_ns() > until:
                # Let other tasks run, and written messages be sent.
                await sleep(0)
                until = tick_ns() + SLICE_NS
            is_at_yield = False
    except (Exception, CancelledError):
        if is_at_yield:
            await throw_at_yield(messages)
        raise
    finally:
        close = getattr(messages, "aclose", None)
        if close is not None:
            await close()


async def throw_at_yield(messages):
    """Raise CancelledError at the current `yield` of an asynchronous generator."""
    throw = getattr(messages, "athrow", None)
    if throw is None:
        return
    try:
        await throw(CancelledError())
    except (CancelledError, StopAsyncIteration):
        pass


def throw_at_plain_yield(messages):
    """Raise CancelledError at the current `yield` of a generator. Call this in the thread that runs it."""
    throw = getattr(messages, "throw", None)
    if throw is None:
        return
    try:
        throw(CancelledError())
    except (CancelledError, StopIteration):
        pass


cdef class OnLoop:
    """An asynchronous generator that steps an inline (synchronous) generator on the loop and yields its messages."""

    def __init__(self, messages):
        self._messages = iter(messages)

    def __aiter__(self):
        return self

    async def __anext__(self):
        try:
            return next(self._messages)
        except StopIteration:
            raise StopAsyncIteration from None

    async def athrow(self, error):
        throw_at_plain_yield(self._messages)

    async def aclose(self):
        close = getattr(self._messages, "close", None)
        if close is not None:
            close()
