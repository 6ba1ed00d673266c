"""The server's side of a native connection on an event loop: its opening, drain and end.

::

    ServerConnection (a Connection) ──holds──► ServerSide    makes the decisions for parts of the connection
        events of the stream, calls of the server ──► Connection, ServerSide

`ServedCalls` serves the client's calls. If the client serves too, `OwnCalls` makes the calls of this side.
"""

import logging

cimport cython
from libc.stdint cimport uint8_t, uint32_t

from fastrpc._core.base.instants cimport earlier, nanoseconds
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.native.parts_owner cimport PHASE_OPEN, PHASE_PREFACE
from fastrpc._core.server.connection_life cimport ConnectionLife
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.served_call cimport keep_identities
from fastrpc._core.server.served_connection cimport ServedConnection
from fastrpc._core.wire.frame cimport HEADER_SIZE, REASON_AUTHENTICATION, REASON_DRAIN, REASON_MAX_AGE, Frame
from fastrpc._core.wire.window cimport CONNECTION_WINDOW

from fastrpc._core.base.histogram import count_refusal
from fastrpc._core.server.served_calls import serve_on

cdef uint64_t SECOND = 1_000_000_000
# The time that a connection in its opening has to open when the server drains.
cdef uint64_t OPENING_NS = SECOND
# A connection is replaced after this part (80 %) of the remaining validity of its certificate, so that a newer
# certificate takes effect in time. It is not replaced if the certificate is valid for less than SHORTEST_LIFE_NS.
cdef uint64_t REPLACED_NS = 800_000_000
cdef uint64_t SHORTEST_LIFE_NS = SECOND

logger = logging.getLogger("fastrpc.server")


@cython.final
cdef class ServerSide(Side):
    """The decisions of the server's side of one connection."""

    # The opening

    cdef int begin(self) except -1:
        """Count the connection, and start the time limit of its opening."""
        cdef ServerConnection connection = self.connection()
        self.is_opening = True
        connection.schedule_check(self.served().life.begin(connection.now))
        self.is_surplus = self.openings.accept(connection, self.served().life.count_in())
        return 0

    cdef int leave_opening(self) except -1:
        """Note that the connection is open or was lost."""
        if self.is_opening:
            self.is_opening = False
            self.openings.leave(self.connection())
        return 0

    cdef int on_ready(self) except -1:
        cdef ServerConnection connection = self.connection()
        self.leave_opening()
        if self.is_surplus:
            logger.debug(
                "refused the connection of %s: there are %d",
                self.served().connection.describe_peer(),
                self.served().gate.connections,
                extra={"event": "connection_refused"},
            )
            return connection.close_with(REASON_DRAIN, self.served().life.surplus_text())
        if self.pending_drain >= 0:
            connection.begin_drain(self.pending_drain)
        if logger.isEnabledFor(logging.DEBUG):
            peer = self.served().connection.describe_peer()
            logger.debug("a connection of %s opened", peer, extra={"event": "connection_opened"})
        connection.schedule_check(connection.check(connection.now))
        # Identify the peer by its certificate, for which no verdict is sent.
        self.served().life.meet_peer()
        return 0

    cdef int on_stranger(self, str text, bytes first) except -1:
        self.served().gate.dispatcher.stranger(self.served().connection.describe_peer(), text, first)
        return 0

    # The identity of the peer

    cdef bint on_credential(self, Frame* frame) except -1:
        """Start to verify a credential. Later frames wait for the verdict."""
        cdef ServerConnection connection = self.connection()
        cdef int scheme = <uint8_t>frame.payload[1]
        if self.served().gate.guards.access is None:
            return False
        if frame.payload[0] != 0:
            connection.close_with(REASON_AUTHENTICATION, "AUTH that answers no challenge")
        elif not self.served().gate.guards.access.authentication.begin(
            connection, frame.payload[4:4 + scheme], frame.payload[4 + scheme:frame.payload_size]
        ):
            connection.sender.below().hold_input()
        return True

    cdef bint prove(self, object identity, uint64_t expires_ns, bint by_certificate, uint64_t generation) except -1:
        """Set the proven identity of the peer; return False if another identity was proved before."""
        cdef ServerConnection connection = self.connection()
        cdef ServedConnection served = self.served().connection
        if served.proven_name is not None and served.proven_name != identity.name:
            # A token that is presented before the first call may replace the certificate's identity.
            if not self.is_by_certificate or connection.callee.highest_id:
                return False
        self.is_by_certificate = by_certificate
        if served.identity != identity:
            keep_identities(served)
        served.prove(identity, expires_ns)
        # If the verdict was made from an older generation of the files, the next call verifies again.
        served.generation = generation
        self.replace_at_ns = 0
        if by_certificate and expires_ns > connection.now + SHORTEST_LIFE_NS:
            self.replace_at_ns = connection.now + (expires_ns - connection.now) // SECOND * REPLACED_NS
            connection.schedule_check(self.replace_at_ns)
        else:
            connection.schedule_check(expires_ns)
        return True

    # Leaving

    cdef bint awaits_opening(self, int reason) except -1:
        """Defer the drain of a connection in its opening; return whether that was done.

        The connection drains when it is open, or is closed after OPENING_NS.
        """
        cdef ServerConnection connection = self.connection()
        if connection.phase != PHASE_PREFACE or connection.is_closed:
            self.pending_drain = -1
            return False
        connection.serving.on_drain()
        self.pending_drain = reason
        self.served().life.leave_at_ns = connection.now + OPENING_NS
        connection.schedule_check(self.served().life.leave_at_ns)
        return True

    cdef int on_drained(self) except -1:
        return self.served().gate.runner.tell_watcher()

    cdef uint64_t check(self, uint64_t now) except? 0:
        """Drain a connection whose certificate expires soon; return the instant of the next check."""
        if self.replace_at_ns and now >= self.replace_at_ns:
            self.replace_at_ns = 0
            self.connection().begin_drain(REASON_MAX_AGE, "the certificate of the client expires soon")
        return self.replace_at_ns


cdef int _trust_peer(ServerSide side) except -1:
    """Note that the peer is authenticated: from now on it has the announced limits, and the whole window."""
    cdef ServerConnection connection = side.connection()
    if connection.keeps_window:
        connection.keeps_window = False
        connection.bound_messages()
        if connection.preface_sent:
            connection.router.raise_window(
                max(<Py_ssize_t>CONNECTION_WINDOW, <Py_ssize_t>connection.ours.max_frame + HEADER_SIZE)
            )
    return 0


cdef bint _peer_rests(ServerSide side) noexcept:
    """Return whether the peer is idle, and reads only while it waits for an answer: it reads again before its next call.
    """
    cdef ServerConnection connection = side.connection()
    return connection.settled and connection.peer.ping_reply_ms == 0 and connection.callee.calls.size == 0


@cython.final
cdef class ServerConnection(Connection):
    """The server's side of one connection."""

    def __init__(self, *, Gate gate not None, Openings openings not None, timeouts, keepalive, **options):
        cdef ServerSide decisions = ServerSide.__new__(ServerSide)
        cdef ConnectionLife life
        Connection.__init__(self, is_client=False, **options)
        self.now = now_ns()
        self.liveness.set_rules(timeouts, keepalive)
        self.loop_state = gate.loop_state
        serve_on(self, gate)
        life = (<ServedCalls?>self.serving).life
        # A peer that has to authenticate gets the lowest limits until it has done so.
        self.keeps_window = gate.guards.access is not None
        decisions.openings = openings
        decisions.pending_drain = -1
        life.handshake_ns = nanoseconds(timeouts.handshake)
        life.idle_ns = nanoseconds(timeouts.idle)
        life.set_age(timeouts, keepalive)
        life.drains_at_rest = True
        self.take_side(decisions)

    @property
    def gate(self):
        """The gate that all connections share."""
        return self.decisions().served().gate

    # Called by the server

    def identify(self, identity not None, valid_seconds=None, *, bint by_certificate=False, uint64_t generation=0):
        """Set the proven identity of the peer, and its expiry; return False if another identity was proved before."""
        cdef uint64_t expires_ns
        self.now = now_ns()
        expires_ns = 0 if valid_seconds is None else self.now + <uint64_t>(max(0.0, valid_seconds) * 1e9)
        return self.decisions().prove(identity, expires_ns, by_certificate, generation)

    def go_on(self):
        """Handle the frames that waited for a verdict."""
        if not self.is_closed:
            if self.decisions().served().connection.proven_name is not None:
                _trust_peer(self.decisions())
            if self._stream is not NULL:
                (<ByteStream>self._stream).release_input()

    def answer_auth(self, int status, str text not None="", uint32_t valid_seconds=0):
        """Send the verdict on a credential. A verdict other than OK ends the connection."""
        if self.is_closed:
            return
        self.now = now_ns()
        self.control.send_verdict(status, text.encode("utf-8", "replace"), valid_seconds)
        if status:
            count_refusal("unauthenticated")
            self.close_with(REASON_AUTHENTICATION, text)
        else:
            # After the verdict.
            _trust_peer(self.decisions())
            self.written()
            if self._stream is not NULL:
                (<ByteStream>self._stream).release_input()

    def begin_drain(self, int reason, str text=""):
        """Refuse new calls. A connection in its opening is notified when it is open.

        Handlers are notified through `current_call().draining`, so that endless handlers can end.
        """
        self.now = now_ns()
        if self.decisions().awaits_opening(reason):
            return
        Connection.begin_drain(self, reason, text)
        if _peer_rests(self.decisions()):
            self.control.finish_drain()

    # Its facts

    def describe_peer(self):
        """The peer."""
        return self.connection.describe_peer()

    @property
    def held_bytes(self):
        """The bytes that this connection holds: requests, call records, output, reads that wait for a turn."""
        return self.connection.held_bytes

    def stats(self):
        """Return the state of this connection as plain data."""
        return {
            "calls": self.callee.calls.size,
            "one_way": self.callee.one_way_calls,
            "calling": self.slots.opened.size,
            "buffered": self.sender.untaken_bytes(),
            "credit": self.sender.send_left,
        }

    # Events of its stream

    cdef int connected(self) except -1:
        Connection.connected(self)
        return self.decisions().begin()

    cdef int read_done(self) except -1:
        if self.decisions().is_opening:
            self.decisions().openings.heard(self)
        return Connection.read_done(self)

    cdef int heard_below(self) except -1:
        return self.decisions().openings.goes_on(self) if self.decisions().is_opening else 0

    cdef bint hears_rest_first(self) except -1:
        # Without a call in progress, handle the held input before the end of the input. It waits for a verdict, and may
        # contain one-way calls, which need no answer.
        return not (self.callee.calls.size or self.callee.one_way_calls or self.slots.opened.size)

    cdef uint64_t check(self, uint64_t now) except? 0:
        cdef uint64_t due
        if self.phase == PHASE_OPEN and self.first_settings_acknowledged:
            self.decisions().served().life.opening_due_ns = 0
        due = Connection.check(self, now)
        if self.is_closed:
            return due
        due = earlier(due, self.decisions().check(now))
        return self.liveness.linger_until_ns if self.is_closed else due

    cdef int end_stream(self) except -1:
        if _peer_rests(self.decisions()):
            # No linger: the peer reads only before its next call, and would not notice the close earlier.
            self.liveness.linger_ns = 0
        self.decisions().leave_opening()
        Connection.end_stream(self)
        return self.decisions().served().gate.runner.tell_watcher()

    cdef int lost(self, object error) except -1:
        self.decisions().leave_opening()
        return Connection.lost(self, error)
