"""The byte stream of a blocking connection. Threads share it: at any time at most one receives and one sends.

A thread holds the guard while it touches the connection. It releases the guard and the GIL around every system call
that may wait. It keeps both to send small output: that takes microseconds, and getting the GIL back can take longer.

The stream carries bytes and instants. It reports other events to the `StreamEvents` that it holds, and knows no call.
"""

import logging
import os
import socket

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from cpython.memoryview cimport PyMemoryView_GET_BUFFER
from cpython.pythread cimport (
    NOWAIT_LOCK,
    PyThread_acquire_lock,
    PyThread_allocate_lock,
    PyThread_free_lock,
    PyThread_get_thread_ident,
    WAIT_LOCK,
)
from libc.errno cimport EAGAIN
from libc.string cimport memmove

from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.io.engine cimport bind
from fastrpc._core.io.layer cimport unsent_in_socket
from fastrpc._core.io.socket_io cimport INTERRUPTED, POLLIN, POLLOUT, iovec

cdef enum:
    # The bytes received at once, and room for the largest head.
    READ_BLOCK = 262_144
    # The most unused blocks that are kept. More threads may read at a time, each on its own connection.
    KEPT_BLOCKS = 8
    # The most parts of the output in one system call.
    PARTS = 16
    # Output up to this size is sent without giving up the GIL.
    SENT_INSIDE = 32_768
    # Rounds of sending or reading before a thread does something else.
    ROUNDS = 16
    # Rounds of reading that fetch the remaining input after a failed write, about 256 MiB.
    READ_AT_THE_END = 64

# The time without a received byte after which the connection has rested. If MUCH_UNREAD bytes are unread then, more
# bytes are on their way, perhaps followed by the end of the stream, and are waited for. The wait for each piece is
# bounded.
cdef uint64_t REST_NS = 20_000_000
cdef Py_ssize_t MUCH_UNREAD = 65_536
cdef uint64_t FOLLOWS_NS = 5_000_000

# A connection that was read within this time is not checked before a write: newer input may be on its way anyway.
cdef uint64_t FRESH_NS = 20_000

cdef list free_blocks = []

logger = logging.getLogger("fastrpc.client")


cdef class StreamEvents:
    """The events of a blocking stream, for threads that wait for more than answers."""

    cdef int became_ready(self) except -1:
        """The engine has the peer's settings and can make calls."""
        raise NotImplementedError

    cdef int left_behind(self) except -1:
        """This process is a forked child, without the threads that wait."""
        raise NotImplementedError

    cdef int output_left(self, BlockingStream stream) except -1:
        """The system has taken all output."""
        raise NotImplementedError

    cdef int finished(self, BlockingStream stream, str why) except -1:
        """The engine has closed the connection, and failed its calls."""
        raise NotImplementedError

    cdef int lost(self, BlockingStream stream, object error) except -1:
        """The stream ended by an error, or, if it is None, by the peer; the engine has failed its calls."""
        raise NotImplementedError


@cython.final
cdef class BlockingStream(ByteStream):
    """The input and output of one blocking connection. It holds its engine."""

    def __cinit__(self):
        self.guard = PyThread_allocate_lock()
        if self.guard is NULL:
            raise MemoryError
        # Never None, even before `open`, so hot paths do not check.
        self.engine = Engine.__new__(Engine)
        self.events = StreamEvents.__new__(StreamEvents)
        self.io = BlockingIO.__new__(BlockingIO)
        self.sleepers = {}
        self.parts = []

    def __dealloc__(self):
        if self.guard is not NULL:
            PyThread_free_lock(self.guard)

    cdef int open(self, Engine engine, BlockingIO io, object endpoint) except -1:
        """Carry the bytes of an engine over an `io` that is connected."""
        bind(engine, self)
        self.engine = engine
        self.io = io
        self.endpoint = endpoint
        self.generation = fork_generation()
        engine.now = engine.received_ns = now_ns()
        return 0

    cdef int enter(self) except -1:
        """Take the guard."""
        cdef unsigned long thread = PyThread_get_thread_ident()
        self.check_process()
        if not PyThread_acquire_lock(self.guard, NOWAIT_LOCK):
            if self.holder == thread:
                raise RuntimeError("a SyncClient was used inside itself, by a finalizer or by a signal handler")
            # The caller keeps `self` alive.
            with nogil:
                PyThread_acquire_lock(self.guard, WAIT_LOCK)
        self.holder = thread
        return 0

    cdef bint enter_now(self) noexcept:
        """Take the guard if it is free, and return whether it was."""
        if not PyThread_acquire_lock(self.guard, NOWAIT_LOCK):
            return False
        self.holder = PyThread_get_thread_ident()
        return True

    cdef int check_signals(self) except -1:
        """Run signal handlers, without the guard. If a handler forks, this thread returns in the child, too."""
        PyErr_CheckSignals()
        return self.check_process()

    cdef int leave_behind(self) except -1:
        """In the child of a fork: leave the stream to the parent, which continues to use it; nothing is written or shut
        down.

        Threads of the parent are not here. Objects that they hold and wait for are not touched.
        """
        # A thread of the parent may hold the old guard for ever.
        cdef PyThread_type_lock guard = PyThread_allocate_lock()
        if guard is NULL:
            raise MemoryError
        self.events.left_behind()
        self.guard = guard
        self.holder = 0
        self.generation = fork_generation()
        self.is_left_behind = self.is_lost = self.is_shut = True
        self.is_sending = self.has_news = self.receiver_pushes = False
        self.receiver = self.pusher = None
        self.sleepers = {}
        self.parts = []
        self.part_at = 0
        self.engine.is_closed = True
        self.engine.is_usable = False
        self.engine.left_behind()
        self.io.close()
        return 0

    # Receiving

    @cython.nonecheck(False)
    cdef bint look_before(self, uint64_t now, uint64_t due_ns) except -1:
        """Before a write: read all available input, unless input arrived just before `now`.

        The end of the stream may follow any amount of bytes. If the peer does not stop, reading ends at `due_ns`, and
        the result is False.
        """
        cdef Engine engine = self.engine
        engine.now = max(engine.now, now)
        if engine.now < engine.received_ns + FRESH_NS:
            return True
        if self.look():
            return True
        while not self.look(MUCH_UNREAD):
            if now_ns() >= due_ns:
                return False
            # Give other threads and signals a turn.
            self.leave()
            try:
                self.check_signals()
                with nogil:
                    pass
            finally:
                self.enter()
        return True

    @cython.nonecheck(False)
    cdef bint look(self, Py_ssize_t unread=0) except -1:
        """Process the input, including the end of the stream, unless a thread is reading; return whether nothing is left.

        `unread` is the number of bytes that earlier calls have read.
        """
        cdef Py_ssize_t came, room = 0
        cdef int rounds = 0, ready = 0
        cdef bint goes_on = unread > 0
        cdef BlockingIO io = self.io
        cdef Engine engine = self.engine
        cdef uint64_t heard_ns = engine.received_ns
        if self.receiver is not None or engine.is_closed:
            return True
        engine.was_late(0)
        while not engine.is_closed and rounds < ROUNDS:
            came = io.receive(self.place_for(&room), room)
            if came == -EAGAIN:
                if unread < MUCH_UNREAD or not (goes_on or engine.received_ns > heard_ns + REST_NS):
                    return True
                # The guard is kept during the wait: no other thread could do anything useful.
                with nogil:
                    ready = io.wait(POLLIN, now_ns() + FOLLOWS_NS)
                if ready <= 0:
                    return True
                continue
            unread += max(came, 0)
            self.took_in(came)
            rounds += 1
        return engine.is_closed

    @cython.nonecheck(False)
    cdef char* place_for(self, Py_ssize_t* room) except NULL:
        """Return the place to receive into: a long payload's memory, else the block after its unread bytes."""
        cdef char* place
        try:
            place = self.engine.body_place(room)
        except MemoryError:
            # The block that could not grow has the start of the payload, so the rest cannot be parsed.
            self.engine.crash()
            raise
        self.in_body = place is not NULL
        if self.in_body:
            return place
        if self.block is None:
            self.block = <ReadBuffer>free_blocks.pop() if free_blocks else ReadBuffer(READ_BLOCK)
        room[0] = self.block.capacity - self.tail
        return self.block.data + self.tail

    @cython.nonecheck(False)
    cdef int took_in(self, Py_ssize_t came) except -1:
        """Process bytes in the last place, or the end of the stream, or an error (-errno)."""
        cdef Py_ssize_t size, consumed
        cdef Engine engine = self.engine
        if engine.is_closed:
            return 0
        if came <= 0:
            return self.lose(None if came == 0 else self.io.failure or OSError(-came, os.strerror(-came)))
        engine.now = engine.received_ns = now_ns()
        try:
            if self.in_body:
                engine.body_received(came)
                return 0
            size = self.tail + came
            consumed = engine.receive(self.block.data, size)
            self.tail = size - consumed
            if self.tail and consumed:
                memmove(self.block.data, self.block.data + consumed, self.tail)
        except BaseException as error:
            # Half a frame was processed, so the rest cannot be parsed.
            if isinstance(error, Exception):
                logger.error("fastrpc: internal error on a connection to %s", self.endpoint, exc_info=error)
            engine.crash()
            if not isinstance(error, Exception):
                raise
        return 0

    cdef Py_ssize_t wait_outside(self, char* place, Py_ssize_t room, uint64_t due_ns, uint64_t spin_ns) except? -1:
        """Receive into the last place, or with NULL wait until the system takes output; the guard is released meanwhile.

        In the child of a fork the result is INTERRUPTED.
        """
        cdef Py_ssize_t came = INTERRUPTED
        cdef BlockingIO io = self.io
        cdef bint fill = self.in_body, push = self.receiver_pushes
        cdef short events = POLLOUT if self.parts else 0
        self.system_calls += 1
        self.leave()
        try:
            # Checked before the wait, too: the last turn may have ended with bytes and a signal at once.
            self.check_signals()
            if not self.is_left_behind:
                with nogil:
                    if place is NULL:
                        came = io.wait(events, due_ns)
                    else:
                        came = io.receive_until(place, room, fill, push, due_ns, spin_ns)
                if came == INTERRUPTED:
                    self.check_signals()
        finally:
            self.enter()
            self.system_calls -= 1
        return came

    @cython.nonecheck(False)
    cdef int return_block(self) except -1:
        """Give the block back when it is unused."""
        if self.block is not None and self.tail == 0 and self.receiver is None:
            if len(free_blocks) < KEPT_BLOCKS:
                free_blocks.append(self.block)
            self.block = None
        return 0

    # Sending

    cdef int on_output(self) except -1:
        self.has_news = True
        return 0

    @cython.nonecheck(False)
    cdef int send_all(self, bint stays_inside) except -1:
        """Send as much as the system takes without waiting; if allowed, large output is sent without the guard."""
        cdef iovec[PARTS] vectors
        cdef Py_ssize_t size = 0, sent = 0, count, rounds = 0
        cdef Engine engine = self.engine
        self.check_process()
        while not self.is_shut and self.write_error is None:
            if not self.parts:
                self.has_news = False
                if not engine.is_closed:
                    engine.pump()
                if not engine.output.size():
                    return 0
                if _send_plain(self, engine, &sent):
                    continue
                output = engine.output.take()
                self.parts = <list>output if type(output) is list else [output]
                if sent > 0:
                    _sent(self, sent)
            count = gather(self.parts, self.part_at, vectors, &size)
            if stays_inside or size <= SENT_INSIDE:
                sent = self.io.send_parts(vectors, <int>count)
            else:
                sent = _send_outside(self, vectors, <int>count)
            if sent == -EAGAIN:
                self.has_news = False
                return 0
            if sent < 0:
                return _cannot_write(self, <int>-sent)
            _sent(self, sent)
            rounds += 1
            if rounds >= ROUNDS and self.sleepers and not self.parts:
                # More output may wait, of other threads too: one of them has to continue.
                self.has_news = True
                return 0
        return 0

    cdef bint is_stuck(self) noexcept:
        return len(self.parts) > 0

    cdef int64_t untaken_bytes(self) except? -1:
        return sum([len(part) for part in self.parts]) - self.part_at + self.io.unsent()

    cdef int64_t taken_bytes(self) except? -1:
        # Bytes in the system's buffer do not count as sent, as in a session of a loop.
        return self.written - self.io.unsent() - unsent_in_socket(self.io.descriptor)

    # The roles

    @cython.nonecheck(False)
    cdef bint wants_pusher(self) noexcept:
        """Return whether output waits for the system, a thread or an instant, and no thread watches for it.

        The receiver watches for instants too, except those set after its wait began.
        """
        if self.is_sending or self.pusher is not None or self.write_error is not None:
            return False
        if self.look_due_ns < self.receiver_due_ns:
            return True
        return not self.receiver_pushes and (self.has_news or len(self.parts) > 0)

    cdef int wake_one(self) except -1:
        """Wake the thread that has slept longest."""
        return (<Wait>next(iter(self.sleepers))).wake()

    # Requests of the engine

    cdef int schedule_check(self, uint64_t due_ns) except -1:
        self.look_due_ns = min(self.look_due_ns, due_ns)
        return 0

    cdef int engine_ready(self) except -1:
        return self.events.became_ready()

    cdef bint finish(self, bint lingers) except -1:
        self.events.finished(self, getattr(self.engine, "closed_text", None) or "it was closed")
        return False

    # The end

    cdef int lose(self, object error) except -1:
        """The stream is gone."""
        cdef Engine engine = self.engine
        if engine.is_closed:
            return 0
        engine.is_closed = self.is_lost = True
        try:
            engine.lost(self.write_error if error is None else error)
        finally:
            self.events.lost(self, self.write_error if error is None else error)
        return 0

    cdef int cut_off(self) except -1:
        return self.lose(ConnectionAbortedError("it was aborted"))

    cdef int wind_up(self, bint lingers) except -1:
        """Send the last frames and close the stream, now or when the last system call on it returns."""
        if self.io.descriptor < 0 or self.is_sending:
            return 0
        if not self.is_shut:
            if not self.is_lost:
                self.send_all(True)
            self.is_shut = True
            self.parts = []
            self.part_at = 0
            # Threads that wait on it have to wake up.
            self.shut(socket.SHUT_RDWR if self.system_calls else socket.SHUT_WR)
        if self.system_calls == 0 and not lingers:
            self.io.close()
        return 0

    cdef int linger(self, uint64_t due_ns) except -1:
        """Read and discard until the server closes, as a reset because of unread input would discard the last frames."""
        cdef Py_ssize_t came = 1, room = 0
        cdef char* place
        cdef ReadBuffer block
        self.tail = 0
        place = self.place_for(&room)
        self.in_body = False
        # The loop holds the block: otherwise another thread would give it to another connection.
        block = self.block
        self.block = None
        while (came > 0 or came == INTERRUPTED) and not self.is_left_behind:
            came = self.wait_outside(place, room, due_ns, 0)
        self.block = block
        return 0

    cdef int shut(self, int how) except -1:
        try:
            self.io.shut_down(how)
        except OSError:
            # The peer closed first.
            self.is_lost = True
        return 0


@cython.nonecheck(False)
cdef bint _send_plain(BlockingStream stream, Engine engine, Py_ssize_t* sent) except -1:
    """Send all output in one piece, the common case; return False if the system took only `sent` bytes."""
    cdef Py_ssize_t size = 0
    cdef const char* data = engine.output.plain(&size)
    sent[0] = 0
    if data is NULL or size > SENT_INSIDE:
        return False
    sent[0] = stream.io.send(data, size)
    if sent[0] != size:
        return False
    engine.output.skip()
    stream.written += size
    _sent(stream, 0)
    return True


cdef Py_ssize_t _send_outside(BlockingStream stream, iovec* vectors, int count) except? -1:
    cdef Py_ssize_t sent
    cdef BlockingIO io = stream.io
    # Keeps the bytes alive that the vectors point to; only the sending thread uses the list.
    cdef list _parts = stream.parts
    stream.is_sending = True
    stream.system_calls += 1
    stream.leave()
    with nogil:
        sent = io.send_parts(vectors, count)
    stream.enter()
    stream.system_calls -= 1
    stream.is_sending = False
    return sent


@cython.nonecheck(False)
cdef int _sent(BlockingStream stream, Py_ssize_t size) except -1:
    """Record that the system took `size` bytes."""
    cdef Py_ssize_t done = 0, left
    stream.written += size
    size += stream.part_at
    while done < len(stream.parts):
        left = len(stream.parts[done])
        if size < left:
            break
        size -= left
        done += 1
    stream.part_at = size
    del stream.parts[:done]
    stream.engine.flushed()
    return 0 if stream.parts else stream.events.output_left(stream)


cdef int _cannot_write(BlockingStream stream, int number) except -1:
    """End the output: the peer takes no more bytes. Input that it sent before is read first."""
    stream.write_error = stream.io.failure or OSError(number, os.strerror(number))
    stream.parts = []
    stream.part_at = 0
    stream.has_news = False
    stream.engine.eof()
    if stream.receiver is not None:
        # The receiving thread reads the rest, then finds the end.
        stream.shut(socket.SHUT_RDWR)
        return 0
    # These rounds read more than a peer can have sent before the write failed.
    for _ in range(READ_AT_THE_END):
        if stream.look(MUCH_UNREAD):
            break
    return 0 if stream.engine.is_closed else stream.lose(stream.write_error)


cdef int gather(list parts, Py_ssize_t at, iovec* vectors, Py_ssize_t* size) except -1:
    """Fill `vectors` with parts (bytes or memoryviews) from `at` on; return their number. The caller keeps them alive."""
    cdef int count = 0
    cdef char* data
    cdef Py_ssize_t length
    size[0] = 0
    for part in parts:
        if count == PARTS:
            break
        if type(part) is bytes:
            data = PyBytes_AS_STRING(part)
            length = PyBytes_GET_SIZE(part)
        else:
            data = <char*>PyMemoryView_GET_BUFFER(part).buf
            length = PyMemoryView_GET_BUFFER(part).len
        vectors[count].iov_base = data + at
        vectors[count].iov_len = length - at
        size[0] += length - at
        at = 0
        count += 1
    return count
