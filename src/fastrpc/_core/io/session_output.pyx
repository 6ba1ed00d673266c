"""The writing half of a session: it passes its engine's output to the transport, or directly to the socket.

::

    Engine.pump, output.take ─► SessionOutput ──► the socket, where it is small and nothing waits in the transport
                                               └─► Transport.write, which keeps what the peer does not take

The first output of a turn is written immediately, further output at the end of the turn. While the transport holds more
than HIGH_WATER bytes, output waits in the engine.
"""

import sys

cimport cython
from libc.errno cimport EAGAIN
from libc.stdint cimport int64_t

from fastrpc._core.base.output_buffer cimport OutputBuffer
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.io.engine cimport MUCH, NOTHING
from fastrpc._core.io.layer cimport kept_of, note_long, plain_descriptor, unsent_bytes
from fastrpc._core.io.socket_io cimport send_bytes, wait_until
from fastrpc._core.io.tls_layer cimport TLSLayer

cdef enum:
    # The transport calls pause_writing above the high mark and resume_writing below the low one.
    HIGH_WATER = 131_072
    LOW_WATER = 65_536
    # Output up to this size is written to the socket directly. Longer output is passed to the transport, which keeps
    # all of it in memory until its last byte is sent.
    DIRECT_BYTES = 65_536

# In asyncio of Python 3.12 and of the first 3.13 `writelines` never calls pause_writing, so resume_writing is never
# called either. Setting the limits again makes the transport check them.
cdef bint WRITELINES_PAUSE = not (3, 12) <= sys.version_info < (3, 13, 5)


cdef class SessionOutput(ByteStream):
    """The output of one connection on an event loop."""

    def __cinit__(self, *arguments, **options):
        self.descriptor = -1

    cdef int open_output(self, object transport) except -1:
        """Write to this transport from now on."""
        self.transport = transport
        self._write = transport.write
        self.descriptor = plain_descriptor(transport)
        transport.set_write_buffer_limits(high=HIGH_WATER, low=LOW_WATER)
        return 0

    cdef int close_output(self) except -1:
        """Note that the transport is gone."""
        self.transport = None
        self._write = self._flush_callback = None
        self.descriptor = -1
        return 0

    # Calls of the transport

    def pause_writing(self):
        """Keep further output here, in order: the transport is full."""
        self.is_write_paused = True
        self.engine.now = now_ns()
        self._note_blocked()

    def resume_writing(self):
        """Continue: the transport accepts more."""
        self.is_write_paused = False
        self.engine.now = now_ns()
        self.engine.unblocked()
        self.flush()

    # Flushing

    cdef int on_output(self) except -1:
        return 0 if self._flush_scheduled else self.schedule_flush()

    cdef int schedule_flush(self) except -1:
        if self._flush_callback is None:
            if self.transport is None:
                return 0
            self._flush_callback = self._flush_scheduled_now
        try:
            self.loop_state.call_soon(self._flush_callback)
        except RuntimeError:
            # The loop was closed meanwhile, so nothing can be written.
            if not self.loop_state.loop.is_closed():
                raise
            return 0
        self._flush_scheduled = True
        if self.spinner is not None:
            self.spinner.has_waiting = True
        return 0

    cdef bint ask_turn(self) except -1:
        if self.transport is None:
            return False
        try:
            self.loop_state.call_soon(self._turn_over)
        except RuntimeError:
            # The loop was closed in the meantime, as in `schedule_flush`.
            if not self.loop_state.loop.is_closed():
                raise
            return False
        return True

    def _turn_over(self):
        self.engine.now = now_ns()
        self.engine.turn_over()
        self.flush()

    def _flush_scheduled_now(self):
        self._flush_scheduled = False
        self.engine.now = now_ns()
        self.flush()

    @cython.nonecheck(False)
    cdef int flush(self) except -1:
        """Pass sendable output to the transport: small output in one write, pieces while the transport accepts them."""
        cdef Engine engine = self.engine
        if self.transport is None:
            return 0
        if not self.is_write_paused and not engine.is_closed:
            self._write_all()
        return engine.flushed()

    cdef int push(self) except -1:
        if self.transport is None:
            return 0
        self.leave_closed_loop()
        return self.flush()

    cdef int _write_all(self) except -1:
        """Write ready output and one round of pieces, then a small rest, if the transport accepted all of these."""
        cdef Engine engine = self.engine
        cdef int rest
        while True:
            engine.pump()
            if not engine.output.size():
                # Output may wait for the peer's credit.
                return self._note_blocked()
            self._write_output()
            rest = engine.rest()
            if rest == NOTHING or self.is_write_paused or self.transport is None:
                return 0
            if rest == MUCH or self.transport.is_closing() or self.transport.get_write_buffer_size():
                # A closing transport met an error and reports it in a later turn. The messages that wait were not sent.
                break
        return 0 if self._flush_scheduled else self.schedule_flush()

    cdef int _write_output(self) except -1:
        cdef Engine engine = self.engine
        cdef Py_ssize_t size = engine.output.size()
        if size > DIRECT_BYTES:
            note_long(&self.sent, size, self.untaken_bytes())
        self.sent.bytes += size
        if self.spinner is not None:
            self.spinner.touch(self, engine.now + self.spin_ns)
        if self._send_directly():
            return 0
        output = engine.output.take()
        if size > DIRECT_BYTES and self.descriptor >= 0 and wait_until(self.descriptor, 0, 0) > 0 and self._hears_more():
            # A write would fail.
            return 0
        self.transport_holds = True
        if type(output) is bytes:
            self._write(output)
        elif self.transport.is_closing():
            # In CPython 3.12.0 to 3.13.5 asyncio's `writelines` watches the descriptor even if the transport has
            # already lost its connection; then the next connection with that descriptor fails. `write` does not.
            self._write(b"".join(output))
        else:
            self.transport.writelines(output)
            if not WRITELINES_PAUSE:
                self.transport.set_write_buffer_limits(HIGH_WATER, LOW_WATER)
        return 0

    cdef bint is_stuck(self) noexcept:
        return self.is_write_paused

    cdef bint sends_at_once(self) noexcept:
        if self.descriptor >= 0:
            return True
        return isinstance(self.transport, TLSLayer) and (<TLSLayer>self.transport).descriptor >= 0

    cdef bint flushes_soon(self) noexcept:
        return self._flush_scheduled

    cdef bint _send_directly(self) except -1:
        """Write small output to the socket. False: the transport has to send it, or holds earlier bytes."""
        cdef Py_ssize_t size = 0, sent
        cdef const char* data
        cdef OutputBuffer output = self.engine.output
        if self.descriptor < 0:
            return False
        data = output.plain(&size)
        if data is NULL or size > DIRECT_BYTES:
            return False
        if self.transport_holds:
            if self.transport.get_write_buffer_size():
                return False
            self.transport_holds = False
        if self.transport.is_closing():
            return False
        sent = send_bytes(self.descriptor, data, size)
        if sent == size:
            output.skip()
            return True
        if sent < 0 and sent != -EAGAIN and self._hears_more():
            output.skip()
            return True
        self.transport_holds = True
        if sent > 0:
            self._write(output.take()[sent:])
        # Nothing was sent, or an error occurred, which the transport meets as well.
        return sent > 0

    cdef bint _hears_more(self) except -1:
        """Return whether the peer has closed, but sent bytes before that are still to be read.

        These bytes may name the calls that the peer did not handle. A transport that met the error would drop them.
        """
        return self.engine.reads_to_end and self.has_unread() and self.transport.is_reading()

    cdef int leave_closed_loop(self) except -1:
        """Forget the socket of a closed loop: closing a loop closes its sockets without a callback.

        Called outside the loop's callbacks. Another connection may already have the same descriptor.
        """
        if self.loop_state.loop.is_closed():
            self.descriptor = -1
        return 0

    # Output that the peer has not taken

    cdef int _note_blocked(self) except -1:
        """Ask the engine when to check again: output waits and cannot be written."""
        cdef uint64_t due = 0 if self.transport is None else self.engine.blocked()
        return self.schedule_check(due) if due else 0

    cdef int64_t untaken_bytes(self) except? -1:
        return <int64_t>self.transport.get_write_buffer_size() if self.transport_holds and self.transport is not None else 0

    cdef int64_t kept_bytes(self) except? -1:
        return 0 if self.transport is None else kept_of(&self.sent, self.untaken_bytes())

    cdef int64_t taken_bytes(self) except? -1:
        # Bytes in the system's buffer do not count: it holds megabytes and accepts more only when a third of them is
        # sent, which takes a slow reader long.
        return 0 if self.transport is None else self.sent.bytes - self.untaken_bytes() - unsent_bytes(self.transport)
