"""The client's side of a native connection: its opening, age, rest and end.

::

    ClientConnection (a Connection) ──holds──► ClientSide    decides when the parts of the connection ask
        │   events of the stream, orders of the pool ──► Connection, ClientSide
        └──holds──► ClientLife ──► its owner: `connection_ready`, …

`OwnCalls` has the calls that are made on it. `ClientLife` tells connections of a loop and of threads apart. A connection of
threads has a `BlockingSession` as its stream, which checks and closes it.
"""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.base.instants cimport earlier
from fastrpc._core.base.status cimport OK
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport Call
from fastrpc._core.client.client_call cimport ClientCall
from fastrpc._core.client.own_calls cimport new_own_calls
from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.loop.loop_state cimport loop_state
from fastrpc._core.native.call_parts cimport NativeCalling
from fastrpc._core.native.outgoing cimport Outgoing
from fastrpc._core.native.parts_owner cimport DRAIN_ANNOUNCED, PHASE_OPEN
from fastrpc._core.wire.frame cimport REASON_HANDSHAKE, REASON_MAX_AGE

# The interval at which an ending connection checks whether the calls that it serves are over.
cdef uint64_t SERVED_LOOK_NS = 20_000_000


@cython.final
cdef class ClientSide(Side):
    """The decisions of the client's side of one connection."""

    # The opening

    cdef int on_ready(self) except -1:
        cdef ClientConnection connection = self.connection()
        connection.is_ready = True
        connection.life.opened(connection)
        return connection.schedule_check(connection.check(connection.now))

    cdef int on_verdict(self) except -1:
        cdef ClientConnection connection = self.connection()
        if connection.auth_status == OK and connection.auth_valid_seconds:
            connection.life.credential_expires(connection, connection.auth_valid_seconds)
        return 0

    # Calls

    cdef int on_crowd(self) except -1:
        # A REQUEST is being written: the owner, which may want to dial, is notified in another turn.
        cdef ClientConnection connection = self.connection()
        connection.loop_state.call_soon(connection.tell_crowd)
        return 0

    cdef int on_ids_used_up(self) except -1:
        # A REQUEST is being written: the connection retires in another turn of the loop.
        cdef ClientConnection connection = self.connection()
        if connection.loop_state is not None:
            connection.loop_state.call_soon(connection.retire)
        return 0

    @cython.nonecheck(False)
    cdef int on_forgotten(self, Call call) except -1:
        if (<ClientConnection>self.holder).peer_sent_final or (<ClientConnection>self.holder).life.is_retiring:
            self.close_when_idle()
        return 0

    # The end

    cdef int on_peer_drains(self) except -1:
        # Calls of which no byte was sent are moved to another connection.
        self.refuse_calls()
        return self.close_when_idle()

    cdef int refuse_calls(self) except -1:
        cdef ClientConnection connection = self.connection()
        connection.life.was_used = _sent_calls(self)
        return connection.life.refuse_calls(connection)

    cdef int retire(self) except -1:
        """Take no new calls, and close once the calls under way have ended."""
        cdef ClientConnection connection = self.connection()
        connection.life.was_used = _sent_calls(self)
        # The connection is closed below.
        connection.life.retire(connection, 1)
        if connection.serving is not None and connection.is_open:
            # Without a GOAWAY, calls that the server makes now would be lost.
            connection.begin_drain(REASON_MAX_AGE, "the client replaces the connection, or needs it no more")
        return self.close_when_idle()

    cdef int close_when_idle(self) except -1:
        """Close a connection that takes no new calls, after its last call and, if the server drains, after FINAL."""
        cdef ClientConnection connection = self.connection()
        if not self.is_leaving() or connection.slots.opened.size or connection.is_closed:
            return 0
        if not connection.slots.unsent_calls():
            if connection.serving is None or _has_served(self):
                connection.close()
            else:
                connection.schedule_check(connection.now + SERVED_LOOK_NS)
        return 0

    cdef bint is_leaving(self) noexcept:
        """Return whether to close after the last call: the server has sent FINAL, or only this side retires.

        False for a connection of threads, which their session closes.
        """
        cdef ClientConnection connection = self.connection()
        return connection.life.owner is not None and (
            connection.peer_sent_final or (connection.life.is_retiring and not connection.peer_drains)
        )


cdef bint _sent_calls(ClientSide side) noexcept:
    """Return whether a call other than a probe was sent."""
    return side.connection().sender.data_frames_sent > side.connection().liveness.probes


cdef bint _has_served(ClientSide side) noexcept:
    """Return whether no call of the server is in progress, and the server knows that no more are accepted."""
    cdef ClientConnection connection = side.connection()
    if connection.callee.calls.size or connection.callee.one_way_calls or connection.sender.unsent_bytes():
        return False
    return not connection.life.is_retiring or connection.drain_step != DRAIN_ANNOUNCED


@cython.final
cdef class ClientConnection(Connection):
    """The client's side of one connection to one endpoint, carrying any number of calls at once."""

    def __init__(
        self, *, endpoint, timeouts, keepalive, owner=None, loop=None, bytes credential=None, protocol=None, **options
    ):
        Connection.__init__(self, is_client=True, **options)
        self.life = ClientLife(owner, timeouts, keepalive)
        self.life.late_reason = REASON_HANDSHAKE
        if owner is None:
            # Unlike a loop, a thread is not notified when the system takes output again. The system may refuse output that
            # was taken, and the transports of a loop cannot say this as exactly.
            self.hears_of_room = False
            self.sender.may_be_refused = True
        else:
            self.loop_state = loop_state(loop)
        self.now = now_ns()
        self.liveness.set_rules(timeouts, keepalive)
        new_own_calls(self, endpoint, protocol, self.life)
        self.decisions = ClientSide.__new__(ClientSide)
        self.take_side(self.decisions)
        self.credential = credential

    # Orders of the pool

    def present(self, bytes token not None):
        """Present a token to the server; `Side.on_verdict` is called after its answer."""
        self.now = now_ns()
        self.control.send_credential(b"bearer", token)
        self.written()

    def retire(self):
        if not self.is_closed:
            self.decisions.retire()

    def await_crowd(self, Py_ssize_t calls):
        self.slots.await_crowd(calls)

    def tell_crowd(self):
        if not self.is_closed:
            self.life.owner.connection_crowded(self)

    def begin_probe(self, ClientCall call not None):
        call.is_probe = True
        # The call gets an id in the same step. If it has to wait for an id, other calls use the connection anyway.
        self.liveness.probes += 1

    def end_probe(self, ClientCall call not None):
        # A call without an id was never sent.
        if call.id == 0:
            self.liveness.probes -= 1

    # Its facts

    @property
    def endpoint(self):
        """The address it leads to."""
        return self.calling.endpoint

    @property
    def calls_in_flight(self):
        return self.slots.slots_taken

    def stats(self):
        """Return the state of this connection as plain data."""
        return {
            "calls": self.slots.opened.size,
            "waiting": sum([not (<Outgoing>item).is_dropped for queue in self.slots.queues() for item in queue]),
            "buffered": self.sender.untaken_bytes(),
            "credit": self.sender.send_left,
        }

    # Events of its stream

    cdef int connected(self) except -1:
        """Begin; from now on calls may be sent, even before the SETTINGS of the server."""
        self.life.begin(self)
        Connection.connected(self)
        if self.credential is not None:
            # The credential precedes every call: the server accepts none before it knows the caller.
            self.control.send_credential(b"bearer", self.credential)
            self.credential = None
            self.written()
        if self.serving is not None:
            self.serving.on_made()
        return self.schedule_check(self.life.check(self, self.now, False))

    cdef uint64_t check(self, uint64_t now) except? 0:
        cdef bint is_ready = self.phase == PHASE_OPEN and self.first_settings_acknowledged
        # Asked before `Connection.check`, whose serving part also calls `was_used`.
        cdef bint is_busy = self.life.owner is not None and (self.phase != PHASE_OPEN or self.liveness.was_used())
        cdef uint64_t due = Connection.check(self, now)
        if self.is_closed:
            return due
        self.life.was_used = _sent_calls(self.decisions)
        due = earlier(due, self.life.look(self, now, is_ready, is_busy))
        if not self.is_closed and self.serving is not None and self.decisions.is_leaving():
            self.decisions.close_when_idle()
            due = earlier(due, now + SERVED_LOOK_NS)
        return self.liveness.linger_until_ns if self.is_closed else due

    cdef int eof(self) except -1:
        self.is_usable = False
        return 0

    cdef int end_stream(self) except -1:
        if self.life.owner is not None:
            Connection.end_stream(self)
            self.life.owner.connection_draining(self)
            return 0
        # Written output is sent together with the last frames.
        (<NativeCalling>self.calling).fail_all(self.closed_text or "it was closed", True)
        if self._stream is not NULL:
            (<ByteStream>self._stream).finish(True)
        return 0

    cdef int lost(self, object error) except -1:
        Connection.lost(self, error)
        if self.life.owner is not None:
            self.life.owner.connection_lost(self, error)
        return 0
