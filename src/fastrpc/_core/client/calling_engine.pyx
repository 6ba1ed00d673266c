"""The client's side of a protocol that is written in Python: the base of an engine that makes calls.

::

    ClientCall ──► PythonCalls.send ──► send_call(call, payload)     cancel_call(call, reason)
    ClientCall ◄── answer(call, payload), fail(call, status, text) ◄── receive_data(bytes)

The engine serves clients of a loop and of threads. On a loop its owner is notified when it opens, ages or ends; with
threads, a thread checks that. `PythonCalls` has the table of calls, with their deadlines; `client_life` has the rules
of opening, age and idle time.
"""

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memset

from fastrpc._core.base.instants cimport earlier
from fastrpc._core.base.status cimport HIGHEST_STATUS, OK
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport NO_DEADLINE, Call
from fastrpc._core.client.call_errors cimport check_request, lost_error, unstarted_error
from fastrpc._core.wire.frame cimport ONE_WAY, OUTCOME_NOT_STARTED, OUTCOME_RAN, OUTCOME_UNKNOWN, STREAM_IN, STREAM_OUT
from fastrpc._core.wire.frame cimport Frame
from fastrpc._core.wire.settings cimport WireSettings

from fastrpc.errors import CallError
from fastrpc.status import Status

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

# The longest pause before a retry that the wire carries, in seconds.
cdef double LONGEST_RETRY = 4_000_000.0

cdef object OUTCOMES = {True: OUTCOME_RAN, False: OUTCOME_NOT_STARTED, None: OUTCOME_UNKNOWN}


@cython.final
cdef class PythonCalls(CallingPart):
    """The client's calls on a connection whose engine is written in Python."""

    cdef inline CallingEngine engine(self):
        # The caller is the engine, or a call that holds it.
        return <CallingEngine>self.owner

    def __cinit__(self):
        self._calls = {}

    # For the engine

    @property
    def calls(self):
        """The calls under way, oldest first."""
        return list(self._calls)

    def codec_of(self, ClientCall call not None):
        """Return the name of the codec of a call's payload."""
        return call.route.marshal.coders.codec

    def tell_crowd(self, CallingEngine engine not None):
        """Notify the owner that many calls are in progress. The queue of the loop holds the engine until then."""
        if not engine.is_closed:
            engine.life.owner.connection_crowded(engine)

    def takes_thread(self, uint64_t now, uint64_t rested_ns):
        """Return whether a thread may send a new call, judged by the age and the idle time of the connection."""
        return self.owner is not NULL and self.engine().life.takes_thread(self.engine(), now, rested_ns)

    cdef bint take(self, ClientCall call) except -1:
        if not self._forget(call):
            return False
        if self.loop_state is not None:
            self.loop_state.stop_timer(call)
        return True

    cdef bint _forget(self, ClientCall call) except -1:
        if call not in self._calls:
            return False
        del self._calls[call]
        if not call.is_probe:
            self.engine().life.call_ended(self.engine())
        return True

    cdef int fail_all(self, str why, bint leaves) except -1:
        cdef ClientCall call
        for call in list(self._calls):
            if self.take(call):
                handed = self.was_written(call) if leaves else self.was_handed(call)
                call.failed(self.error_of_end(call, handed, why))
        return 0

    # For calls

    cdef bint takes_call(self, uint64_t now, uint64_t rested_ns) except -1:
        return self.takes_thread(now, rested_ns)

    cdef int start(self, Call call, bytes payload) except -1:
        self.send(call, payload)
        if call.deadline_ns != NO_DEADLINE and call in self._calls:
            self.loop_state.start_timer(call, call.deadline_ns)
        return 0

    cdef int send(self, Call call, bytes payload) except -1:
        cdef CallingEngine engine = self.engine()
        if call.flags & (STREAM_IN | STREAM_OUT):
            raise CallError(
                Status.UNIMPLEMENTED,
                f"{call.route.method} streams, and {engine.protocol} has no streams",
                processed="no",
                hint="call it by the native protocol",
            )
        check_request(self, call, payload)
        if not (<ClientCall>call).is_probe:
            engine.life.call_begins(engine, call.flags & ONE_WAY)
        if not call.flags & ONE_WAY:
            self._calls[call] = None
        try:
            engine.send_call(call, payload)
        except BaseException:
            self._forget(<ClientCall>call)
            raise
        self._written += 1
        call.handed_at = self._written
        if engine.life.is_crowd(self.count()):
            self.loop_state.call_soon(self.tell_crowd, engine)
        return 0

    cdef int abandon(self, Call call, int reason) except -1:
        cdef CallingEngine engine = self.engine()
        if self.take(<ClientCall>call) and not engine.is_closed:
            engine.now = now_ns()
            try:
                engine.cancel_call(call, reason)
            except Exception as error:
                # The call ends nevertheless.
                engine.report_crash(error)
            engine.life.close_when_idle(engine, self.count())
        return 0

    cdef bint was_written(self, Call call) noexcept:
        return call.handed_at != 0

    cdef bint was_handed(self, Call call) noexcept:
        return call.handed_at != 0 and call.handed_at <= self.handed

    cdef object error_of_end(self, Call call, bint handed, str why):
        return unstarted_error(self.endpoint, call) if why is None else lost_error(self.endpoint, call, handed, why)


cdef class CallingEngine(PythonEngine):
    """The client's side of one connection, for protocols in Python."""

    def __cinit__(self, *arguments, **options):
        cdef PythonCalls part = PythonCalls.__new__(PythonCalls)
        part.owner = <PyObject*>self
        part.peer = WireSettings(False)
        part.most_bytes = part.peer.max_message
        self.calling = self.own_calls = part
        self.auth_status = -1

    def __init__(self, parts):
        cdef PythonCalls part = self.own_calls
        config = parts.config
        self.protocol = parts.protocol.name
        part.endpoint = parts.endpoint
        part.protocol = self.protocol
        part.takes_values = parts.protocol.traits.takes_values
        part.loop_state = parts.loop_state
        part.most_bytes = config.limits.message_bytes
        part.peer = WireSettings(False)
        part.peer.max_message = config.limits.message_bytes
        self.life = ClientLife(parts.owner, parts.timeouts, config.keepalive)
        self.credential = parts.credential

    def __dealloc__(self):
        # The collector may have cleared the field before.
        if self.own_calls is not None:
            self.own_calls.owner = NULL

    # Implemented by an engine in Python

    def send_call(self, call, payload):
        """Send a call."""
        raise NotImplementedError(f"{type(self).__name__} does not implement send_call()")

    def cancel_call(self, call, reason):
        """Notify the server that a call is given up. The default does nothing."""

    # Called by the engine in Python

    def ready(self):
        """Note that the server has answered the opening: calls may rely on its settings."""
        cdef PythonCalls part = self.own_calls
        if part.is_settled or self.is_closed:
            return
        part.is_settled = True
        self.life.opened(self)

    def answer(self, ClientCall call not None, bytes payload not None):
        """End a call with its answer, in the codec of the call."""
        cdef Frame frame
        if self.own_calls.take(call):
            memset(&frame, 0, sizeof(Frame))
            frame.codec = <uint8_t>call.route.marshal.codec_id
            self.woke = True
            call.answer_came(&frame, payload, self.now)
            self.life.close_when_idle(self, self.own_calls.count())

    def fail(self, ClientCall call not None, int status, str text not None, *, has_run=True, double retry_after=0.0):
        """End a call with the server's error."""
        cdef Frame frame
        cdef Py_ssize_t size = 0
        if not OK < status <= HIGHEST_STATUS:
            raise ValueError(f"a call fails with a status from 1 to {HIGHEST_STATUS}, not {status}")
        memset(&frame, 0, sizeof(Frame))
        frame.status = <uint16_t>status
        frame.outcome = OUTCOMES[has_run]
        frame.pushback_ms = <uint32_t>(min(max(retry_after, 0.0), LONGEST_RETRY) * 1000)
        # The caller holds `text`. Everything that may raise comes before the call leaves the table.
        frame.text = PyUnicode_AsUTF8AndSize(text, &size)
        frame.text_size = size
        if self.own_calls.take(call):
            self.woke = True
            call.answer_came(&frame, b"", self.now)
            self.life.close_when_idle(self, self.own_calls.count())

    def leave(self):
        """Note that the server takes no new calls here; calls under way continue."""
        self.own_calls.peer_leaves = self.peer_replaces = True
        self.retire()

    # For the client

    @property
    def endpoint(self):
        """The address it leads to."""
        return self.own_calls.endpoint

    @property
    def peer(self):
        """The settings of the server."""
        return self.own_calls.peer

    @property
    def calls_in_flight(self):
        """The number of calls under way."""
        return self.own_calls.count()

    @property
    def is_ready(self):
        """Whether the server has answered the opening."""
        return self.own_calls.is_settled

    def await_crowd(self, Py_ssize_t calls):
        """Notify the owner once, when a call is sent while `calls` others are in flight; 0 means never."""
        self.life.crowd = calls

    def begin_probe(self, ClientCall call not None):
        """Note that a call only probes health: it does not count as use of the connection."""
        call.is_probe = True

    def end_probe(self, ClientCall call not None):
        """Note that a call that only probes health ended, or was not sent."""

    def present(self, bytes token not None):
        """Set a new token: a new connection that presents it replaces this one."""
        self.retire()

    def retire(self):
        """Take no new calls, and close once the calls under way have ended."""
        self.life.retire(self, self.own_calls.count())

    def close(self, reason=0, str text=""):
        """Close after all output is sent; calls in progress fail."""
        if self.is_closed:
            return
        self.closed_text = text
        self.life.refuse_calls(self)
        # Written output is still sent.
        self.own_calls.fail_all(text or "it was closed", True)
        PythonEngine.close(self, reason, text)

    def stats(self):
        """Return the state of this connection as plain data."""
        return {"calls": self.own_calls.count(), "waiting": 0, "buffered": self.unsent_bytes(), "credit": 0}

    # The engine

    cdef int connected(self) except -1:
        self.life.begin(self)
        PythonEngine.connected(self)
        self.schedule_check(self.check(self.now))
        return 0

    cdef int eof(self) except -1:
        PythonEngine.eof(self)
        return self.life.refuse_calls(self)

    cdef int lost(self, object error) except -1:
        cdef str why = self.closed_text or (str(error) if error is not None else "the server closed it")
        self.life.refuse_calls(self)
        self.own_calls.fail_all(why, False)
        try:
            PythonEngine.lost(self, error)
        finally:
            if self.life.owner is not None:
                self.life.owner.connection_lost(self, error)
        return 0

    cdef int crash(self) except -1:
        # The bytes that the engine was handling are lost: later answers could not be matched to calls.
        self.close(0, "internal error")
        return PythonEngine.crash(self)

    cdef int flushed(self) except -1:
        if self.output.size() == 0:
            self.own_calls.note_handed()
        return 0

    cdef uint64_t check(self, uint64_t now) except? 0:
        cdef uint64_t due = PythonEngine.check(self, now)
        if self.is_closed:
            return due
        return earlier(due, self.life.check(self, now, self.own_calls.is_settled))
