"""The wire of a server's protocol that is written in Python.

::

    Wire.take ────────► receive_data(bytes) ──► begin ──► handler ──► hold, if it is not answered now
    Link.output ◄────── send(bytes) ◄── write_answer, write_failure ◄────┘
    Wire.check ───────► connection_made at first, then check_at(instant)
    Wire.lost ────────► connection_lost

A subclass implements `receive_data`, `write_answer` and `write_failure`, and may override the other methods up to
`connection_lost`. The link has the rules of the connection: opening, idle time, age, drain, late messages. A read costs
a few Python calls, so a protocol on a hot path should be compiled.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport STATE_ANSWERING, Call
from fastrpc._core.io.engine cimport Engine
from fastrpc._core.link.contract cimport Facts
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.python_served_connection cimport pass_on
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.server.served_connection cimport ServedConnection

from fastrpc.user_code import plain_error


@cython.final
cdef class ProvenCaller:
    """The identity of a caller, and the instant at which its credential expires."""

    def __init__(self, ServerCall call not None):
        self.identity = call.identity
        self.expires_ns = call.own_expires_ns if call.has_own_credential else call.connection.expires_ns
        self.generation = call.connection.generation
        self.has_own_credential = call.has_own_credential


cdef class PythonWire(Wire):
    """The protocol of one connection, in Python."""

    def __init__(self, str protocol not None, *, bint outlasts_input=False, bint excludes_http=False):
        self.protocol = protocol
        self.outlasts_input = outlasts_input
        self.excludes_http = excludes_http

    # Implemented by a protocol

    def connection_made(self):
        """Handle that the stream was connected."""

    def receive_data(self, data):
        """Handle received bytes; return how many were consumed."""
        raise NotImplementedError(f"{type(self).__name__} does not implement receive_data()")

    def write_answer(self, call, payload):
        """Send the result of a call."""
        raise NotImplementedError(f"{type(self).__name__} does not implement write_answer()")

    def write_failure(self, call, failure):
        """Send the failure or the refusal of a call."""
        raise NotImplementedError(f"{type(self).__name__} does not implement write_failure()")

    def hold(self, call):
        """Note that a call is not answered in this turn. Until it is answered, a cancellation has to find it."""

    def check_at(self, now):
        """Compare the instants of the protocol with now, in nanoseconds; return the next one, 0 = none."""
        return 0

    def connection_lost(self):
        """Handle that the stream was lost."""

    # Called by a protocol

    @property
    def link(self):
        """The link that holds this wire; None before `join` and after the link was freed."""
        return self.here()

    @property
    def gate(self):
        """The gate of the server."""
        return self.connection.gate

    def begin(self, *, method, payload, codec, timeout=None, metadata=None, bint one_way=False):
        """Serve a complete call; return it, for `Gate.cancel_call`."""
        cdef ServedConnection connection = self.connection
        cdef Link link = self.here()
        cdef ServerCall call = <ServerCall?>(<Gate?>connection.gate).begin(
            connection, method=method, payload=payload, codec=codec, timeout=timeout, metadata=metadata, one_way=one_way
        )
        if link is not None:
            link.life.used_ns = max(link.life.used_ns, call.started_ns)
        if not (one_way or call.state == STATE_ANSWERING or connection.is_closed):
            self.hold(call)
        return call

    def send(self, bytes data not None):
        """Send bytes at the end of the current read or, outside a read, in the next turn of the loop."""
        cdef Link link = self.here()
        if link is not None and not link.is_closed:
            link.output.put(data, 0, PyBytes_GET_SIZE(data))
            link.written()

    def turn_is_over(self):
        """Note a handled message; return whether the rest of the data has to wait, which will be passed again."""
        cdef Link link = self.here()
        if link is None:
            return False
        link.messages_left -= 1
        return link.messages_left < 0 and link.has_to_wait()

    def schedule_check(self, uint64_t due_ns):
        """Schedule a call of `check_at` at an instant or earlier; 0 = none."""
        cdef ByteStream stream = self.below()
        if due_ns and stream is not None:
            stream.schedule_check(due_ns)

    def hold_back(self, bint is_held_back):
        """Pause reading with True, resume it with False. Meanwhile no message is late."""
        cdef Link link = self.here()
        if link is not None:
            link.life.wants_pause = is_held_back
            link.life.heed_output(link.unsent_output(), now_ns())

    def unsent_bytes(self):
        """Return the number of bytes of output that wait in this process, in the engine or in its stream."""
        cdef Link link = self.here()
        return 0 if link is None else link.unsent_output()

    def taken_bytes(self):
        """Return the number of bytes of output that were sent from this machine, as far as known."""
        cdef ByteStream stream = self.below()
        return 0 if stream is None else stream.taken_bytes()

    def opened(self):
        """End the opening."""
        cdef Link link = self.here()
        if link is not None:
            link.life.leave_opening()

    def note_use(self):
        """Count now as a use of the connection, which is idle from then on."""
        cdef Link link = self.here()
        if link is not None:
            link.life.used_ns = now_ns()

    def act_for(self, ProvenCaller caller not None):
        """Set the identity of this connection to a caller's. The peer must have proved that it acts for the caller."""
        if caller.identity is not None:
            self.connection.prove(caller.identity, caller.expires_ns)
        self.connection.generation = caller.generation

    def count_moved(self, ServerCall call not None, uint64_t received_bytes, uint64_t sent_bytes):
        """Count bytes that a call received and sent in addition to its payloads."""
        call.counters.moved(received_bytes, sent_bytes)
        call.moved_bytes += received_bytes + sent_bytes

    # The wire

    cdef int join(self, Engine link) except -1:
        if self.connection is not None:
            raise RuntimeError("a wire is held by one link")
        self.connection = (<Link?>link).connection
        return 0

    cdef int lost(self) except -1:
        self._held = None
        if self.has_begun:
            self.connection_lost()
        return 0

    cdef Py_ssize_t take(self, const char* data, Py_ssize_t size) except -1:
        cdef Link link = self.here()
        cdef Py_ssize_t consumed
        if link.is_closed or link.leaving.ignores_input:
            return size
        consumed = self.receive_data(PyBytes_FromStringAndSize(data, size))
        if not 0 <= consumed <= size:
            raise ValueError(f"receive_data() of {type(self).__name__} consumed {consumed} of {size} bytes")
        if consumed and not link.gate.guards.asks_access():
            link.life.leave_opening()
        if consumed or self.part == 0:
            self.began_ns = link.now
        self.part = size - consumed
        return consumed

    cdef int answer(self, Call call, bytes payload) except -1:
        call.state = STATE_ANSWERING
        return pass_on(self.write_answer, (call, payload), self.connection)

    cdef int fail(self, Call call, Failure failure) except -1:
        call.state = STATE_ANSWERING
        return pass_on(self.write_failure, (call, failure), self.connection)

    cdef int refuse(self, Call call, Failure failure, bint is_faulty) except -1:
        return self.fail(call, failure)

    cdef int tell(self, Facts* facts) except -1:
        facts.is_receiving = self.part != 0
        facts.began_ns = self.began_ns
        facts.received = self.part
        facts.parked = 0
        return 0

    cdef uint64_t check(self, uint64_t now) except? 0:
        try:
            if not self.has_begun:
                self.has_begun = True
                self._held = self.here().stream
                self.connection_made()
            return self.check_at(now)
        except BaseException as error:
            # End the connection: without a next check, its idle time and age would not be checked any more.
            self.connection.crash(plain_error(error, "the protocol"))
            return 0

    cdef int forgive(self, uint64_t late) except -1:
        return 0
