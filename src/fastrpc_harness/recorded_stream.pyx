"""A stream of a recording connection whose messages are their payloads."""

cimport cython

from fastrpc._core.loop.loop_state cimport loop_state
from fastrpc_harness.recording cimport RecordedCall


@cython.final
cdef class RecordedStream(StreamChannel):
    def __init__(self, RecordingConnection connection not None, RecordedCall call not None, *, loop=None, idle_ns=0):
        self._connection = connection
        self.call = call
        self.idle_ns = idle_ns
        if loop is not None:
            self.loop_state = loop_state(loop)
        call.stream = self

    # Calls of C methods, for tests

    def send_message(self, bytes payload not None):
        """Send one message."""
        self.send_payload(payload)

    def wait_for_room(self):
        """Return the future of a waiting sender."""
        return self.wait_room()

    def wait_now(self):
        """Note that the reader waits."""
        self.reader_waits()

    def take_now(self):
        """Take the oldest message."""
        return self.take()

    def finish_input(self, error=None):
        """Note that no further message will arrive."""
        self.end_input(error)

    def finish_output(self, error=None):
        """Note that nothing more can be sent."""
        self.end_output(error)

    def wrap(self, sent=None, received=None):
        """Set functions that convert sent and received messages."""
        self.sent_wraps = sent
        self.received_wraps = received

    def wrapped(self, message):
        """Return the form in which a message is sent."""
        return self.wrapped_for_sending(message)

    def end(self, error=None):
        """End both directions."""
        self.close(error)

    @property
    def would_wait(self):
        """Whether a sender has to wait."""
        return self.is_full()

    @property
    def is_held_by_call(self):
        """Whether the call knows the stream."""
        return self.call.stream is self

    @property
    def credit(self):
        """Bytes: may be sent, may be received, received but not yet credited, granted beyond the window."""
        return self.call.send_left, self.call.window.left, self.call.window.growth.owed, self.call.window.granted

    @property
    def window_bytes(self):
        """The size of its window."""
        return self.call.window.first_size + self.call.window.growth.grown

    @property
    def waiting_cost(self):
        """Bytes of the window that waiting messages use."""
        cdef Py_ssize_t i
        return sum([self._ring[(self._first + i) & (self._places - 1)].cost for i in range(self.waiting)])

    @property
    def has_unsent(self):
        """Whether a message waits to be sent."""
        return self.call.unsent is not None

    def fire(self):
        """Let its timer fire."""
        self.on_timer()

    # The side it is on

    cdef object decode(self, bytes payload, int codec, int compressor):
        return payload if self.decoder is None else self.decoder(payload)

    cdef int taken(self, Py_ssize_t cost) except -1:
        return self._connection.assembler.message_taken(self.call, cost)

    cdef int reader_waits(self) except -1:
        return self._connection.assembler.reader_waits(self.call)

    cdef int emit(self, bytes payload) except -1:
        return self._connection.sender.send_message(self.call, payload, 1, 0)

    cdef bint output_is_full(self) noexcept:
        return self.has_full_output

    cdef int await_turn(self) except -1:
        return 0 if self.has_full_output else self.wake_sender()

    cdef int on_idle(self) except -1:
        self.idle_waits += 1
        if self.idle_callback is not None:
            self.idle_callback()
        return 0
