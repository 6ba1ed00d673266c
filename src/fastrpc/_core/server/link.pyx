"""A connection of a server, which holds the wire of its protocol.

::

    request ──► Wire ──► Link.request ──► Gate.pass_in ──► handler
                                                              │ answer, fail, refuse
    answer ◄─── Wire ◄─── LinkedOutcomes ◄───────────────────┘

`link/contract` defines the interface between link and wire. `LinkedOutcomes` passes the outcomes of calls to the wire,
`LinkedFlow` the messages of streams. Both reach the link through the connection of a call, which may outlive the link.
The rules of a link are in parts: `ConnectionLife`; `Leaving` for drain and close; `Intake` for the checks of requests.

The wire costs calls between modules, compared with an engine that is the protocol itself: two more per read (`place`
and `take`), and one more with a backlog (`pump`). A unary call costs four instead of three: to the gate, to
`LinkedOutcomes`, to `Wire.answer` and to `Leaving.call_ended`, which is inline. With `Forms`, each payload costs one more
for its marshal. The steps of a request that a wire calls on its link are inline in the `.pxd`.
"""

cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastrpc._core.base.instants cimport earlier
from fastrpc._core.base.status cimport RESOURCE_EXHAUSTED
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport STATE_ANSWERING, STATE_GONE, Call
from fastrpc._core.io.engine cimport NOTHING, ByteStream
from fastrpc._core.link.contract cimport Outcomes
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.server.connection_life cimport new_life
from fastrpc._core.server.served_connection cimport HOLD_DRAIN, NO_FLOW, PLAIN_GROUPS
from fastrpc._core.wire.frame cimport (
    ONE_WAY, PUSHBACK_NEVER, REASON_HANDSHAKE, REASON_INTERNAL, REASON_MEMORY,
)

from fastrpc.errors import RemoteProtocolError


@cython.final
cdef class LinkedConnection(EngineServedConnection):
    """The served calls of the connection of a `Link`."""

    # Output that waits in the wire

    cdef int64_t unsent_bytes(self) except? -1:
        cdef int64_t unsent = EngineServedConnection.unsent_bytes(self)
        if self._engine is NULL or self.is_closed or (<Link>self._engine).backlog is None:
            return unsent
        return unsent + (<Link>self._engine).backlog.queued()

    cdef int64_t passed_bytes(self) except? -1:
        cdef Link link = self.open_link()
        if link is None or link.backlog is None:
            return 0
        # The bytes grow with the number of streams, so their effect is limited.
        return min(link.backlog.passed(), link.gate.send_hard - link.gate.send_soft)

    # Senders of long requests

    cdef int await_sender(self, ServerCall call, uint64_t due_ns) except -1:
        cdef Link link
        if self._engine is NULL or (<Link>self._engine)._stream is NULL:
            return 0
        link = <Link>self._engine
        if link.wire.assembling is None:
            (<ByteStream>link._stream).hold_input()
        return (<ByteStream>link._stream).schedule_check(due_ns) if due_ns else 0

    def note_drain(self):
        """Notify handlers of the drain. Further calls are accepted: the wire refuses calls that are too late."""
        EngineServedConnection.note_drain(self)
        self.holding &= ~HOLD_DRAIN


@cython.final
cdef class LinkedOutcomes(Outcomes):
    """Passes the outcomes of calls to the wire of their link. All links share one object."""

    cdef int answer(self, Call call, bytes payload) except -1:
        # This reference keeps the link alive, as the answer may drop the last other one.
        cdef Link link = (<LinkedConnection>(<ServerCall>call).connection).open_link()
        if link is None:
            return 0
        link.wire.answer(call, payload)
        if link.backlog is None and link.output.size() > link.gate.send_soft:
            link.connection.weigh_answer()
        link.leaving.call_ended(True)
        return link.connection.flush_early(link)

    cdef int fail(self, Call call, Failure failure) except -1:
        cdef Link link = (<LinkedConnection>(<ServerCall>call).connection).open_link()
        if link is None:
            return 0
        link.wire.fail(call, failure)
        return link.leaving.call_ended(True)

    cdef bint is_unanswered(self, Call call) except -1:
        return call.state not in (STATE_ANSWERING, STATE_GONE)

    cdef int refuse(self, Call call, int status, str text, bint is_faulty) except -1:
        cdef Link link
        cdef ServerCall served = <ServerCall>call
        cdef uint32_t pushback_ms = served.pushback_ms
        if served.charge and served.waiting_payload is None and not served.is_held:
            # Uncount the memory of an incomplete request.
            (<Gate>served.connection.gate).memory.charge(served, 0)
        link = (<LinkedConnection>served.connection).open_link()
        if link is None:
            return 0
        if is_faulty and status == RESOURCE_EXHAUSTED:
            # A pushback would suggest that the same call could succeed later.
            pushback_ms = PUSHBACK_NEVER
        if not call.flags & ONE_WAY:
            link.wire.refuse(call, Failure(status, text, pushback_ms=pushback_ms, has_run=False), is_faulty)
        return link.leaving.call_refused(served, status)

    cdef int hold(self, Call call) except -1:
        # A wire whose calls can be cancelled keeps them in a table.
        cdef Link link = (<LinkedConnection>(<ServerCall>call).connection).open_link()
        if link is not None and link.wire.assembling is not None:
            link.wire.assembling.admitted(call)
        return (<ServerCall>call).groups.handling.hold(call)

    cdef int release(self, Call call) except -1:
        cdef Link link = (<LinkedConnection>(<ServerCall>call).connection).open_link()
        return 0 if link is None else link.leaving.call_ended(True)

    cdef int judged(self, Call call, int verdict) except -1:
        cdef Link link = (<LinkedConnection>(<ServerCall>call).connection).open_link()
        if link is None:
            return 0
        if link.wire.assembling is not None:
            return link.wire.assembling.judged(call, verdict)
        link.intake.sender_verdict = verdict
        link.go_on()
        return 0


@cython.final
cdef class LinkedFlow(Flow):
    """Passes the messages of streams to the flow of their link's wire. All links share one object.

    A call may outlive its link, so the link is looked up each time. It cannot be freed during a call of this object: the
    session below holds it, and a session ends in a turn of the loop in which no handler runs. `Flow.room` is not passed
    on; a link calls it on the flow of its wire.
    """

    cdef int head(self, Call call, bytes metadata) except -1:
        cdef Link link = (<LinkedConnection>(<ServerCall>call).connection).open_link()
        return 0 if link is None else link.flow.head(call, metadata)

    cdef int message(self, Call call, bytes payload, int codec, int compressor) except -1:
        cdef Link link = (<LinkedConnection>(<ServerCall>call).connection).open_link()
        if link is None:
            return 0
        link.flow.message(call, payload, codec, compressor)
        if link.backlog is None and link.output.size() > link.gate.send_soft:
            return link.connection.weigh_answer()
        return 0

    cdef bint is_full(self, Call call) noexcept:
        cdef PyObject* engine = (<LinkedConnection>(<ServerCall>call).connection)._engine
        return engine is not NULL and (<Link>engine).flow.is_full(call)

    cdef int await_turn(self, Call call) except -1:
        cdef Link link = (<LinkedConnection>(<ServerCall>call).connection).open_link()
        if link is None:
            return 0
        link.has_senders = True
        return link.flow.await_turn(call)

    cdef int taken(self, Call call, Py_ssize_t cost) except -1:
        cdef Link link = (<LinkedConnection>(<ServerCall>call).connection).open_link()
        return 0 if link is None else link.flow.taken(call, cost)

    cdef int reader(self, Call call, bint waits) except -1:
        cdef Link link = (<LinkedConnection>(<ServerCall>call).connection).open_link()
        return 0 if link is None else link.flow.reader(call, waits)

    cdef int end_early(self, Call call) except -1:
        cdef Link link = (<LinkedConnection>(<ServerCall>call).connection).open_link()
        return 0 if link is None else link.flow.end_early(call)


cdef LinkedOutcomes LINKED_OUTCOMES = LinkedOutcomes.__new__(LinkedOutcomes)
cdef LinkedFlow LINKED_FLOW = LinkedFlow.__new__(LinkedFlow)


@cython.final
cdef class Link(Engine):
    """A connection of a server, which holds the wire of its protocol."""

    def __init__(self, Wire wire not None, *, Gate gate not None, Openings openings not None, timeouts, keepalive):
        cdef LinkedConnection connection = LinkedConnection(gate, wire.protocol)
        connection.join(self)
        connection.takes_values = wire.takes_values
        connection.outcomes = LINKED_OUTCOMES
        connection.groups = PLAIN_GROUPS.with_own(wire.dialect, wire.forms, LINKED_FLOW, None)
        self.connection = connection
        self.gate = gate
        self.openings = openings
        self.intake = Intake(connection)
        self.life = new_life(self, connection)
        self.life.set_rules(timeouts, keepalive)
        self.leaving = Leaving(self.life, wire)
        wire.join(self)
        self.wire = wire
        self.placing = wire.placing
        self.flow = NO_FLOW if wire.flow is None else wire.flow
        self.backlog = wire.backlog

    # Pushes

    @property
    def takes_pushes(self):
        """Whether the peer has accepted enough output for another push."""
        return self.unsent_output() <= <Py_ssize_t>self.gate.send_soft

    @property
    def peer_takes(self):
        """Return "pushes" if the protocol has pushes, else None. The peer may ignore pushes without notice."""
        return None if self.wire.pushing is None else "pushes"

    def push(self, Call call not None):
        """Send a one-way call to the peer, for which it is a message of its server."""
        if self.wire.pushing is None:
            raise NotImplementedError(f"protocol {self.wire.protocol} has no pushes")
        self.wire.pushing.push(self, call)

    # The peer

    def describe_peer(self):
        """Return a description of the other side of the connection."""
        return self.connection.describe_peer()

    def identify(self, identity not None, valid_seconds=None, *, bint by_certificate=False, uint64_t generation=0):
        """Set the identity proved by the peer's certificate, and its expiry. A token of a call has precedence."""
        self.connection.certify(identity, valid_seconds, generation)
        return True

    # Opening and leaving

    cdef int connected(self) except -1:
        cdef uint64_t due
        self.now = now_ns()
        self.connection.peer_info = self.gate.dispatcher.describe_peer(self)
        if self.life.count_in():
            self.close(REASON_MEMORY, self.life.surplus_text())
            return 0
        self.life.enter_opening(self.openings)
        due = self.life.begin(self.now)
        # `check` of a wire may close the connection.
        due = earlier(due, self.wire.check(self.now))
        return 0 if self.is_closed or self._stream is NULL else (<ByteStream>self._stream).schedule_check(due)

    def begin_drain(self, reason, text=""):
        """Notify the peer, or close when it makes no call for a while. Calls until then are served."""
        self.leaving.begin_drain(reason, text)

    @property
    def has_drained(self):
        """Whether a drain is complete: no call is in progress or expected, and all output is sent."""
        return self.leaving.has_drained()

    @property
    def is_at_rest(self):
        """Whether the connection is idle, and its protocol has no goodbye, so that a last request may still arrive."""
        return self.leaving.goodbye is None and self.leaving.carries_nothing()

    def end_calls(self, text):
        """Answer every call that is still in progress, and stop its handler."""
        if self.wire.assembling is not None:
            self.wire.assembling.end(text)
        self.gate.end_calls(self.connection, text)

    def close(self, reason=0, text=""):
        """Send the reason to the peer, if the protocol can, and close when all output is sent."""
        if self.leaving.finish(reason, text, reason != REASON_HANDSHAKE):
            _tell_pusher(self)

    def stats(self):
        """Return the state of this connection as plain data: calls in progress, waiting output, credit."""
        if self.backlog is None:
            return self.connection.stats(self.unsent_output())
        found = self.connection.stats(self.leaving.unsent())
        found["credit"] = self.backlog.credit()
        return found

    # Bytes in

    cdef Py_ssize_t receive(self, const char* data, Py_ssize_t size) except -1:
        cdef Py_ssize_t consumed
        if not (self.life.has_heard or self.is_closed):
            if not self.life.hear_first(data, size if self.wire.excludes_http else 0):
                return 0
        try:
            consumed = self.wire.take(data, size)
        except RemoteProtocolError as error:
            self.leaving.violated(error)
            return size
        return size if self.is_closed or self.leaving.ignores_input else consumed

    def go_on(self):
        """Handle the input that waited for a verdict."""
        if self._stream is not NULL and not self.is_closed:
            # The wait was caused by the verdict, so the peer is not late.
            self.life.resumed_ns = now_ns()
            (<ByteStream>self._stream).release_input()

    cdef char* body_place(self, Py_ssize_t* room) except? NULL:
        if self.placing is None or self.is_closed or self.leaving.ignores_input:
            return NULL
        return self.placing.place(room)

    cdef int body_received(self, Py_ssize_t size) except -1:
        try:
            self.placing.placed(size)
        except RemoteProtocolError as error:
            self.leaving.violated(error)
        return 0

    cdef object body_owner(self):
        return None if self.placing is None else self.placing.owner()

    cdef bint completes_body(self, Py_ssize_t size) noexcept:
        return self.placing is None or self.placing.completes(size)

    # Bytes out

    cdef int pump(self) except -1:
        if self.backlog is not None:
            self.has_backlog = self.backlog.pump()
        return 0

    cdef int rest(self) noexcept:
        return self.backlog.rest() if self.has_backlog else NOTHING

    cdef int turn_over(self) except -1:
        return 0 if self.backlog is None else self.backlog.turn_over()

    # Events of the stream

    cdef int read_done(self) except -1:
        self.connection.received_ns = self.received_ns
        self.connection.read_ended()
        self.life.go_on_opening()
        return self.gate.runner.leave_task()

    cdef int flushed(self) except -1:
        cdef Py_ssize_t unsent = self.unsent_output()
        if unsent or self.connection.output_held or self.has_backlog and self.backlog.queued():
            self.life.weigh(self.connection.unsent_bytes(), self.now)
        _heed_output(self, unsent, self.now)
        if self.leaving.pause_from_ns and not self.is_reading:
            # The last answer was flushed, so the connection may close now.
            self.leaving.end_at_pause()
        return self.gate.runner.tell_watcher() if self.gate.runner.is_watched else 0

    cdef int stalled(self) except -1:
        return self.life.note_stall(self.now, self.came_ns)

    cdef int was_late(self, uint64_t late) except -1:
        return self.wire.forgive(late)

    cdef int tail_changed(self, Py_ssize_t change) except -1:
        return self.intake.charge(change)

    cdef bint hears_rest_first(self) except -1:
        # A peer may end its input directly after its last one-way calls.
        return self.wire.outlasts_input or not self.leaving.is_busy()

    cdef int crash(self) except -1:
        if self.leaving.goodbye is None:
            self.abort()
        else:
            self.leaving.finish(REASON_INTERNAL, "internal error", False)
        return 0

    cdef int lost(self, object error) except -1:
        self.life.leave_opening()
        try:
            self.wire.lost()
        finally:
            # Uncount the connection even after an error, as a drain would otherwise wait for it.
            _tell_pusher(self)
            self.life.count_out(error)
        return 0

    # Time

    cdef uint64_t check(self, uint64_t now) except? 0:
        cdef uint64_t due = 0
        if self.is_closed:
            return self.leaving.check(now)
        if self.connection.output_held:
            _heed_output(self, self.unsent_output(), now)
        if self.intake.sender_check is not None:
            due = self.intake.sender_check.check(now)
        if self.life.openings is not None and any(
            (<ServerCall>call).given is not None for call in self.connection.held or ()
        ):
            # The handler of the call runs, so the call was admitted.
            self.life.leave_opening()
        due = earlier(due, self.leaving.check_last_call(now))
        due = earlier(due, self.wire.check(now))
        return self.life.linger_until_ns if self.is_closed else earlier(due, self.leaving.check(now))


cdef int _heed_output(Link link, Py_ssize_t unsent, uint64_t now) except -1:
    """Read and send on only while the peer takes output."""
    if not link.life.heed_output(unsent, now):
        return 0
    if link.pusher is not None:
        link.pusher.on_room()
    if link.has_senders:
        link.has_senders = False
        link.flow.room()
    return 0


cdef int _tell_pusher(Link link) except -1:
    """Notify the pusher that nothing more can be pushed."""
    pusher, link.pusher = link.pusher, None
    if pusher is not None:
        pusher.on_end()
    return 0
