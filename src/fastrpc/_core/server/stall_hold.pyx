"""The hold of a connection's calls after a stall of the loop: until its socket was seen empty, or too long."""

from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.server.served_call cimport WaitingCalls
from fastrpc._core.server.served_connection cimport HOLD_QUEUE, HOLD_STALL
from fastrpc._core.wire.frame cimport ONE_WAY

cdef enum:
    # After so many turns of the loop, or so many bytes of requests, or so many waiting one-way calls, calls start
    # although there is still more to read. One turn alone may bring megabytes.
    MOST_LOOKS = 6
    PATIENT_LOOKS = 24
    # Nor is a turn waited for longer than so many holds more: the turns of a thousand busy connections are long.
    PATIENT_HOLDS = 2
    MOST_CAUGHT_UP = 1_048_576
    MOST_WAITING = 1_000


cdef int begin_hold(ServedConnection connection, uint64_t hold_ns) except -1:
    connection.holding |= HOLD_STALL
    connection.stalled_held = connection.request_held
    connection.looks = 0
    connection.patience = PATIENT_LOOKS
    connection.held_until_ns = now_ns() + hold_ns
    connection.patient_until_ns = connection.held_until_ns + PATIENT_HOLDS * hold_ns
    return 0


cdef bint is_caught_up(ServedConnection connection, uint64_t hold_ns, uint64_t now) except -1:
    """End the hold if a whole turn of the loop brought nothing more to read, or enough was read, or it took too long."""
    cdef bint has_read = connection.received_ns != connection.seen_read_ns
    if connection.queue is not None and len(connection.queue) >= MOST_WAITING and starts_one_way(connection.queue):
        connection.looks = MOST_LOOKS
    elif connection.waits_for_turn() and connection.patience > 0 and now < connection.patient_until_ns:
        # Until its turn nothing more is read. But among a thousand busy connections it waits for one at each check. No date
        # tells whether a cancel is still to come: behind a full window the peer's machine keeps what was sent long ago, so
        # that a socket is read empty several times before that has come.
        connection.patience -= 1
        connection.held_until_ns = now + hold_ns
        return False
    connection.looks += 1
    if now < connection.held_until_ns and (connection.looks == 1 or has_read and connection.looks < MOST_LOOKS and (
        connection.request_held - connection.stalled_held < MOST_CAUGHT_UP
    )):
        # The first check comes before this turn's reads.
        connection.seen_read_ns = connection.received_ns
        return False
    connection.holding &= ~HOLD_STALL
    if connection.queue:
        connection.holding |= HOLD_QUEUE
    return True


cdef bint starts_one_way(WaitingCalls queue) except -1:
    """Return whether the oldest call of this queue, which is not empty, is a one-way call: nothing can cancel it."""
    return queue.oldest().flags & ONE_WAY != 0
