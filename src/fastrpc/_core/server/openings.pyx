"""Connections of a server in their opening: some are read, some wait, some are closed.

::

    accepted ──► heard_ns: read, silent so far ──► complete opening: open
                    │                ├─► bytes of a TLS handshake: not silent
                    │                └─► part of the opening: begun, then prefaced; at most `limit` of each,
                    │                                         the others wait and are not read
                    └─► more than `limit` openings: the one silent for longest is closed

A peer that sends its opening in one piece is open after its first bytes, even if many other peers are silent or slow.
"""

import logging
from collections import OrderedDict

from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.loop.loop_state cimport STALL_NS
from fastrpc._core.native.parts_owner cimport PHASE_PREFACE

# PROTOCOL.md, "Opening": above the limit, a connection is closed after this time without a byte.
cdef uint64_t SILENCE_NS = 200_000_000
# The delay of a check that was late, because input that was sent meanwhile may still be unread.
cdef uint64_t PUT_OFF_NS = 50_000_000

logger = logging.getLogger("fastrpc.server")


cdef class Openings(Timed):
    """The connections of one server whose opening is not complete."""

    def __init__(self, Gate gate not None, Py_ssize_t limit, str bound not None="Admission.handshakes"):
        self.gate = gate
        self.bound = bound
        self.loop_state = gate.loop_state
        self.limit = limit
        self.heard_ns = OrderedDict()
        self.begun = set()
        self.prefaced = set()
        self.waiting = {}
        self.waiting_prefaced = {}

    def __len__(self):
        return len(self.heard_ns) + len(self.waiting) + len(self.waiting_prefaced)

    cdef bint accept(self, PartsOwner connection, bint is_surplus) except -1:
        """Add an accepted, counted connection; return `is_surplus`: whether it exceeds `Limits.connections`."""
        # A connection over the limit opens to get the reason, unless there are too many of them.
        if is_surplus and len(self.gate.engines) > self.gate.connections + self.limit:
            connection.abort()
            return True
        _add(self, connection, connection.now)
        return is_surplus

    def add_undecided(self, connection):
        """Add a connection whose protocol is unknown, or note bytes from it. A silent one is closed by its `abort`."""
        self.heard_ns.pop(connection, None)
        _add(self, connection, now_ns())

    def leave_undecided(self, connection):
        """Remove a connection whose protocol is known or that was lost."""
        self.heard_ns.pop(connection, None)
        if len(self) <= self.limit:
            self.is_reported = False

    cdef int goes_on(self, PartsOwner connection) except -1:
        """Note bytes of a TLS handshake. It needs no slot, because a handshake always takes several turns."""
        if connection in self.heard_ns:
            self.heard_ns[connection] = connection.now
            self.heard_ns.move_to_end(connection)
        return 0

    cdef int heard(self, PartsOwner connection) except -1:
        """Note bytes that do not complete the opening."""
        if connection not in self.heard_ns or connection.is_closed:
            return 0
        self.heard_ns[connection] = connection.now
        self.heard_ns.move_to_end(connection)
        if connection.phase == PHASE_PREFACE:
            return _take_slot(self, connection, self.begun, self.waiting)
        if connection in self.begun:
            self.begun.discard(connection)
            _fill_slots(self, self.begun, self.waiting)
        return _take_slot(self, connection, self.prefaced, self.waiting_prefaced)

    cdef int leave(self, PartsOwner connection) except -1:
        """Remove a connection that is open or was lost."""
        self.heard_ns.pop(connection, None)
        self.waiting.pop(connection, None)
        self.waiting_prefaced.pop(connection, None)
        self.begun.discard(connection)
        self.prefaced.discard(connection)
        _fill_slots(self, self.prefaced, self.waiting_prefaced)
        _fill_slots(self, self.begun, self.waiting)
        if len(self) <= self.limit:
            self.is_reported = False
        return 0

    # Silence

    cdef int on_timer(self) except -1:
        cdef uint64_t now = now_ns(), late = now - min(now, self.look_ns)
        self.look_ns = 0
        if late > STALL_NS and not self.is_put_off:
            self.is_put_off = True
            return _look_at(self, now + PUT_OFF_NS)
        self.is_put_off = False
        return _close_silent(self, now)


cdef int _add(Openings openings, object connection, uint64_t now) except -1:
    openings.heard_ns[connection] = now
    if len(openings) > openings.limit:
        return _look_at(openings, <uint64_t>next(iter(openings.heard_ns.values())) + SILENCE_NS)
    return 0


cdef int _take_slot(Openings openings, PartsOwner connection, set slots, dict waiting) except -1:
    cdef ByteStream stream
    if connection in slots:
        return 0
    if len(slots) < openings.limit:
        slots.add(connection)
    else:
        del openings.heard_ns[connection]
        waiting[connection] = None
        stream = _stream_of(connection)
        if stream is not None:
            stream.hold_back(True)
    return 0


cdef int _fill_slots(Openings openings, set slots, dict waiting) except -1:
    cdef PartsOwner connection
    cdef ByteStream stream
    while waiting and len(slots) < openings.limit:
        connection = <PartsOwner>next(iter(waiting))
        del waiting[connection]
        stream = _stream_of(connection)
        if stream is not None and not stream.is_ending():
            slots.add(connection)
            openings.heard_ns[connection] = now_ns()
            stream.hold_back(False)
    return 0


cdef ByteStream _stream_of(PartsOwner connection):
    return None if connection._stream is NULL else <ByteStream>connection._stream


cdef bint _waits_for_turn(PartsOwner connection) except -1:
    """Return whether received bytes wait for their turn; reading pauses until then."""
    cdef ByteStream stream = _stream_of(connection)
    return stream is not None and stream.waits_for_turn()


cdef int _look_at(Openings openings, uint64_t due_ns) except -1:
    if openings.look_ns == 0:
        openings.look_ns = due_ns
        openings.loop_state.start_timer(openings, due_ns)
    return 0


cdef int _close_silent(Openings openings, uint64_t now) except -1:
    """Close silent connections, the longest silent first, until at most `limit` are left."""
    cdef uint64_t heard
    while openings.heard_ns and len(openings) > openings.limit:
        connection = next(iter(openings.heard_ns))
        heard = openings.heard_ns[connection]
        # This check has to be first: it ends the loop if every connection waits for its turn (below).
        if now < heard + SILENCE_NS:
            return _look_at(openings, heard + SILENCE_NS)
        if isinstance(connection, PartsOwner) and _waits_for_turn(<PartsOwner>connection):
            # The connection is not silent: its received bytes wait for a turn of the loop.
            openings.heard_ns[connection] = now
            openings.heard_ns.move_to_end(connection)
            continue
        if not openings.is_reported:
            openings.is_reported = True
            logger.warning(
                "%d connections are in their opening: silent ones are closed (%s is %d)",
                len(openings), openings.bound, openings.limit,
            )
        if isinstance(connection, PartsOwner):
            openings.leave(<PartsOwner>connection)
        else:
            openings.leave_undecided(connection)
        connection.abort()
    return 0
