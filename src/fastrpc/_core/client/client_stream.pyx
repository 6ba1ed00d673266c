"""A stream of a client, for tasks or threads: a call with messages in one or both directions, and its attempts.

::

    client.stream(Feed.follow) ──► ClientStream ──► ClientCall: an attempt on a connection
                                        ▲                │
           receive, async for  ◄────────┴── messages, HEAD, the end

    StreamChannel
    └── ClientStream               attempts, encoding, compression, the end
        ├── CalledStream           (called_stream) the base of `Stream`, for tasks
        └── BlockingCalledStream   (blocking_called_stream) the base of `SyncStream`, for threads

The stream is the channel itself, so received messages reach its user directly. It outlives its attempts: until the
server's first sign (a message or the initial metadata), another attempt may follow a failed one. The stream uses the
first attempt with a sign.

Messages that exist already are encoded up to the size of one write, then passed on together (`Gathered`). If a message
cannot be encoded, the earlier ones are still sent.
"""

from array import array

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE

from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport MethodRoute, StreamWindow, twin_of
from fastrpc._core.calls.calling_part cimport CallingPart
from fastrpc._core.client.call_errors cimport check_message, mark_own
from fastrpc._core.client.caller_view cimport ViewOptions
from fastrpc._core.payload.metadata cimport decode_metadata
from fastrpc._core.streams.stream_channel cimport NOT_YET
from fastrpc._core.wire.frame cimport CANCEL_USER, Frame

from fastrpc._core.payload.metadata import Metadata
from fastrpc.errors import DecodeError, EncodeError, FastRPCError, StreamEndedError

cdef enum:
    # The most bytes of messages in one write; the bytes that each message counts in addition to its payload.
    GATHERED_BYTES = 65_536
    MESSAGE_BYTES = 16


cdef class ClientStream(StreamChannel):
    """The messages of a client's call, and its attempts."""

    def __init__(
        self, ViewOptions options not None, hash_key, MethodRoute route not None, tuple args not None, dict kwargs not None
    ):
        cdef ClientCall call = self.new_origin()
        call.set_request(route, options, hash_key, args, kwargs)
        call.is_local = True
        self.origin = self.call = call
        self.takes_stream = route.takes_stream
        self.gives_stream = route.gives_stream

    # Implemented by the subclass that waits

    cdef ClientCall new_origin(self):
        """Return the call of this stream."""
        raise NotImplementedError

    cdef int attach(self, ClientCall attempt) except -1:
        """Begin an attempt. A stream that sends has one attempt, which it uses from the start."""
        raise NotImplementedError

    cdef int withdraw(self, Call before) except -1:
        """Withdraw the last attempt, which was not sent; `before` is current again."""
        raise NotImplementedError

    cdef int detach(self, ClientCall attempt) noexcept:
        """Detach an attempt, which sends the stream no further events."""
        return 0

    cdef bint take_attempt(self, ClientCall attempt) except -1:
        """Return whether the stream uses this attempt; it uses the first one with a message or metadata."""
        return True

    cdef int show_sign(self) except -1:
        """Record the server's first sign: a message or the initial metadata."""
        raise NotImplementedError

    cdef int attempt_over(self, ClientCall attempt) except -1:
        """Handle the end of an attempt, with or without an error."""
        raise NotImplementedError

    cdef int fail_with(self, object error, int reason) except -1:
        """End the stream from this side: notify the server, and end all waits with the error."""
        raise NotImplementedError

    cdef bint awaits_message(self) noexcept:
        """Return whether the reader waits, and no message was received."""
        return False

    # The end

    def _end(self, error):
        """End the stream: received messages are still returned, then the error is raised; None means a clean end."""
        self._end_sending(error)
        self.end_input(error)

    def _end_sending(self, error):
        """Notify senders that nothing can be sent any more."""
        cdef bint is_fresh = error is None
        if is_fresh:
            error = StreamEndedError(f"{self.origin.route.method}: the server ended the stream")
        self.end_output(error, is_fresh)

    def _kept(self, error):
        """Return an equal error for the stream to keep. A raised error refers to frames, and so to the stream."""
        return twin_of(error)

    def _again(self, error):
        """Return an error equal to the kept one, to be raised."""
        self.fresh_error = None
        return twin_of(error).with_traceback(None)

    # Views

    @property
    def _attempt(self):
        """The attempt whose messages it takes or took last; None before the first."""
        return None if self.call is self.origin else self.call

    @property
    def _window_bytes(self):
        """The bytes that the server may send before messages are taken; 0 before its REQUEST is written."""
        cdef StreamWindow window = self.call.window
        return 0 if window is None else window.first_size + window.growth.grown

    @property
    def _first_block(self):
        """The encoded initial metadata; b"" if missing or before its arrival."""
        return (<ClientCall>self.call).streaming.first_metadata or b""

    @property
    def _first_metadata(self):
        """The initial metadata; None before HEAD or a message came."""
        cdef ClientCall call = <ClientCall>self.call
        if call.streaming.first_metadata is not None:
            return Metadata(decode_metadata(call.streaming.first_metadata))
        return Metadata() if self.has_sign else None

    # Messages received

    cdef object decode(self, bytes payload, int codec, int compressor):
        cdef ClientCall call = <ClientCall>self.call
        if codec != call.route.marshal.codec_id:
            raise DecodeError(
                f"{call.route.method} sent a message in codec {call.numbers.codec_label(codec)}, asked was codec "
                f"{call.route.marshal.coders.codec!r}"
            )
        return call.route.marshal.decode_result(payload)

    cdef int taken(self, Py_ssize_t cost) except -1:
        cdef ClientCall call = <ClientCall>self.call
        return (<CallingPart>call.session.calling).message_taken(call, cost)

    # Messages sent

    @cython.final
    cdef int check_sends(self) except -1:
        """Raise if the program may not send."""
        if not self.takes_stream:
            raise RuntimeError(f"{self.origin.route.method} takes no stream: nothing can be sent to it")
        if self.is_fed:
            raise RuntimeError(f"{self.origin.route.method}: its iterable sends the messages, not send()")
        return 0

    def _check_iterable(self, messages):
        """Raise if `messages` is not iterable, or is a text, which would be sent as characters."""
        if isinstance(messages, (str, bytes)) or not hasattr(messages, "__iter__"):
            raise TypeError(
                f"{self.origin.route.method}: send_many takes an iterable of messages, not {type(messages).__name__}; "
                "send() takes one message"
            )

    @cython.final
    cdef object wrapped(self, object message):
        """Return the result of the interceptors' functions for a message; a function that raises ends the stream."""
        try:
            return self.wrapped_for_sending(message)
        except Exception as error:
            self.fail_with(twin_of(error), CANCEL_USER)
            raise

    @cython.final
    cdef int hand_over(self, bytes payload, uint8_t number) except -1:
        """Hand an encoded message to the connection, and count it."""
        cdef ClientCall call = <ClientCall>self.call
        if self.idle_ns and self._counting_ns != NOT_YET:
            self._counting_ns = now_ns()
        (<CallingPart>call.session.calling).send_message(call, payload, call.codec, number)
        call.route.counters.moved(0, PyBytes_GET_SIZE(payload))
        call.moved_bytes += PyBytes_GET_SIZE(payload)
        call.route.totals.sent(PyBytes_GET_SIZE(payload))
        return 0

    @cython.final
    cdef bint is_worth_compressing(self, bytes payload) noexcept:
        """Return whether a message is long enough to be compressed, and the call is compressed."""
        cdef ClientCall call = <ClientCall>self.call
        return call.compressor and PyBytes_GET_SIZE(payload) > call.options.shared.compress_above

    @cython.final
    cdef bytes compressed(self, bytes payload, uint8_t* number):
        """Compress a message if that helps; `number` is set to the server's number of the compressor."""
        cdef ClientCall call = <ClientCall>self.call
        cdef bytes smaller
        compressor = call.options.compressor
        try:
            smaller = (<CallingPart>call.session.calling).peer.compressed(compressor, compressor.wire_id, payload, number)
        except Exception as error:  # An installed compressor may raise anything.
            raise self._unpackable(error) from error
        return payload if smaller is None else smaller

    def _unpackable(self, error):
        """Return the error of a message that cannot be compressed."""
        name = (<ClientCall>self.call).options.compressor.name
        return EncodeError(f"a message to {self.call.route.method} cannot be compressed by {name}: {error!r}")

    cdef bint output_is_full(self) noexcept:
        cdef ClientCall call = <ClientCall>self.call
        return (<CallingPart>call.session.calling).output_is_full(call)


@cython.final
cdef class StreamLink(Streaming):
    """The link from a call to its stream. It passes on the input of the chosen attempt and drops other input."""

    cdef int message_came(self, Call call, Frame* frame, bytes payload, Py_ssize_t cost) except -1:
        # Held until the stream has the message: the server's first sign may run code that releases the stream.
        cdef ClientStream stream = None if self.stream is NULL else <ClientStream>self.stream
        if stream is None or not (<ClientCall>call).choose():
            return (<CallingPart>(<ClientCall>call).session.calling).message_taken(call, cost)
        if not stream.has_sign:
            stream.show_sign()
        return stream.put(frame, payload, cost)

    cdef int head_came(self, Call call, bytes metadata) except -1:
        # Held for the same reason.
        cdef ClientStream stream = None if self.stream is NULL else <ClientStream>self.stream
        self.first_metadata = metadata
        return stream.show_sign() if stream is not None and (<ClientCall>call).choose() else 0

    cdef int may_send(self) except -1:
        return 0 if self.stream is NULL else (<ClientStream>self.stream).wake_sender()

    cdef int detach(self, Call call) noexcept:
        if self.stream is not NULL:
            (<ClientStream>self.stream).detach(<ClientCall>call)
            self.stream = NULL
        return 0

    cdef int wrap(self, Call call, object function, bint sent) except -1:
        cdef ClientStream stream
        if not callable(function):
            raise TypeError(f"{function!r} is not a function that takes a message and returns one")
        if self.stream is NULL or (<ClientStream>self.stream).is_open:
            raise RuntimeError(f"{call.route.method}: messages are wrapped before `proceed` is called")
        stream = <ClientStream>self.stream
        if sent:
            stream.sent_wraps = [*(stream.sent_wraps or ()), function]
        else:
            stream.received_wraps = [*(stream.received_wraps or ()), function]
        return 0

    cdef str stage(self, Call call):
        cdef ClientCall one = <ClientCall>call
        cdef ClientStream stream = None if self.stream is NULL else <ClientStream>self.stream
        if one.is_settled or one.outcome_status is not None or stream is None or stream.input_ended:
            return "over"
        return "open" if stream.is_open else "new"


cdef Streaming new_streaming(PyObject* stream):
    """Return the state for a call of a stream; NULL is for an attempt that has not begun."""
    cdef StreamLink streaming = StreamLink.__new__(StreamLink)
    streaming.stream = stream
    return streaming


@cython.final
cdef class Gathered:
    """Encoded messages that share one write."""

    def __cinit__(self):
        self.messages = []

    cdef bint is_sent(self) noexcept:
        return self.next >= len(self.messages)

    cdef int hand_over(self, ClientStream stream) except -1:
        """Pass on as many messages as have room; the caller holds the guard of the connection."""
        try:
            while not self.is_sent() and not stream.is_full():
                one = self.messages[self.next]
                self.next += 1
                if type(one) is tuple:
                    stream.hand_over(<bytes>one[0], <uint8_t>one[1])
                else:
                    stream.hand_over(<bytes>one, 0)
        except FastRPCError as error:
            mark_own(error)
            raise
        return 0


cdef bint are_there(object messages) except -1:
    """Return whether all messages of an iterable exist already, so that several may share one write."""
    return isinstance(messages, (list, tuple, range, array))


cdef Gathered gather(ClientStream stream, object source):
    """Encode the next messages of an iterator, up to the bytes of one write."""
    cdef Gathered gathered = Gathered.__new__(Gathered)
    cdef Py_ssize_t size = 0
    cdef bytes payload
    cdef uint8_t number
    try:
        for message in source:
            if stream.sent_wraps is not None:
                message = stream.wrapped(message)
            payload = <bytes>stream.call.route.marshal.encode_message(message)
            number = 0
            if stream.is_worth_compressing(payload):
                payload = stream.compressed(payload, &number)
            check_message(<CallingPart>(<ClientCall>stream.call).session.calling, stream.call, payload)
            gathered.messages.append(payload if number == 0 else (payload, number))
            size += PyBytes_GET_SIZE(payload) + MESSAGE_BYTES
            if size >= GATHERED_BYTES:
                return gathered
    except Exception as error:
        mark_own(error)
        gathered.failure = error
    gathered.is_last = True
    return gathered
