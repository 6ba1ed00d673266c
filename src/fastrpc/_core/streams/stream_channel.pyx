"""The messages of one stream, in both directions, as its user sends and receives them.

::

    on_message ──► put ──► ring of encoded messages ──► take: decode, credit ──► receive, async for
    on_end, RESPONSE ──► end_input ──► raised after the last message
    send_payload ──► emit ──► the connection; full: wait_room ◄── on_sendable
                        └──► compression of a long message in slices: the channel is full until it is sent

A message is decoded when it is taken, so an unread stream holds at most its window of encoded messages. There is no
asyncio queue and no task between the connection and the reader: while messages are present, `async for` and `receive`
get them without a suspension; a reader that has to wait waits for one future of its loop.

`Receiving` is a compiled coroutine object. It implements `PyIter_Send` in its type slot, so a step allocates nothing.

The error of a stream is raised at each use: the first time the error itself, later copies of it. The channel keeps a
copy that was never raised, since a raised error holds the frames of the program, which hold the stream.

The subclass for each side (`server/served_stream`, `client/client_stream`) implements how messages are decoded and
sent. Call and channel hold each other until `close`.
"""

import collections.abc
from asyncio import InvalidStateError

cimport cython
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from cpython.ref cimport Py_DECREF, Py_INCREF

from fastrpc._core.base.coroutine cimport RETURNED, YIELDED, install_coroutine
from fastrpc._core.base.wire cimport now_ns, tick_ns
from fastrpc._core.calls.call cimport twin_of, unmistakable

from fastrpc.errors import StreamEndedError

cdef enum:
    # The phases of an awaitable.
    PHASE_NEW = 0
    PHASE_WAITING = 1
    PHASE_CLOSED = 2
    PHASE_PAUSED = 3
    # The size of a ring when its first message arrives.
    FIRST_PLACES = 4
    # A larger ring is freed when it is empty.
    KEPT_PLACES = 64
    # Nanoseconds for which present messages are taken before other work runs.
    SLICE_NS = 5_000_000
    # The number of turns without time for a decompression after which it makes a step anyway.
    MOST_MISSED_TURNS = 7


cdef class StreamChannel(Timed):
    """Both directions of one stream."""

    def __dealloc__(self):
        while self.waiting:
            Py_DECREF(<object>self._ring[self._first].payload)
            self._first = (self._first + 1) & (self._places - 1)
            self.waiting -= 1
        PyMem_Free(self._ring)

    # Receiving

    cdef int put(self, Frame* frame, bytes payload, Py_ssize_t cost) except -1:
        """Keep a message until it is taken. After the end of the input, only return its credit."""
        cdef Message* message
        if self.input_ended:
            return self.taken(cost)
        if self.waiting == self._places:
            self._grow()
        message = &self._ring[(self._first + self.waiting) & (self._places - 1)]
        Py_INCREF(payload)
        message.payload = <PyObject*>payload
        message.cost = cost
        message.codec = frame.codec
        message.compressor = frame.compressor
        self.waiting += 1
        # For the blocking client the subclass wakes the waiting thread.
        return self.wake_receiver() if self._receiver is not None or self.loop_state is None else 0

    cdef int _grow(self) except -1:
        """Double the ring, and move its messages so that the oldest is at the start."""
        cdef Py_ssize_t i, places = max(2 * self._places, <Py_ssize_t>FIRST_PLACES)
        cdef Message* ring = <Message*>PyMem_Realloc(self._ring, places * sizeof(Message))
        if ring is NULL:
            raise MemoryError()
        # The messages before `_first` continue after the old end.
        for i in range(self._first):
            ring[self._places + i] = ring[i]
        self._ring = ring
        self._places = places
        return 0

    cdef int end_input(self, object error) except -1:
        """End the input: `error` is raised after the last message, None is a clean end. The first call counts."""
        if self.input_ended:
            return 0
        self.input_ended = True
        self.input_error = twin_of(error)
        self.fresh_error = error
        return self.wake_receiver()

    cdef bytes _pop(self, Message* message):
        """Remove the oldest message from the ring; its credit is not returned yet."""
        if self.waiting == 0:
            raise IndexError("no message waits")
        message[0] = self._ring[self._first]
        payload = <object>message.payload
        Py_DECREF(payload)
        message.payload = NULL
        self._first = (self._first + 1) & (self._places - 1)
        self.waiting -= 1
        if self.waiting == 0 and self._places > KEPT_PLACES:
            PyMem_Free(self._ring)
            self._ring = NULL
            self._places = self._first = 0
        return <bytes>payload

    cdef object take(self):
        """Return the oldest message, and give its credit back to the sender. An undecodable message ends the input."""
        cdef Message message
        cdef bytes payload = self._pop(&message)
        self.taken(message.cost)
        try:
            if self._unpacking_error is not None:
                raise self._unpacking_error
            value = self.decode(payload, message.codec, message.compressor)
            if self.received_wraps is not None:
                for wrap in reversed(self.received_wraps):
                    value = wrap(value)
        except BaseException as error:
            failure = unmistakable(error, self.call)
            self.drop_messages()
            self.input_ended = True
            self.input_error = twin_of(failure)
            self.on_unreadable(self.input_error)
            raise failure
        if self.tells_drained and self.waiting == 0:
            self.on_drained()
        return value

    cdef bint is_packed(self) noexcept:
        """Return whether the oldest message has to be decompressed before it is taken."""
        return (
            self.waiting != 0 and self._ring[self._first].compressor != 0 and self._unpacking_error is None
        )

    cdef bint unpack(self) except -1:
        """Decompress the oldest message while this turn of the loop has time; return True once it can be taken.

        All long work of a loop shares a few milliseconds of each turn (`loop/turns`). If other work uses them up, one
        step is made in every eighth turn.
        """
        cdef uint64_t now = now_ns(), ends_ns = self.loop_state.turns.begin(now)
        cdef Message* message = &self._ring[self._first]
        cdef bytes packed = <bytes><object>message.payload, payload
        if now >= ends_ns and self._missed_turns < MOST_MISSED_TURNS:
            self._missed_turns += 1
            return False
        self._missed_turns = 0
        try:
            if self._steps is None:
                self._steps = self.unpacking(packed, message.compressor)
            while True:
                next(self._steps)
                if now_ns() >= ends_ns:
                    return False
        except StopIteration as end:
            payload = end.value
        except Exception as error:
            # The error is raised when the message is taken.
            self._steps = None
            self._unpacking_error = error
            return True
        except BaseException:
            self._steps = None
            raise
        self._steps = None
        message = &self._ring[self._first]
        if self.waiting and message.payload == <PyObject*>packed:
            Py_INCREF(payload)
            Py_DECREF(packed)
            message.payload = <PyObject*>payload
            message.compressor = 0
        return True

    cdef list take_many(self, Py_ssize_t limit):
        """Return the oldest messages, at most `limit`. An error after the first of them is raised by the next call."""
        cdef list messages = []
        while self.waiting and limit > 0:
            if messages and self.is_packed() and not self.unpack():
                self.leave_packed()
                break
            try:
                messages.append(self.take())
            except Exception:
                if not messages:
                    raise
                break
            limit -= 1
        return messages

    cdef int drop_messages(self) except -1:
        """Drop messages that were not taken, and give their credit back to the sender."""
        cdef Message message
        self._steps = self._unpacking_error = None
        while self.waiting:
            self._pop(&message)
            self.taken(message.cost)
        return 0

    cdef object end_of_input(self, object clean):
        """Return the exception for the end of the messages: the error, or an instance of `clean`."""
        error, self.fresh_error = self.fresh_error, None
        if error is not None:
            return error
        if self.input_error is not None:
            return twin_of(self.input_error).with_traceback(None)
        return clean() if clean is StopAsyncIteration else clean("the stream has no further message")

    def __aiter__(self):
        return self

    def __anext__(self):
        return self.next_message()

    cdef Receiving next_message(self):
        """Return the awaitable for `async for`: its result is the next message, or StopAsyncIteration."""
        return new_receiving(self, WANTED_NEXT, 1)

    def receive(self):
        """Return the next message."""
        return new_receiving(self, WANTED_ONE, 1)

    def receive_many(self, limit=MOST_AT_ONCE):
        """Return the messages that have arrived, at least one and at most `limit`."""
        if not isinstance(limit, int) or limit < 1:
            raise ValueError(f"limit is {limit!r}, it must be a whole number from 1")
        return new_receiving(self, WANTED_MANY, limit)

    # Sending

    cdef bint is_full(self) noexcept:
        """Return whether a sender has to wait before its next message: for credit, for its turn, or for the output."""
        return self.call.unsent is not None or self._packing is not None or self.output_is_full()

    cdef int send_payload(self, bytes payload) except -1:
        """Send one encoded message; it waits here while the channel is full."""
        if self.output_ended:
            raise self._end_of_output()
        return self.emit(payload)

    def _end_of_output(self):
        if self.output_error is not None:
            return twin_of(self.output_error).with_traceback(None)
        return RuntimeError("this side has ended the stream: nothing more can be sent")

    cdef object wait_room(self):
        """Return a future that is done once the channel has room, or nothing more can be sent."""
        if self._room is not None and not self._room.done():
            raise RuntimeError(SECOND_SENDER)
        cdef object room = self.loop_state.loop.create_future()
        if self.output_ended:
            room.set_result(None)
            return room
        self._room = room
        if self._packing is None:
            self._await_room()
        return room

    cdef int _await_room(self) except -1:
        """Arrange that the sender that waits for room is woken."""
        if self.idle_ns:
            self._sending_ns = now_ns()
            self._watch_wait(self._sending_ns)
        if self.call.unsent is not None:
            self.call.waits_to_send = True
            return 0
        return self.await_turn()

    cdef int pack(self, object compressor, bytes payload) except -1:
        """Compress a long message in slices, then send it. Until then the channel is full, so the order is kept."""
        self._packing = self.packing(compressor, payload)
        return 0

    def _packed(self, bytes payload not None, bint is_smaller, error):
        """Send the compressed message; end the output if the compression failed."""
        self._packing = None
        if error is None:
            try:
                self.emit_packed(payload, is_smaller)
            except Exception as problem:
                error = problem
        if error is not None:
            self.on_unpackable(error)
        if self._room is None or self.output_ended:
            return
        if self.is_full():
            self._await_room()
        else:
            self.wake_sender()

    cdef int _drop_packing(self) except -1:
        packing, self._packing = self._packing, None
        if packing is not None:
            packing.stop()
        return 0

    cdef int end_output(self, object error, bint is_fresh=False) except -1:
        """End the output: raise `error` for senders; None if this side ended its stream itself. The first call counts.

        Args:
            is_fresh: whether the error was created for this call; then it is kept without a copy.
        """
        if error is not None:
            self._drop_packing()
        if self.output_ended:
            return 0
        self.output_ended = True
        self.output_error = error if is_fresh else twin_of(error)
        self.call.waits_to_send = False
        return self.wake_sender()

    cdef object wrapped_for_sending(self, object message):
        """Return the message after the interceptors' functions."""
        for wrap in self.sent_wraps:
            message = wrap(message)
        return message

    # The end of both

    cdef int close(self, object error) except -1:
        """Drop messages that were not taken, and release the call. Receivers and senders that wait get the error."""
        if self.is_closed:
            return 0
        self.is_closed = True
        if self.waiting and self.input_error is None:
            # Messages that were not taken are lost, so the stream did not end well.
            self.input_error = error
        self.drop_messages()
        self.end_input(error)
        # A receiver may wait even after the end of the input, for a message that is being decompressed.
        self.wake_receiver()
        self.fresh_error = None
        self.end_output(error)
        self._drop_packing()
        if self.loop_state is not None:
            self.loop_state.stop_timer(self)
        if self.call.stream is self:
            self.call.stream = None
        return 0

    # Implemented for each side of a call

    cdef object decode(self, bytes payload, int codec, int compressor):
        """Return the message in a payload."""
        raise NotImplementedError

    cdef object unpacking(self, bytes payload, int compressor):
        """Return a generator that decompresses a message in short steps; its value is the payload."""
        raise NotImplementedError

    cdef int leave_packed(self) except -1:
        """Note that the oldest message is not requested yet: its decompression may continue, but must not begin."""
        return 0

    cdef int on_drained(self) except -1:
        """Note that the last message was taken, while `tells_drained` is set."""
        return 0

    cdef int on_unreadable(self, object error) except -1:
        """Handle the end of the input by an error: decoding a message failed, or an interceptor raised."""
        return 0

    cdef int taken(self, Py_ssize_t cost) except -1:
        """Give the credit of a message that left the channel back to its sender."""
        raise NotImplementedError

    cdef int asked(self) except -1:
        """Note that the next message is requested, while `holds_taken` is set."""
        return 0

    cdef int reader_waits(self) except -1:
        """Note that the reader has taken all messages and waits; the sender may need credit to continue."""
        return 0

    cdef int reader_left(self) except -1:
        """Note that the reader stopped waiting."""
        return 0

    cdef int emit(self, bytes payload) except -1:
        """Pass a message to the connection."""
        raise NotImplementedError

    cdef object packing(self, object compressor, bytes payload):
        """Start to compress a message in slices; `_packed` gets the result, unless `stop` ends the compression."""
        raise NotImplementedError

    cdef int emit_packed(self, bytes payload, bint is_smaller) except -1:
        """Pass a message to the connection after its compression, which may not have made it smaller."""
        raise NotImplementedError

    cdef int on_unpackable(self, object error) except -1:
        """Handle that a message could not be compressed: nothing more is sent."""
        raise NotImplementedError

    cdef bint output_is_full(self) noexcept:
        """Return whether streams may not add output to the connection now, or other streams have their turn."""
        return False

    cdef int await_turn(self) except -1:
        """Have `wake_sender` called once there is room and it is this stream's turn."""
        return self.wake_sender()

    cdef int wake_receiver(self) except -1:
        """Wake the reader, which then checks again."""
        self._receiving_ns = 0
        if self._receiver is None or self._receiver.future is None:
            return 0
        return settle(self._receiver.future)

    cdef int wake_sender(self) except -1:
        """Wake the sender, which then checks again."""
        cdef object room = self._room
        if self._packing is not None and not self.output_ended:
            return 0
        self._room = None
        self._sending_ns = 0
        return settle(room) if room is not None else 0

    # Waits that take too long

    cdef int _watch_wait(self, uint64_t now) except -1:
        if self.idle_ns and self.timer.next is NULL:
            # The timer keeps running when the wait ends: the next wait begins soon.
            self.loop_state.start_timer(self, now + self.idle_ns)
        return 0

    cdef int on_timer(self) except -1:
        cdef uint64_t now = now_ns(), since = self.receiving_since()
        if self._room is not None and self._room.done():
            # The waiting sender was cancelled.
            self._room = None
            self._sending_ns = 0
        if self._sending_ns and (since == 0 or self._sending_ns < since):
            since = self._sending_ns
        if since == 0 or self.is_closed:
            return 0
        if now >= since + self.idle_ns:
            return self.on_idle()
        # The wait does not count yet, so it is checked again later.
        self.loop_state.start_timer(self, min(since, now) + self.idle_ns)
        return 0

    cdef int on_idle(self) except -1:
        """Handle a wait that exceeded its limit (`Timeouts.stream_idle`)."""
        raise NotImplementedError


cdef uint64_t NOT_YET = <uint64_t>1 << 62
cdef str SECOND_RECEIVER = "a stream has one receiver at a time, and another one waits for its next message"
cdef str SECOND_SENDER = "a stream has one sender at a time, and another one waits to send"


cdef int settle(object future) except -1:
    try:
        future.set_result(None)
    except InvalidStateError:
        # The wait has ended, or was cancelled in this turn of the loop; then its task gets the CancelledError.
        pass
    return 0


@cython.final
@cython.freelist(8)
cdef class Receiving:
    """An awaitable for one message, or for all that have arrived."""

    def throw(self, kind, value=None, traceback=None):
        """Raise an exception in the waiting function. No message is lost."""
        self.give_up()
        error = kind if isinstance(kind, BaseException) else value if isinstance(value, BaseException) else kind()
        raise error if traceback is None else error.with_traceback(traceback)

    def close(self):
        """End without a message."""
        self.give_up()

    @property
    def __name__(self):
        return "receive"

    @property
    def __qualname__(self):
        return f"Stream.{'receive_many' if self.wanted == WANTED_MANY else 'receive'}({self.channel.call.method})"

    @property
    def cr_await(self):
        """The future that the task waits for, or None."""
        return self.future

    cdef int step(self, PyObject** result) except -1:
        cdef StreamChannel channel = self.channel
        if self.phase == PHASE_NEW:
            if channel._receiver is not None:
                raise RuntimeError(SECOND_RECEIVER)
            if channel.holds_taken:
                channel.asked()
        elif self.phase == PHASE_CLOSED:
            raise RuntimeError("cannot reuse already awaited coroutine")
        elif self.phase == PHASE_WAITING and not self.future.done():
            raise RuntimeError("await wasn't used with future")
        if not channel.waiting and not channel.input_ended:
            return self.wait(result)
        if self.phase != PHASE_NEW or not channel._turn_ends_ns:
            channel._turn_ends_ns = tick_ns() + SLICE_NS
        elif channel.waiting and tick_ns() >= channel._turn_ends_ns:
            return self.pause(result)
        if channel.is_packed() and not channel.unpack():
            return self.park(result) if channel.is_unpacking else self.pause(result)
        self.leave()
        return self.give(result)

    cdef int pause(self, PyObject** result) except -1:
        """Let other work run although a message is present: input is read, and its sender gets credit.

        This stays the channel's receiver in the meantime; otherwise a second receiver could take the message.
        """
        self.channel._receiver = self
        self.channel._receiving_ns = 0
        self.future = None
        self.phase = PHASE_PAUSED
        Py_INCREF(None)
        result[0] = <PyObject*>None
        return YIELDED

    cdef int give(self, PyObject** result) except -1:
        """Return the present messages, or raise the error after the last message."""
        cdef StreamChannel channel = self.channel
        cdef object value
        if not channel.waiting:
            raise channel.end_of_input(StopAsyncIteration if self.wanted == WANTED_NEXT else StreamEndedError)
        value = channel.take_many(self.limit) if self.wanted == WANTED_MANY else channel.take()
        Py_INCREF(value)
        result[0] = <PyObject*>value
        return RETURNED

    cdef int wait(self, PyObject** result) except -1:
        """Suspend the task until the next message arrives."""
        cdef StreamChannel channel = self.channel
        channel.reader_waits()
        if channel.idle_ns:
            channel._receiving_ns = now_ns()
            channel._watch_wait(channel._receiving_ns)
        return self.park(result)

    cdef int park(self, PyObject** result) except -1:
        """Suspend the task until the channel wakes it, without a limit: a message may be in decompression."""
        cdef StreamChannel channel = self.channel
        self.future = channel.loop_state.loop.create_future()
        self.phase = PHASE_WAITING
        channel._receiver = self
        self.future._asyncio_future_blocking = True
        Py_INCREF(self.future)
        result[0] = <PyObject*>self.future
        return YIELDED

    cdef int leave(self) noexcept:
        """Stop being the receiver of the channel."""
        if self.channel._receiver is self:
            self.channel._receiver = None
            self.channel._receiving_ns = 0
        # The future stays unresolved: the task gets the result or the exception of this step, or is being cancelled.
        self.future = None
        self.phase = PHASE_CLOSED
        return 0

    cdef int give_up(self) except -1:
        """End a wait without a message."""
        cdef bint has_waited = self.phase == PHASE_WAITING
        self.leave()
        return self.channel.reader_left() if has_waited else 0


cdef Receiving new_receiving(StreamChannel channel, int wanted, Py_ssize_t limit):
    cdef Receiving receiving = Receiving.__new__(Receiving)
    receiving.channel = channel
    receiving.wanted = wanted
    receiving.limit = limit
    return receiving


cdef int step_of(PyObject* receiving, PyObject* value, PyObject** result) except -1:
    # The interpreter holds a reference during the step.
    return (<Receiving>receiving).step(result)


install_coroutine(Receiving, step_of, NULL)
collections.abc.Coroutine.register(Receiving)
