"""Deficit round robin in bytes: the arithmetic of the turns of a connection's calls; see `native/outgoing`.

A share is the number of bytes that a call may still send in its turn; below 0 the call owes bytes.
"""

from libc.stdint cimport int64_t, uint32_t

cdef enum:
    # The bytes that a call may send in each turn. They take some 10 µs on a fast line, so a further call delays the
    # others by that time, and they are enough to make the cost of a frame negligible.
    QUANTUM = 16_384
    # The most bytes that a call can owe. One frame may exceed a share by more than that, but bytes sent while no other
    # call wanted to send took nothing from the others.
    MOST_OWED = 65_536
    # The bytes shared out in one turn of the connection.
    MOST_IN_ONE_TURN = 262_144
    # While no stream waits, each call or answer gets up to this many quanta in one turn, so that 64 KiB are sent in one
    # piece. It gets fewer if serving all of them would take more than this many turns.
    QUANTA_OF_CALLS = 4


cdef struct Round:
    # `quanta`: the sum of the quanta of all calls that wait for their turn; `streams`: how many of these calls are
    # streams.
    int64_t quanta
    int64_t streams
    # `turn`: the number of the connection's turn. `quanta_at_once`: the quanta that each call gets in this turn.
    # `is_shared`: whether more than one call takes part.
    uint32_t turn
    int64_t quanta_at_once
    bint is_shared


cdef inline void open_round(Round* round) noexcept nogil:
    round.quanta = round.streams = 0
    round.quanta_at_once = 1
    # Calls begin with turn 0.
    round.turn = 1
    round.is_shared = False


cdef inline void next_turn(Round* round, Py_ssize_t room, Py_ssize_t waiting) noexcept nogil:
    """Begin a turn of the connection with `room` bytes, in which `waiting` calls wait."""
    cdef int64_t most = min(<int64_t>room, <int64_t>MOST_IN_ONE_TURN), all_once = max(round.quanta, <int64_t>1)
    round.turn += 1
    round.is_shared = waiting > 1
    round.quanta_at_once = max(<int64_t>1, most // all_once)
    if round.streams == 0 and round.quanta_at_once < QUANTA_OF_CALLS:
        round.quanta_at_once = max(<int64_t>1, min(<int64_t>QUANTA_OF_CALLS, QUANTA_OF_CALLS * most // all_once))


cdef inline int64_t granted(const Round* round, int64_t share, int64_t quantum, bint is_saving) noexcept nogil:
    """Return the share for this turn: new quanta and kept bytes. With `is_saving` all bytes are kept."""
    cdef int64_t kept = 0
    if is_saving:
        kept = share
    elif round.is_shared:
        kept = min(share, quantum)
    return kept + quantum * round.quanta_at_once


cdef inline void take_off(
    const Round* round, int64_t* share, uint32_t* turn, int64_t quantum, Py_ssize_t size
) noexcept nogil:
    """Subtract written bytes from a share. In a new turn the share first gets a quantum."""
    if turn[0] != round.turn:
        turn[0] = round.turn
        share[0] = quantum + (min(share[0], <int64_t>0) if round.is_shared else 0)
    share[0] = max(share[0] - size, <int64_t>-MOST_OWED)


cdef inline bint has_used_up(const Round* round, int64_t share, uint32_t turn, bint any_waits) noexcept nogil:
    """Return whether a call has to wait for its turn before it sends more, because other calls want to send."""
    return share <= 0 and turn == round.turn and (round.is_shared or any_waits)
