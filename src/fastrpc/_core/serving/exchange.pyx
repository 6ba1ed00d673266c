"""What an engine implements so that the calls on one of its connections are served.

::

    engine ──► Gate.begin ──► handler ──► answer, fail      one-way calls: release
                   └─► not started ─────► refuse
                   └─► goes on later ───► hold, then one of the others

An exchange belongs to one connection. It holds what the gate knows of that connection and no protocol does: who the
peer is, which calls are under way, how many bytes they hold. It never owns the connection.
"""

import asyncio
import logging

cimport cython

from fastrpc._core.base.wire cimport now_ns

logger = logging.getLogger("fastrpc.server")

# Where a protocol does not say how large its pieces are, each request is compared with what is left.
cdef int64_t ANY_SIZE = <int64_t>1 << 62

process_held = 0


cdef int64_t hold_bytes(int64_t change) noexcept:
    global process_held
    process_held += change
    return process_held


@cython.final
cdef class Failure:
    """The answer to a call that failed."""

    def __init__(self, int status, str text not None, bytes details not None=b"", *, pushback_ms=0, has_run=True):
        self.status = status
        self.text = text
        self.details = details
        self.pushback_ms = pushback_ms
        self.has_run = has_run


cdef class Exchange:
    """The served calls of one connection, as the gate knows them."""

    def __cinit__(self, *arguments, **options):
        self.piece_bytes = ANY_SIZE
        self.max_message = self.max_metadata = 0xFFFFFFFF
        self.now = now_ns()

    def __init__(self, gate not None, str protocol not None):
        self.gate = gate
        self.protocol = protocol
        self.counters = gate.counters_by_method(protocol)

    def __dealloc__(self):
        # Nobody is told of the end of a connection whose loop was closed before it.
        hold_bytes(-(self.request_held + self.record_held + self.output_held + self.tail_held + self.stream_held))

    @property
    def held_bytes(self):
        """Bytes that the connection holds: requests, records of calls, output, reads that wait for a turn, streams."""
        return self.request_held + self.record_held + self.output_held + self.tail_held + self.stream_held

    @property
    def running(self):
        """Calls whose handlers go on beyond their first turn."""
        return tuple(self.held or ())

    # What an engine in Python implements

    def answer(self, call, payload):
        """Send the result of a call."""
        raise NotImplementedError(f"{type(self).__name__} does not say how to answer")

    def fail(self, call, failure):
        """Send what became of a call that has no result."""
        raise NotImplementedError(f"{type(self).__name__} does not say how to tell a failure")

    def refuse(self, call, status, text, is_faulty):
        """Send that a call was not started."""
        self.fail(call, Failure(status, text, has_run=False))

    def hold(self, call):
        """Note that a call goes on beyond this turn: until it is answered a cancel has to find it."""

    def release(self, call):
        """Note that a one-way call that was started is over: nothing else tells."""

    def describe_peer(self):
        """Who is on the other side, or None."""

    def note_probe(self):
        """Note that a call only asked for health."""

    # The same for one that is compiled

    cdef int send_answer(self, Call call, bytes payload) except -1:
        self.answer(call, payload)
        return 0

    cdef int send_failure(self, Call call, Failure failure) except -1:
        self.fail(call, failure)
        return 0

    cdef int send_refusal(self, Call call, int status, str text, bint is_faulty) except -1:
        self.refuse(call, status, text, is_faulty)
        return 0

    cdef int list_call(self, Call call) except -1:
        self.hold(call)
        return 0

    cdef int drop_one_way(self, Call call) except -1:
        self.release(call)
        return 0

    # Streams: a call has one only where its engine's REQUESTs say so

    cdef int send_message(self, Call call, bytes payload, int codec, int compressor) except -1:
        """Send one message of a stream."""
        raise NotImplementedError(f"protocol {self.protocol} has no streams")

    cdef int send_head(self, Call call, bytes metadata) except -1:
        """Send the first metadata of a stream."""
        raise NotImplementedError(f"protocol {self.protocol} has no streams")

    cdef int message_taken(self, Call call, Py_ssize_t cost) except -1:
        """The handler took a message that has cost so much of its window."""
        raise NotImplementedError(f"protocol {self.protocol} has no streams")

    cdef bint output_is_full(self) noexcept:
        """Return whether more output waits than streams may add to."""
        return False

    cdef int await_output(self, Call call) except -1:
        """Wake the sender of a stream once the output has left."""
        return 0

    # What it may know better

    cdef uint64_t most_message(self) noexcept:
        """Return how long an answer the peer takes."""
        return self.max_message

    cdef uint32_t most_metadata(self) noexcept:
        """Return how much metadata of an answer the peer takes."""
        return self.max_metadata

    cdef bint takes_codec(self, Call call) except -1:
        """Return whether the peer takes an answer in the installed codec of its request."""
        return True

    cdef bytes compressed(self, Call call, object compressor, bytes payload):
        """Compress an answer as its request was, if the peer takes that and it pays."""
        call.compressor = 0
        return payload

    cdef bint waits_for_turn(self) noexcept:
        """Return whether what was read waits for a turn of the loop; nothing more is read until then."""
        return False

    cdef int look_by(self, uint64_t due_ns) except -1:
        """See to it that `Admission.check_waiting` is asked by then."""
        cdef uint64_t now = now_ns()
        self.gate.loop_state.loop.call_later((due_ns - min(due_ns, now)) / 1e9, self.gate.look_at, self)
        return 0

    cdef int end_turn(self) except -1:
        """Calls that waited are started: what they answered may leave."""
        return 0

    cdef int crash(self, object error) except -1:
        """A mistake of ours came up while calls that waited were started."""
        logger.error("fastrpc: internal error in an exchange of protocol %s", self.protocol, exc_info=error)
        return 0

    # Drain

    def drain_event(self):
        """The event that is set when this connection is to end."""
        if self.drain_signal is None:
            self.drain_signal = asyncio.Event()
            if self.is_draining:
                self.drain_signal.set()
        return self.drain_signal

    def note_drain(self):
        """Tell handlers that the connection is to end: `current_call().draining`."""
        self.is_draining = True
        if self.drain_signal is not None:
            self.drain_signal.set()
