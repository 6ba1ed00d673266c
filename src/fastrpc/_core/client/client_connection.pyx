"""The client's side of a native connection on an event loop: its opening, age, rest and end.

`OwnCalls` has the calls that are made on it.
"""

from random import uniform

from libc.stdint cimport uint64_t

from fastrpc._core.base.instants cimport earlier
from fastrpc._core.base.status cimport OK
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport Call
from fastrpc._core.client.client_call cimport ClientCall
from fastrpc._core.client.own_calls cimport new_own_calls
from fastrpc._core.loop.loop_state cimport loop_state
from fastrpc._core.native.outgoing cimport Outgoing
from fastrpc._core.native.parts_owner cimport DRAIN_ANNOUNCED, PHASE_OPEN
from fastrpc._core.wire.frame cimport REASON_MAX_AGE

# The interval at which an ending connection checks whether the calls that it serves are over.
cdef uint64_t SERVED_LOOK_NS = 20_000_000


cdef class ClientConnection(Connection):
    """The client's side of one connection to one endpoint, carrying any number of calls at once."""

    def __init__(
        self, *, endpoint, owner, loop, timeouts, keepalive, bytes credential=None, protocol=None, **options
    ):
        Connection.__init__(self, is_client=True, **options)
        self.loop_state = loop_state(loop)
        self.now = now_ns()
        self.liveness.set_rules(timeouts, keepalive, uniform)
        self.liveness.is_watched = True
        new_own_calls(self, endpoint, protocol)
        self.owner = owner
        self.credential = credential

    @property
    def endpoint(self):
        """The address it leads to."""
        return self.calling.endpoint

    cdef int connected(self) except -1:
        """Begin; from now on calls may be sent, even before the SETTINGS of the server."""
        Connection.connected(self)
        if self.credential is not None:
            # The credential precedes every call: the server accepts none before it knows the caller.
            self.control.send_credential(b"bearer", self.credential)
            self.credential = None
            self.on_output()
        if self.serving is not None:
            self.serving.on_made()
        self.is_usable = True
        return 0

    cdef int on_verdict(self) except -1:
        if self.auth_status == OK and self.auth_valid_seconds:
            self.owner.connection_accepted(self, self.auth_valid_seconds)
        return 0

    cdef int on_used(self) except -1:
        self.owner.connection_used(self)
        return 0

    cdef int on_ready(self) except -1:
        self.is_ready = True
        self.owner.connection_ready(self)
        return Connection.on_ready(self)

    cdef int on_peer_drains(self, int reason, str text) except -1:
        # Calls of which the server has received no byte are sent on another connection.
        self.stop_calls()
        self._retire()
        return self._close_when_idle()

    cdef int on_ids_used_up(self) except -1:
        self.stop_calls()
        # A REQUEST is being written: the connection retires in another turn of the loop.
        self.loop_state.call_soon(self._leave_used_up)
        return 0

    def _leave_used_up(self):
        if not self.is_closed:
            self._begin_retiring()

    def await_crowd(self, Py_ssize_t calls):
        self.slots.await_crowd(calls)

    @property
    def calls_in_flight(self):
        return self.slots.slots_taken

    cdef int on_crowd(self) except -1:
        # A REQUEST is being written: the owner, which may want to dial, is notified in another turn.
        self.loop_state.call_soon(self._tell_crowd)
        return 0

    def _tell_crowd(self):
        if not self.is_closed:
            self.owner.connection_crowded(self)

    cdef int on_aged(self) except -1:
        if self.is_aged or not self.is_ready:
            # No successor came in time, or the server has never taken calls.
            return self._begin_retiring()
        # The aged connection takes calls until the owner has made a successor, and at most as long again.
        self.liveness.age_ns = 2 * (self.now - self.liveness.made_ns)
        self.is_aged = True
        self.is_dispensable = self._sent_only_probes()
        self.owner.connection_aged(self)
        return 0

    cdef int _begin_retiring(self) except -1:
        self._retire()
        self.is_retiring = True
        if self.serving is not None and self.phase == PHASE_OPEN and not self.is_closed:
            # Without a GOAWAY calls that the server begins now would be lost.
            self.begin_drain(REASON_MAX_AGE, "the client replaces the connection, or needs it no more")
        return self._close_when_idle()

    def present(self, bytes token not None):
        """Show the server a token; `on_verdict` is called with its answer."""
        self.now = now_ns()
        self.control.send_credential(b"bearer", token)
        self.on_output()

    def retire(self):
        if not self.is_closed:
            self._begin_retiring()

    def begin_probe(self, ClientCall call not None):
        call.is_probe = True
        # The call takes an id in the same step; if it has to wait for one, the connection is in use anyway.
        self.liveness.probes += 1

    def end_probe(self, ClientCall call not None):
        # A call without an id was never sent.
        if call.id == 0:
            self.liveness.probes -= 1

    cdef bint is_unused(self) except -1:
        """Return whether nothing is under way, probes aside."""
        cdef ClientCall call
        if self.liveness.probes == 0 or self.slots.opened.size == 0:
            return self.is_idle()
        if self.callee.calls.size or self.callee.one_way_calls:
            return False
        for call in self.slots.opened.entries():
            if not call.is_probe:
                return False
        return True

    cdef int on_idle(self) except -1:
        self.is_dispensable = True
        return self._begin_retiring()

    def _retire(self):
        """Take no new calls."""
        if self._sent_only_probes():
            self.is_dispensable = True
        self.is_usable = False
        self.owner.connection_draining(self)

    cdef bint _sent_only_probes(self) noexcept:
        return self.sender.data_frames_sent <= self.liveness.probes

    cdef int _close_when_idle(self) except -1:
        """Close a connection that takes no new calls, after its last call and, if the server drains, after FINAL."""
        if self._is_leaving() and self.slots.opened.size == 0 and not self.is_closed and not self.slots.unsent_calls():
            if self.serving is None or self._has_served():
                self.close()
            else:
                self.schedule_check(self.now + SERVED_LOOK_NS)
        return 0

    cdef bint _is_leaving(self) noexcept:
        """Return whether it may close after its last call: the server has sent FINAL, or only this side ends it."""
        return self.peer_sent_final or (self.is_retiring and not self.peer_drains)

    cdef bint _has_served(self) noexcept:
        """Return whether no call of the server is under way, and the server knows that no further one is accepted."""
        if self.callee.calls.size or self.callee.one_way_calls or self.sender.unsent_bytes():
            return False
        return not self.is_retiring or self.drain_step != DRAIN_ANNOUNCED

    cdef uint64_t check(self, uint64_t now) except? 0:
        cdef uint64_t due = Connection.check(self, now)
        if self.is_closed or self.serving is None or not self._is_leaving():
            return due
        self._close_when_idle()
        due = earlier(due, now + SERVED_LOOK_NS)
        return self.liveness.linger_until_ns if self.is_closed else due

    cdef int on_forgotten(self, Call call) except -1:
        if self.peer_sent_final or self.is_retiring:
            self._close_when_idle()
        return 0

    cdef int on_closed(self) except -1:
        Connection.on_closed(self)
        self.owner.connection_draining(self)
        return 0

    cdef int eof(self) except -1:
        self.is_usable = False
        return 0

    cdef int lost(self, object error) except -1:
        Connection.lost(self, error)
        self.owner.connection_lost(self, error)
        return 0

    def stats(self):
        """Return the state of this connection as plain data."""
        return {
            "calls": self.slots.opened.size,
            "waiting": sum(
                not (<Outgoing>item).is_dropped
                for queue in self.slots.queues()
                for item in queue
            ),
            "buffered": self.untaken_bytes(),
            "credit": self.sender.send_left,
        }
