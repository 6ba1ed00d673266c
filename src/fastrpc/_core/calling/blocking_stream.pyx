"""The stream of a blocking connection, shared by the threads that use it: one at a time, one receives, one sends.

A thread holds the guard while it touches the connection and gives it up, and the GIL with it, around every system call
that waits. Small output is sent with both held: that takes microseconds, and getting the GIL back can take longer.
"""

import logging
import os
import socket

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from cpython.pythread cimport (
    NOWAIT_LOCK,
    PyThread_acquire_lock,
    PyThread_allocate_lock,
    PyThread_free_lock,
    PyThread_release_lock,
    WAIT_LOCK,
)
from libc.errno cimport EAGAIN
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memmove

from fastrpc._core.calls.call cimport Call
from fastrpc._core.calling.caller_view cimport fork_generation
from fastrpc._core.framing.frame cimport REASON_INTERNAL
from fastrpc._core.native.send_queue cimport TRANSPORT_SHARE
from fastrpc._core.io.blocking_io cimport BlockingIO
from fastrpc._core.io.socket_io cimport POLLIN
from fastrpc._core.io.transport_socket cimport unsent_in_socket
from fastrpc._core.base.wire cimport now_ns

cdef extern from "pythread.h":
    unsigned long PyThread_get_thread_ident()

cdef extern from "Python.h":
    Py_buffer* PyMemoryView_GET_BUFFER(object view)

cdef enum:
    # What is received at once, and room for the largest head.
    READ_BLOCK = 262_144
    # Blocks kept for the next receiver; more threads may read at a time, each on a connection of its own.
    KEPT_BLOCKS = 8
    # Parts of the output in one system call.
    PARTS = 16
    # Output up to this size is sent without giving up the GIL.
    SENT_INSIDE = 32_768
    # How often a thread sends, or looks, before it does something else.
    ROUNDS = 16
    # How often that is done to read all that came before nothing could be written any more: some 256 MiB.
    READ_AT_THE_END = 64

# Where a rest, a time so long without a byte, left so much unread, more is on its way, with the end of the stream behind
# it perhaps. Every piece of it is waited for so long. Messages of a stream that come all the time are no rest.
cdef uint64_t REST_NS = 20_000_000
cdef Py_ssize_t MUCH_UNREAD = 65_536
cdef uint64_t FOLLOWS_NS = 5_000_000

# A connection read from so recently is not looked at before writing: what came since may as well be under way.
cdef uint64_t FRESH_NS = 20_000

cdef list free_blocks = []

logger = logging.getLogger("fastrpc.client")


cdef class BlockingStream(Connection):
    """A connection on a blocking stream."""

    def __cinit__(self, *arguments, **options):
        self.guard = PyThread_allocate_lock()
        if self.guard is NULL:
            raise MemoryError

    def __init__(self, *, BlockingIO io not None, endpoint, **options):
        Connection.__init__(self, is_client=True, **options)
        self.io = io
        self.endpoint = endpoint
        self.generation = fork_generation()
        self.sleepers = {}
        self.parts = []
        self.now = self.received_ns = now_ns()
        # Leaves together with the first request.
        self.open()
        self.is_usable = True

    def __dealloc__(self):
        if self.guard is not NULL:
            PyThread_free_lock(self.guard)

    cdef int enter(self) except -1:
        """Take the guard."""
        cdef unsigned long thread = PyThread_get_thread_ident()
        self.check_process()
        if not PyThread_acquire_lock(self.guard, NOWAIT_LOCK):
            if self.holder == thread:
                raise RuntimeError("a SyncClient was used inside itself, by a finalizer or by a signal handler")
            # `self` is kept alive by whoever called.
            with nogil:
                PyThread_acquire_lock(self.guard, WAIT_LOCK)
        self.holder = thread
        return 0

    cdef int leave(self) except -1:
        self.holder = 0
        PyThread_release_lock(self.guard)
        return 0

    cdef int check_signals(self) except -1:
        """Run signal handlers, without the guard. One may have forked: this thread then returns in the child, too."""
        PyErr_CheckSignals()
        return self.check_process()

    cdef int leave_behind(self) except -1:
        """In the child of a fork: leave the stream to the parent, which goes on using it; nothing is written or shut.

        Threads of the parent are not here. What they hold and wait for is not touched.
        """
        # One of them may hold the guard for ever.
        cdef PyThread_type_lock guard = PyThread_allocate_lock()
        if guard is NULL:
            raise MemoryError
        self.guard = guard
        self.holder = 0
        self.generation = fork_generation()
        self.is_left_behind = self.is_closed = self.is_lost = self.is_shut = True
        self.is_usable = self.is_sending = self.has_news = False
        self.receiver = None
        self.sleepers = {}
        self.parts = []
        self.part_at = 0
        self.on_left_behind()
        self.io.close()
        return 0

    # Receiving

    cdef bint look_before(self, uint64_t now, uint64_t due_ns) except -1:
        """Before writing at an instant that has just been: look until nothing is left, unless something came right before.

        The end of the stream may stand behind any amount of bytes. A peer that never stops is read until `due_ns`: then
        it returns False.
        """
        self.now = max(self.now, now)
        if self.now < self.received_ns + FRESH_NS:
            return True
        if self.look():
            return True
        while not self.look(MUCH_UNREAD):
            if now_ns() >= due_ns:
                return False
            # Others get their turn, and so do signals.
            self.leave()
            try:
                self.check_signals()
                with nogil:
                    pass
            finally:
                self.enter()
        return True

    cdef bint look(self, Py_ssize_t unread=0) except -1:
        """Where nobody reads: obey what came meanwhile, the end of the stream too. Return whether that was all.

        `unread` is how much was there already, where this goes on with it.
        """
        cdef Py_ssize_t came, room = 0
        cdef int rounds = 0, ready = 0
        cdef uint64_t heard_ns = self.received_ns
        cdef bint goes_on = unread > 0
        cdef BlockingIO io = self.io
        if self.receiver is not None or self.is_closed:
            return True
        self.on_look()
        while not self.is_closed and rounds < ROUNDS:
            came = io.receive(self.place_for(&room), room)
            if came == -EAGAIN:
                if unread < MUCH_UNREAD or not (goes_on or self.received_ns > heard_ns + REST_NS):
                    return True
                # With the guard held: another thread could do no better meanwhile.
                with nogil:
                    ready = io.wait(POLLIN, now_ns() + FOLLOWS_NS)
                if ready <= 0:
                    return True
                continue
            unread += max(came, 0)
            self.took_in(came)
            rounds += 1
        return self.is_closed

    cdef char* place_for(self, Py_ssize_t* room) except NULL:
        """Where to receive: a long payload's memory, else the block behind what it holds already."""
        cdef char* place
        try:
            place = self.reader.body_place(room)
        except MemoryError:
            # What was received of the payload went with the block that could not grow: what follows is no whole any more.
            self.close_with(REASON_INTERNAL, "out of memory")
            raise
        self.in_body = place is not NULL
        if self.in_body:
            return place
        if self.block is None:
            self.block = <ReadBuffer>free_blocks.pop() if free_blocks else ReadBuffer(READ_BLOCK)
        room[0] = self.block.capacity - self.tail
        return self.block.data + self.tail

    cdef int took_in(self, Py_ssize_t came) except -1:
        """Bytes lie in the last place, or the stream ended, or an error did it (-errno)."""
        cdef Py_ssize_t size, consumed
        if self.is_closed:
            return 0
        if came <= 0:
            return self.lose(None if came == 0 else OSError(-came, os.strerror(-came)))
        self.now = self.received_ns = now_ns()
        try:
            if self.in_body:
                self.reader.sink.filled += came
                self.reader.body_received(came)
                return 0
            size = self.tail + came
            consumed = self.reader.receive(self.block.data, size)
            self.tail = size - consumed
            if self.tail and consumed:
                memmove(self.block.data, self.block.data + consumed, self.tail)
        except BaseException as error:
            # Half a frame was taken over: what follows cannot be understood.
            if isinstance(error, Exception):
                logger.error("fastrpc: internal error on a connection to %s", self.endpoint, exc_info=error)
            self.close_with(REASON_INTERNAL, "internal error")
            if not isinstance(error, Exception):
                raise
        return 0

    cdef int return_block(self) except -1:
        """Give the block back when nobody needs it."""
        if self.block is not None and self.tail == 0 and self.receiver is None:
            if len(free_blocks) < KEPT_BLOCKS:
                free_blocks.append(self.block)
            self.block = None
        return 0

    # Sending

    cdef int on_output(self) except -1:
        self.has_news = True
        return 0

    cdef int flush(self, bint stays_inside) except -1:
        """Send what the system takes without waiting. Large output is sent outside the guard if that is allowed."""
        cdef iovec[PARTS] vectors
        cdef Py_ssize_t size = 0, sent = 0, count, rounds = 0
        self.check_process()
        while not self.is_shut and self.write_error is None:
            if not self.parts:
                self.has_news = False
                if not self.is_closed:
                    self.sender.pump(TRANSPORT_SHARE)
                if not self.sender.output_bytes():
                    return 0
                sent = 0
                if self.sender.is_plain() and self.sender.out.size <= SENT_INSIDE:  # The common case.
                    sent = self.io.send(self.sender.out.data(), self.sender.out.size)
                    if sent == self.sender.out.size:
                        self.sender.skip_output()
                        self.written += sent
                        self._sent(0)
                        continue
                output = self.sender.take_output()
                self.parts = <list>output if type(output) is list else [output]
                if sent > 0:
                    self._sent(sent)
            count = gather(self.parts, self.part_at, vectors, &size)
            if stays_inside or size <= SENT_INSIDE:
                sent = self.io.send_parts(vectors, <int>count)
            else:
                sent = self._send_outside(vectors, <int>count)
            if sent == -EAGAIN:
                self.has_news = False
                return 0
            if sent < 0:
                return self._cannot_write(<int>-sent)
            self._sent(sent)
            rounds += 1
            if rounds >= ROUNDS and self.sleepers and not self.parts:
                # More may wait, also what others have put there meanwhile: somebody has to go on.
                self.has_news = True
                return 0
        return 0

    cdef Py_ssize_t _send_outside(self, iovec* vectors, int count) except? -1:
        cdef Py_ssize_t sent
        cdef BlockingIO io = self.io
        # Keeps what the vectors point to; who sends is alone with it.
        cdef list _parts = self.parts
        self.is_sending = True
        self.system_calls += 1
        self.leave()
        with nogil:
            sent = io.send_parts(vectors, count)
        self.enter()
        self.system_calls -= 1
        self.is_sending = False
        return sent

    cdef int _sent(self, Py_ssize_t size) except -1:
        """The system took `size` bytes."""
        cdef Py_ssize_t done = 0, left
        self.handed_flushes = self.sender.flushes
        self.written += size
        size += self.part_at
        while done < len(self.parts):
            left = len(self.parts[done])
            if size < left:
                break
            size -= left
            done += 1
        self.part_at = size
        del self.parts[:done]
        return self.on_sent()

    cdef bint was_handed(self, Call call) noexcept:
        # More exact than the transports of a loop allow: what the system refused was not handed over.
        return call.handed_at != 0 and call.handed_at <= self.handed_flushes

    cdef int _cannot_write(self, int number) except -1:
        """The peer takes no bytes any more. What it sent before still counts, so it is read first."""
        self.write_error = OSError(number, os.strerror(number))
        self.parts = []
        self.part_at = 0
        self.has_news = False
        self.is_usable = False
        if self.receiver is not None:
            # It reads what is left, then it finds the end.
            self.shut(socket.SHUT_RDWR)
            return 0
        # As far as it goes: no more than a peer can have sent before.
        for _ in range(READ_AT_THE_END):
            if self.look(MUCH_UNREAD):
                break
        return 0 if self.is_closed else self.lose(self.write_error)

    # What its liveness asks

    cdef bint has_unsent(self) except -1:
        return len(self.parts) > 0 or self.sender.is_waiting()

    cdef uint64_t untaken_bytes(self) except? 0:
        return sum([len(part) for part in self.parts]) - self.part_at + self.sender.unsent_bytes()

    cdef int64_t taken_bytes(self) except? -1:
        # As in a session of a loop: what the system keeps has not left.
        return self.written - unsent_in_socket(self.io.descriptor)

    # The end

    cdef int lose(self, object error) except -1:
        """The stream is gone."""
        if self.is_closed:
            return 0
        if error is None:
            error = self.write_error
        self.is_closed = self.is_lost = True
        return self.end_all(str(error) if error is not None else "the server closed it")

    cdef int shut(self, int how) except -1:
        try:
            self.io.shut_down(how)
        except OSError:
            # The peer was faster.
            self.is_lost = True
        return 0

    # Hooks

    cdef int on_look(self) except -1:
        """Somebody looks after a time in which nobody read."""
        return 0

    cdef int on_sent(self) except -1:
        """The system took output: all there was, unless `parts` has more."""
        return 0

    cdef int on_left_behind(self) except -1:
        """This is the child of a fork, the stream the parent's."""
        return 0

    cdef int end_all(self, str why) except -1:
        """The stream is gone: whatever is under way ends."""
        return 0


cdef int gather(list parts, Py_ssize_t at, iovec* vectors, Py_ssize_t* size) except -1:
    """Describe the first parts, bytes or memoryviews, from `at` on; return how many. They have to stay alive."""
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
