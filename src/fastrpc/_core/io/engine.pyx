"""A byte stream has an engine: the stream does input and output, the engine knows the protocol.

::

    transport ──► ByteStream ── receive, body_place, body_received, eof, lost ──► Engine
                      │      ── check(now), connected, read_done, blocked ──────►   │
                      │      ◄─ pump, output: size, plain, take, skip ───────────   │
                      └◄──────── on_output, schedule_check, finish, cut_off ────────┘

A `Session` or `BlockingStream` holds its engine, which borrows the stream. Users of a connection, such as calls and
pools, hold the engine, so it may outlive the stream. Only bytes and instants pass between stream and engine: a layer
that encrypts is below the stream.

A read of `Session` costs ten calls between stream and engine, however many RPC calls it carries: body_place, receive,
read_done; pump, the output's size twice, plain, skip; rest, flushed. A small rest of large messages costs some more;
`on_output` is only called outside a read. `BlockingStream` never calls read_done, blocked and unblocked.

`Session` is the stream of an event loop, `BlockingStream` of the blocking client. `Connection` is the engine of the
native protocol.

`PythonEngine` is the base of protocols that are written in Python::

    Engine.receive ──► receive_data(bytes)        send(bytes) ──► Engine.output
    Engine.check ────► check_at(instant)          schedule_check(instant)
    Engine.connected, eof, lost ──► connection_made, eof_received, connection_lost

The names are the ones of asyncio and h2. A read costs a few Python calls; protocols on a hot path are compiled.
"""

import logging

from cpython.bytes cimport PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from fastrpc._core.base.wire cimport now_ns

logger = logging.getLogger("fastrpc")


cdef class ByteStream(Timed):
    """The input and output of one connection, as its engine sees it."""

    def __dealloc__(self):
        if self._engine is not NULL:
            (<Engine>self._engine)._stream = NULL

    cdef int on_hang_up(self, bint is_reset) except -1:
        """End as after reading the input, but drop unread bytes: the peer disconnected while its input was paused."""
        cdef Engine engine
        if self._engine is NULL or self.is_ending():
            return 0
        if is_reset:
            return self.cut_off()
        engine = <Engine>self._engine
        if engine.hears_rest_first():
            return 0
        engine.now = now_ns()
        engine.eof()
        self.finish(False)
        return 0

    cdef int on_output(self) except -1:
        """Note that there is output outside a read, so that no end of a read flushes it."""
        return 0

    cdef int flush(self) except -1:
        """Write as much as the transport accepts now."""
        return 0

    cdef int push(self) except -1:
        """Flush immediately, outside any call from the stream."""
        return self.flush()

    cdef bint ask_turn(self) except -1:
        """Let runnable tasks run, then call `Engine.turn_over` and flush. Return False if there are no tasks."""
        return False

    cdef int schedule_check(self, uint64_t due_ns) except -1:
        """Call `Engine.check` at that instant or earlier."""
        return 0

    cdef bint ends_turn(self) except -1:
        """Return whether the rest of a read has to wait for another turn; asked after several messages."""
        return False

    cdef int hold_input(self) except -1:
        """Pass on no received bytes, and read no more, until `release_input`."""
        return 0

    cdef int release_input(self) except -1:
        """Handle the bytes that were received in the meantime, in a separate turn."""
        return 0

    cdef bint waits_for_turn(self) noexcept:
        """Return whether received bytes wait for their turn; nothing is read until then."""
        return False

    cdef bint has_unread(self) except -1:
        """Return whether the peer sent something that the engine has not seen."""
        return False

    cdef bint is_stuck(self) noexcept:
        """Return whether the transport accepts no output at present."""
        return False

    cdef bint sends_at_once(self) noexcept:
        """Return whether a flush sends immediately, not in a later callback of the loop."""
        return False

    cdef bint flushes_soon(self) noexcept:
        """Return whether a flush follows at the end of this turn of the loop."""
        return False

    cdef int64_t untaken_bytes(self) except? -1:
        """Return how many bytes of output wait in the transport."""
        return 0

    cdef int64_t kept_bytes(self) except? -1:
        """Return the memory of output in the transport in bytes; long output is freed only with its last byte."""
        return self.untaken_bytes()

    cdef int64_t taken_bytes(self) except? -1:
        """Return how many bytes have left this machine, as far as known."""
        return 0

    cdef bint finish(self, bint lingers) except -1:
        """Write the rest of the closed engine's output, then end the stream.

        With `lingers` continue to read until the peer closes, so that no reset discards the last output. Return whether
        it continues to read.
        """
        return False

    cdef int cut_off(self) except -1:
        """End the stream immediately; unsent bytes are lost."""
        return 0

    cdef int hold_back(self, bint is_held_back) except -1:
        """Stop reading until this is called with False."""
        return 0

    cdef bint is_ending(self) except -1:
        """Return whether nothing more is read: the stream is lost, or about to be."""
        return False

    cdef int engine_ready(self) except -1:
        """Note that the peer has stated its capabilities: its opening is over."""
        return 0


cdef class Engine:
    """The protocol of one connection, without input and output."""

    def __cinit__(self):
        self.output = OutputBuffer()

    def __dealloc__(self):
        if self._stream is not NULL:
            (<ByteStream>self._stream)._engine = NULL
        if self._known_at is not NULL:
            self._known_at[0] = NULL

    @property
    def stream(self):
        """The stream below, or None."""
        return None if self._stream is NULL else <object>self._stream

    @property
    def transport(self):
        """The transport of the stream; None before it is connected and once it is lost."""
        return None if self._stream is NULL else getattr(<object>self._stream, "transport", None)

    @property
    def peer_name(self):
        """The address of the peer as the transport reports it, or None."""
        return None if self._stream is NULL else getattr(<object>self._stream, "peer_name", None)

    @property
    def peer_takes(self):
        """Return "calls" or "pushes" if the other side serves this one, otherwise None."""
        return None

    def abort(self):
        """Close immediately; unsent bytes are lost."""
        cdef ByteStream stream
        if self._stream is not NULL:
            stream = <ByteStream>self._stream
            stream.cut_off()

    # Bytes in

    cdef Py_ssize_t receive(self, const char* data, Py_ssize_t size) except -1:
        """Handle received bytes; return how many were consumed.

        The rest is an incomplete message, or has to wait because `ByteStream.ends_turn` returned True.
        """
        return size

    cdef char* body_place(self, Py_ssize_t* room) except? NULL:
        """Return the final memory of a long payload, into which the next bytes are received, or NULL."""
        return NULL

    cdef int body_received(self, Py_ssize_t size) except -1:
        """Note that `size` bytes were received at the last place."""
        return 0

    cdef object body_owner(self):
        """Return the owner of the last place: it has to stay alive while a system call writes there."""
        return None

    cdef bint completes_body(self, Py_ssize_t size) noexcept:
        """Return whether `size` further bytes complete the payload, so that the engine has work to do."""
        return True

    cdef bint has_to_wait(self) except -1:
        """Return whether the rest of this read has to wait for another turn; asked after several messages."""
        self.messages_left = MESSAGES_AT_ONCE
        return self._stream is not NULL and (<ByteStream>self._stream).ends_turn()

    cdef int eof(self) except -1:
        """Handle that the peer sends no more, or accepts no more output; the stream closes."""
        return 0

    cdef bint hears_rest_first(self) except -1:
        """Return whether to handle held input before the end of the input, which the peer has sent.

        An engine returns True if the connection survives the end of its input, and no work has to be cancelled
        immediately.
        """
        return False

    cdef int lost(self, object error) except -1:
        """Handle the end of the stream: all work under way ends."""
        return 0

    # Bytes out

    cdef int pump(self) except -1:
        """Move the output that may be sent now into `output`."""
        return 0

    cdef int rest(self) noexcept:
        """Return what a further `pump` may find once the stream has taken the output: NOTHING, LITTLE, or MUCH."""
        return NOTHING

    # Time

    cdef uint64_t check(self, uint64_t now) except? 0:
        """Compare every deadline with now; return the next one, 0 = none."""
        return 0

    # Events of the stream

    cdef int connected(self) except -1:
        """The stream is connected."""
        return 0

    cdef int read_done(self) except -1:
        """Note that a read was handled; a flush follows."""
        return 0

    cdef int heard_below(self) except -1:
        """Note that bytes arrived that belong to the handshake of the layer below."""
        return 0

    cdef int turn_over(self) except -1:
        """Note that the turn of the loop that `ByteStream.ask_turn` asked for is over; a flush follows."""
        return 0

    cdef int flushed(self) except -1:
        """Note that the stream has accepted as much output as it can."""
        return 0

    cdef uint64_t blocked(self) except? 0:
        """Note that output waits: the stream is full, or nothing may be sent. Return when to check this, 0 = never."""
        return 0

    cdef int unblocked(self) except -1:
        """Note that the stream accepts output again."""
        return 0

    cdef int stalled(self) except -1:
        """Note that this read's bytes waited (`came_ns`), the loop was blocked, or stalls are not watched."""
        return 0

    cdef int was_late(self, uint64_t late) except -1:
        """Input was not read for `late` nanoseconds, 0: for an unknown time. Silence of the peer proves nothing."""
        return 0

    cdef int tail_changed(self, Py_ssize_t change) except -1:
        """Note that `change` more received bytes wait for their turn."""
        return 0

    cdef int left_behind(self) except -1:
        """End the connection in the child of a fork, without notice to the peer: the stream is the parent's."""
        return 0

    cdef bint may_spin(self) noexcept:
        """Return whether the stream may be read without the loop."""
        return not self.is_closed

    cdef int crash(self) except -1:
        """Close the connection after an internal error that lost a part of the input."""
        self.abort()
        return 0

    cdef int report_crash(self, object error) except -1:
        """Log an internal error, and close the connection because of it."""
        try:
            logger.error("fastrpc: internal error on a connection of %s", self.peer_name, exc_info=error)
        finally:
            # A log may raise as well.
            try:
                self.crash()
            except Exception as problem:
                self.abort()
                logger.error("fastrpc: cannot report an internal error to %s", self.peer_name, exc_info=problem)
        return 0

    cdef int end_endless(self, Py_ssize_t size) except -1:
        """Close the connection of a peer whose message is longer than the receive buffer."""
        logger.warning(
            "closed the connection of %s: its engine consumed none of %d bytes, the size of the receive buffer",
            self.peer_name, size,
        )
        return self.crash()


cdef int bind(Engine engine, ByteStream stream) except -1:
    """Connect an engine and its stream. One of the two has to hold the other."""
    if engine._stream is not NULL or stream._engine is not NULL:
        raise RuntimeError("the engine or the stream is already bound: each engine has one stream")
    engine._stream = <PyObject*>stream
    stream._engine = <PyObject*>engine
    return 0


cdef class PythonEngine(Engine):
    """An engine whose protocol is written in Python."""

    # An engine in Python implements these

    def connection_made(self):
        """The stream is connected."""

    def receive_data(self, data):
        """Handle received bytes; return how many were consumed."""
        raise NotImplementedError(f"{type(self).__name__} does not implement receive_data()")

    def check_at(self, now):
        """Compare the engine's instants with now, in nanoseconds; return the next one, 0 = none."""
        return 0

    def eof_received(self):
        """Handle that the peer sends no more; the stream closes."""

    def connection_lost(self, error):
        """The stream is gone."""

    # The protocol calls these

    def send(self, bytes data not None):
        """Send bytes: at the end of the read that is handled now, else in the next turn of the loop."""
        if self.is_closed:
            return
        self.output.put(data, 0, PyBytes_GET_SIZE(data))
        self.written()

    def turn_is_over(self):
        """Note a handled message. Return whether the rest of the data has to wait: it is presented again."""
        self.messages_left -= 1
        return self.messages_left < 0 and self.has_to_wait()

    def schedule_check(self, uint64_t due_ns):
        """Have `check_at` called at an instant or earlier; 0: never."""
        if self._stream is not NULL and due_ns:
            (<ByteStream>self._stream).schedule_check(due_ns)

    def hold_back(self, bint is_held_back):
        """Stop reading until this is called with False."""
        if self._stream is not NULL:
            (<ByteStream>self._stream).hold_back(is_held_back)

    def unsent_bytes(self):
        """Return how many bytes of output the peer has not received."""
        return self.unsent_output()

    def taken_bytes(self):
        """Return how many bytes of output have left this machine, as far as known."""
        return 0 if self._stream is NULL else (<ByteStream>self._stream).taken_bytes()

    def close(self, reason=0, text=""):
        """Close once all output is sent. A protocol that can state a reason sends it first."""
        cdef ByteStream stream
        if self.is_closed or self._stream is NULL:
            return
        self.is_closed = True
        stream = <ByteStream>self._stream
        stream.finish(False)

    # The engine

    cdef Py_ssize_t receive(self, const char* data, Py_ssize_t size) except -1:
        cdef Py_ssize_t consumed
        if self.is_closed:
            return size
        consumed = self.receive_data(PyBytes_FromStringAndSize(data, size))
        if not 0 <= consumed <= size:
            raise ValueError(f"receive_data() of {type(self).__name__} consumed {consumed} of {size} bytes")
        return consumed

    cdef int connected(self) except -1:
        self.connection_made()
        return 0

    cdef int eof(self) except -1:
        self.eof_received()
        return 0

    cdef bint hears_rest_first(self) except -1:
        return self.outlasts_input

    cdef int lost(self, object error) except -1:
        self.connection_lost(error)
        return 0

    cdef uint64_t check(self, uint64_t now) except? 0:
        return self.check_at(now)
