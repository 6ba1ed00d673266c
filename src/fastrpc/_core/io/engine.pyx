"""A byte stream has an engine: the stream does input and output, the engine knows the protocol.

::

    transport ──► ByteStream ── receive, body_place, body_received, eof, lost ──► Engine
                      │      ── check(now), connected, read_done, blocked ──────►   │
                      │      ◄─ pump, output: size, plain, take, skip ───────────   │
                      └◄──────── on_output, schedule_check, finish, cut_off ────────┘

A `Session` holds its engine, which borrows its stream: users of a connection, such as calls and pools, hold the engine,
so it may outlive the stream. The same holds for a `BlockingStream`. Only bytes and instants pass between the two: a
layer that encrypts is below the stream.

A read costs ten crossings, however many calls it carries: body_place, receive, read_done; pump, the output's size
twice, plain, skip; rest, flushed. A small rest of large messages costs some more, and `on_output` crosses only outside
a read. These are the crossings in a read of `Session`; `BlockingStream` never calls read_done, blocked and unblocked.

`Session` is the stream of an event loop, `BlockingStream` of the blocking client. `Connection` is the engine of the
native protocol.

`PythonEngine` is the base of protocols that are written in Python::

    Engine.receive ──► receive_data(bytes)        send(bytes) ──► Engine.output
    Engine.check ────► check_at(instant)          schedule_check(instant)
    Engine.connected, eof, lost ──► connection_made, eof_received, connection_lost

asyncio and h2 have the same names. A read costs a few calls of Python; a protocol on a hot path is compiled.
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
        """Note that there is output, and no read whose end would flush it."""
        return 0

    cdef int flush(self) except -1:
        """Write as much as the stream accepts now."""
        return 0

    cdef int push(self) except -1:
        """Flush now, although no call of the stream led to this output."""
        return self.flush()

    cdef bint ask_turn(self) except -1:
        """Let the tasks that can run have their turn, then call `Engine.turn_over` and flush. False: there are no tasks."""
        return False

    cdef int schedule_check(self, uint64_t due_ns) except -1:
        """Call `Engine.check` at that instant, or before."""
        return 0

    cdef bint ends_turn(self) except -1:
        """Several messages of one read were handled. Return whether the rest has to wait for another turn."""
        return False

    cdef int hold_input(self) except -1:
        """Pass no more received bytes on, and read nothing more, until `release_input`."""
        return 0

    cdef int release_input(self) except -1:
        """Handle the bytes that were received meanwhile, in a separate turn."""
        return 0

    cdef bint waits_for_turn(self) noexcept:
        """Return whether received bytes wait for their turn; nothing is read until then."""
        return False

    cdef bint has_unread(self) except -1:
        """Return whether the peer sent something that the engine has not seen."""
        return False

    cdef bint is_stuck(self) noexcept:
        """Return whether the stream takes no output at present."""
        return False

    cdef bint sends_at_once(self) noexcept:
        """Return whether a flush sends, before the loop gets its turn."""
        return False

    cdef bint flushes_soon(self) noexcept:
        """Return whether a flush follows at the end of this turn of the loop."""
        return False

    cdef int64_t untaken_bytes(self) except? -1:
        """Return how many bytes of output lie in the stream."""
        return 0

    cdef int64_t kept_bytes(self) except? -1:
        """Return the bytes of memory of the output in the stream: a long output is freed with its last byte."""
        return self.untaken_bytes()

    cdef int64_t taken_bytes(self) except? -1:
        """Return how many bytes left this machine, as far as known."""
        return 0

    cdef bint finish(self, bint lingers) except -1:
        """Write the rest of the output of the engine, which is closed, then end the stream.

        With `lingers` read on until the peer closes, so that no reset discards the last output. Return whether it reads
        on.
        """
        return False

    cdef int cut_off(self) except -1:
        """End the stream at once; unsent bytes are lost."""
        return 0

    cdef int hold_back(self, bint is_held_back) except -1:
        """Read no further until this is called with False."""
        return 0

    cdef bint is_ending(self) except -1:
        """Return whether nothing more is read: the stream is lost, or about to be."""
        return False

    cdef int engine_ready(self) except -1:
        """Note that the peer has stated its abilities: its opening is over."""
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
        """The name that the transport has for the other side, or None."""
        return None if self._stream is NULL else getattr(<object>self._stream, "peer_name", None)

    @property
    def peer_takes(self):
        """Return "calls" or "pushes" if the other side serves this one, otherwise None."""
        return None

    def abort(self):
        """Close at once; unsent bytes are lost."""
        cdef ByteStream stream
        if self._stream is not NULL:
            stream = <ByteStream>self._stream
            stream.cut_off()

    # Bytes in

    cdef Py_ssize_t receive(self, const char* data, Py_ssize_t size) except -1:
        """Handle received bytes; return how many were consumed.

        The rest is an incomplete message, or has to wait as `ByteStream.ends_turn` said.
        """
        return size

    cdef char* body_place(self, Py_ssize_t* room) except? NULL:
        """Return the final memory of a long payload, to receive the next bytes into, or NULL."""
        return NULL

    cdef int body_received(self, Py_ssize_t size) except -1:
        """`size` bytes were received at the last place."""
        return 0

    cdef object body_owner(self):
        """Return the owner of the last place: it has to live while a system call writes there."""
        return None

    cdef bint completes_body(self, Py_ssize_t size) noexcept:
        """Return whether `size` further bytes complete the payload, so that they make work."""
        return True

    cdef bint has_to_wait(self) except -1:
        """Several messages of this read were handled. Return whether the rest has to wait for another turn."""
        self.messages_left = MESSAGES_AT_ONCE
        return self._stream is not NULL and (<ByteStream>self._stream).ends_turn()

    cdef int eof(self) except -1:
        """Handle that the peer sends no more, or accepts no more output; the stream closes."""
        return 0

    cdef bint hears_rest_first(self) except -1:
        """The peer has ended its input while some of it is held: return whether to handle the held input first.

        An engine returns True if the connection survives the end of its input, and no work has to be ended at once.
        """
        return False

    cdef int lost(self, object error) except -1:
        """Handle that the stream has ended: all work under way ends."""
        return 0

    # Bytes out

    cdef int pump(self) except -1:
        """Move what may be sent now into the output."""
        return 0

    cdef int rest(self) noexcept:
        """Return what a further `pump` may find once the stream has taken the output: NOTHING, LITTLE, or MUCH."""
        return NOTHING

    # Time

    cdef uint64_t check(self, uint64_t now) except? 0:
        """Compare every running instant with now; return the next one at which something is due, 0 = none."""
        return 0

    # Events of the stream

    cdef int connected(self) except -1:
        """The stream is connected."""
        return 0

    cdef int read_done(self) except -1:
        """All that was received is handled; a flush follows."""
        return 0

    cdef int heard_below(self) except -1:
        """Note that bytes arrived which the layer below keeps for its own handshake."""
        return 0

    cdef int turn_over(self) except -1:
        """The turn of the loop that `ByteStream.ask_turn` asked for is over; a flush follows."""
        return 0

    cdef int flushed(self) except -1:
        """The stream has all output that it takes."""
        return 0

    cdef uint64_t blocked(self) except? 0:
        """The stream takes no output, or none may be sent though some waits. Return when to check that, 0 = never."""
        return 0

    cdef int unblocked(self) except -1:
        """The stream takes output again."""
        return 0

    cdef int stalled(self) except -1:
        """Note that the bytes of this read waited (`came_ns`), the loop was blocked, or stalls are not watched."""
        return 0

    cdef int was_late(self, uint64_t late) except -1:
        """Input was not read for `late` nanoseconds, 0: for an unknown time. Silence of the peer proves nothing."""
        return 0

    cdef int tail_changed(self, Py_ssize_t change) except -1:
        """`change` more received bytes wait for their turn."""
        return 0

    cdef int left_behind(self) except -1:
        """In the child of a fork the stream is the parent's: end the connection here, without notice to the peer."""
        return 0

    cdef bint may_spin(self) noexcept:
        """Return whether the stream may be read past the loop."""
        return not self.is_closed

    cdef int crash(self) except -1:
        """An internal error lost a part of the input: close the connection."""
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
                logger.error("fastrpc: cannot tell %s about it", self.peer_name, exc_info=problem)
        return 0

    cdef int end_endless(self, Py_ssize_t size) except -1:
        """Close the connection of a peer whose message is longer than the bytes that are received at once."""
        logger.warning(
            "closed the connection of %s: its engine left all of %d bytes, as many as are received at once",
            self.peer_name, size,
        )
        return self.crash()


cdef int bind(Engine engine, ByteStream stream) except -1:
    """Give an engine its stream. One of the two is to hold the other."""
    if engine._stream is not NULL or stream._engine is not NULL:
        raise RuntimeError("an engine has one stream, and a stream has one engine")
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
        """Have `check_at` called at an instant, or earlier; 0: at no instant."""
        if self._stream is not NULL and due_ns:
            (<ByteStream>self._stream).schedule_check(due_ns)

    def hold_back(self, bint is_held_back):
        """Read no further until this is called with False."""
        if self._stream is not NULL:
            (<ByteStream>self._stream).hold_back(is_held_back)

    def unsent_bytes(self):
        """Return the bytes of output that the peer has not taken."""
        return self.unsent_output()

    def taken_bytes(self):
        """Return the bytes of output that have left this machine, as far as known."""
        return 0 if self._stream is NULL else (<ByteStream>self._stream).taken_bytes()

    def close(self, reason=0, text=""):
        """Close once all output is sent; a protocol that can state the reason sends it first."""
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
