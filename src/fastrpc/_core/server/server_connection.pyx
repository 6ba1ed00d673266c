"""The server's side of a native connection on an event loop: its opening, drain and end.

`ServedCalls` has its calls; if the client serves too, `OwnCalls` has the calls of this side.
"""

import logging

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastrpc._core.base.instants cimport earlier, nanoseconds
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.native.parts_owner cimport PHASE_OPEN, PHASE_PREFACE
from fastrpc._core.server.connection_life cimport ConnectionLife
from fastrpc._core.server.served_call cimport keep_identities
from fastrpc._core.server.served_connection cimport ServedConnection
from fastrpc._core.wire.frame cimport HEADER_SIZE, REASON_AUTHENTICATION, REASON_DRAIN, REASON_MAX_AGE, Frame
from fastrpc._core.wire.window cimport CONNECTION_WINDOW

from fastrpc._core.base.histogram import count_refusal
from fastrpc._core.server.served_calls import serve_on

cdef uint64_t SECOND = 1_000_000_000
# The time in which a draining connection may open, and an idle one close by itself.
cdef uint64_t OPENING_NS = SECOND
cdef uint64_t LEAVING_NS = 2 * SECOND
# The part of each second of a certificate's validity after which its connection is replaced, so that a newer one counts
# in time. A shorter life is not worth a connection.
cdef uint64_t REPLACED_NS = 800_000_000
cdef uint64_t SHORTEST_LIFE_NS = SECOND

logger = logging.getLogger("fastrpc.server")


cdef class ServerConnection(Connection):
    """The server's side of one connection."""

    def __init__(self, *, Gate gate not None, Openings openings not None, timeouts, keepalive, **options):
        Connection.__init__(self, is_client=False, **options)
        self.now = now_ns()
        self.liveness.set_pings(timeouts, keepalive)
        self.loop_state = gate.loop_state
        serve_on(self, gate)
        self.served = <ServedCalls?>self.serving
        self.gate = gate
        # A peer that has to authenticate gets the floor of the limits until then.
        self.keeps_window = gate.guards.access is not None
        self.openings = openings
        self.served.life.handshake_ns = nanoseconds(timeouts.handshake)
        self.served.life.idle_ns = nanoseconds(timeouts.idle)
        self.served.life.set_age(timeouts, keepalive)
        self.pending_drain = -1

    cdef int connected(self) except -1:
        """Count the connection; its opening has to follow in time."""
        Connection.connected(self)
        self.is_opening = True
        self.schedule_check(self.served.life.begin(self.now))
        self.is_surplus = self.openings.accept(self, self.served.life.count_in())
        return 0

    # The identity of the peer

    cdef int on_auth(self, Frame* frame) except -1:
        """Have the credential verified; later frames wait for the verdict."""
        cdef int scheme = <uint8_t>frame.payload[1]
        if self.gate.guards.access is None:
            return Connection.on_auth(self, frame)
        if frame.payload[0] != 0:
            return self.violate(REASON_AUTHENTICATION, "AUTH that answers no challenge")
        if not self.gate.guards.access.authentication.begin(
            self, frame.payload[4:4 + scheme], frame.payload[4 + scheme:frame.payload_size]
        ):
            self.hold_input()
        return 0

    def identify(self, identity not None, valid_seconds=None, *, bint by_certificate=False, uint64_t generation=0):
        """Note the proven identity of the peer, and its expiry; another one than before ends the connection."""
        cdef ServedConnection connection = self.served.connection
        cdef uint64_t expires_ns
        self.now = now_ns()
        if connection.proven_name is not None and connection.proven_name != identity.name:
            # A token in front of the first call overrides the certificate of the connection.
            if not self.is_by_certificate or self.callee.highest_id:
                return False
        self.is_by_certificate = by_certificate
        expires_ns = 0 if valid_seconds is None else self.now + <uint64_t>(max(0.0, valid_seconds) * 1e9)
        if connection.identity != identity:
            keep_identities(connection)
        connection.prove(identity, expires_ns)
        # A verdict of an older generation of the files is requested again before a call.
        connection.generation = generation
        self.replace_at_ns = 0
        if by_certificate and expires_ns > self.now + SHORTEST_LIFE_NS:
            self.replace_at_ns = self.now + (expires_ns - self.now) // SECOND * REPLACED_NS
            self.schedule_check(self.replace_at_ns)
        elif expires_ns:
            self.schedule_check(expires_ns)
        return True

    def go_on(self):
        """Take the frames that waited for a verdict."""
        if not self.is_closed:
            if self.served.connection.proven_name is not None:
                self._trust_peer()
            self.release_input()

    def answer_auth(self, int status, str text not None="", uint32_t valid_seconds=0):
        """Send the verdict; a verdict other than OK ends the connection."""
        if self.is_closed:
            return
        self.now = now_ns()
        self.control.send_verdict(status, text.encode("utf-8", "replace"), valid_seconds)
        if status:
            count_refusal("unauthenticated")
            self.violate(REASON_AUTHENTICATION, text)
        else:
            # After the verdict.
            self._trust_peer()
            self.on_output()
            self.release_input()

    cdef int _trust_peer(self) except -1:
        """The peer is authenticated: from now on it has the announced limits, and the whole window."""
        if self.keeps_window:
            self.keeps_window = False
            self.bound_messages()
            if self.preface_sent:
                self._raise_window(max(<Py_ssize_t>CONNECTION_WINDOW, <Py_ssize_t>self.ours.max_frame + HEADER_SIZE))
        return 0

    def describe_peer(self):
        """The peer."""
        return self.connection.describe_peer()

    @property
    def held_bytes(self):
        """Bytes that this connection holds: requests, records of calls, output, reads that wait for a turn."""
        return self.connection.held_bytes

    # Opening and leaving

    cdef int read_done(self) except -1:
        if self.is_opening:
            self.openings.heard(self)
        return Connection.read_done(self)

    cdef int heard_below(self) except -1:
        return self.openings.goes_on(self) if self.is_opening else 0

    cdef int leave_opening(self) except -1:
        """The connection is open, or gone."""
        if self.is_opening:
            self.is_opening = False
            self.openings.leave(self)
        return 0

    cdef int on_ready(self) except -1:
        self.leave_opening()
        if self.is_surplus:
            logger.debug(
                "refused the connection of %s: there are %d",
                self.describe_peer(),
                self.gate.connections,
                extra={"event": "connection_refused"},
            )
            return self.close_with(REASON_DRAIN, self.served.life.surplus_text())
        if self.pending_drain >= 0:
            self.begin_drain(self.pending_drain)
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("a connection of %s opened", self.describe_peer(), extra={"event": "connection_opened"})
        Connection.on_ready(self)
        # The identity in a certificate counts as its verdict.
        self.served.life.meet_peer()
        return 0

    def begin_drain(self, int reason, str text=""):
        """Take no new calls; a connection in its opening is notified as soon as possible.

        Endless handlers are notified by `current_call().draining`.
        """
        self.now = now_ns()
        if self.phase == PHASE_PREFACE and not self.is_closed:
            self.serving.on_drain()
            self.pending_drain = reason
            self.served.life.leave_at_ns = self.now + OPENING_NS
            self.schedule_check(self.served.life.leave_at_ns)
            return
        self.pending_drain = -1
        Connection.begin_drain(self, reason, text)
        if self._peer_rests():
            self.finish_drain()

    cdef int finish_drain(self) except -1:
        Connection.finish_drain(self)
        return self.gate.runner.tell_watcher()

    cdef bint _peer_rests(self) noexcept:
        """Return whether the peer reads only while it waits, and waits for nothing: it reads this before its next call."""
        return self.settled and self.peer.ping_reply_ms == 0 and self.callee.calls.size == 0

    cdef int on_idle(self) except -1:
        if self.peer.max_calls:
            # The client keeps the connection for our calls.
            return 0
        self.begin_drain(REASON_DRAIN, "the connection was without calls (Timeouts.idle)")
        self.served.life.leave_at_ns = self.now + LEAVING_NS
        return 0

    cdef uint64_t check(self, uint64_t now) except? 0:
        cdef uint64_t due = Connection.check(self, now)
        if self.is_closed:
            return due
        due = earlier(due, self._check_life(now))
        return self.liveness.linger_until_ns if self.is_closed else due

    cdef uint64_t _check_life(self, uint64_t now) except? 0:
        """Give the life of the connection its facts, rule by rule: it ends by GOAWAY; return the next check."""
        cdef ConnectionLife life = self.served.life
        cdef bint is_stranger = self.phase == PHASE_PREFACE
        cdef uint64_t due
        if self.phase == PHASE_OPEN and self.first_settings_acknowledged:
            life.opened()
        due = life.check_opening(now)
        if self.is_closed:
            # Nothing was sent to the stranger, so an abort loses nothing.
            return self.cut_off() if is_stranger else 0
        if self.replace_at_ns and now >= self.replace_at_ns:
            self.replace_at_ns = 0
            self.begin_drain(REASON_MAX_AGE, "the certificate of the client expires soon")
        due = earlier(due, earlier(self.replace_at_ns, self._check_rest(now)))
        return earlier(due, life.check_age(now, False))

    cdef uint64_t _check_rest(self, uint64_t now) except? 0:
        """Drain a connection without calls for too long; return the instant of the next check."""
        cdef ConnectionLife life = self.served.life
        cdef uint64_t uses = self.used_ids() - 2 * self.liveness.probes
        if life.idle_ns == 0 or self.phase != PHASE_OPEN:
            return 0
        if not self.is_unused() or uses != self.liveness.idle_ids:
            self.liveness.idle_ids = uses
            life.used_ns = now
        if life.has_rested(now, True):
            life.idle_ns = 0
            self.on_idle()
            return life.leave_at_ns
        return min(life.next_ns, now + (life.idle_ns // 4 or 1))

    cdef int on_stranger(self, str text, bytes first) except -1:
        self.gate.dispatcher.stranger(self.describe_peer(), text, first)
        return 0

    cdef int on_closed(self) except -1:
        if self._peer_rests():
            # The peer would not notice the close before its next call, and then it reads before it writes.
            self.liveness.linger_ns = 0
        self.leave_opening()
        Connection.on_closed(self)
        return self.gate.runner.tell_watcher()

    cdef bint hears_rest_first(self) except -1:
        # Until a verdict, which comes in time: one-way calls may be all that the peer wanted.
        return not (self.callee.calls.size or self.callee.one_way_calls or self.slots.opened.size)

    cdef int lost(self, object error) except -1:
        self.leave_opening()
        return Connection.lost(self, error)

    def stats(self):
        """Return the state of this connection as plain data."""
        return {
            "calls": self.callee.calls.size,
            "one_way": self.callee.one_way_calls,
            "calling": self.slots.opened.size,
            "buffered": self.untaken_bytes(),
            "credit": self.sender.send_left,
        }
