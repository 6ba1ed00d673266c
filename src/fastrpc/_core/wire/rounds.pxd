"""Deficit round robin in bytes: the arithmetic of the turns that the calls of a connection have; see `native/outgoing`.

A share is what a call may send in the turn it belongs to; below 0 the call owes bytes.
"""

from libc.stdint cimport int64_t, uint32_t

cdef enum:
    # Bytes that a call may send in each turn. They take some 10 µs on a fast line, by which one more call delays the
    # others, and are long enough to make the cost of a frame negligible.
    QUANTUM = 16_384
    # The most that a call owes, as one frame may exceed a share by more. Bytes sent while no other wanted to send took
    # nothing from the others.
    MOST_OWED = 65_536
    # The bytes shared out in one turn of the connection.
    MOST_IN_ONE_TURN = 262_144
    # Quanta that calls and answers get at once if all get theirs within as many turns: 64 KiB are sent whole.
    QUANTA_OF_CALLS = 4


cdef struct Round:
    # The sum of the quanta of all that wait for their turn, and the number that belong to streams.
    int64_t quanta
    int64_t streams
    # The number of the turn of the connection. `quanta_at_once`: the quanta that each gets at once in this turn.
    # `is_shared`: whether more than one took part.
    uint32_t turn
    int64_t quanta_at_once
    bint is_shared


cdef inline void open_round(Round* round) noexcept nogil:
    round.quanta = round.streams = 0
    round.quanta_at_once = 1
    # Calls begin with 0.
    round.turn = 1
    round.is_shared = False


cdef inline void next_turn(Round* round, Py_ssize_t room, Py_ssize_t waiting) noexcept nogil:
    """Begin a turn of the connection with `room` bytes, in which `waiting` ids wait."""
    cdef int64_t most = min(<int64_t>room, <int64_t>MOST_IN_ONE_TURN), all_once = max(round.quanta, <int64_t>1)
    round.turn += 1
    round.is_shared = waiting > 1
    round.quanta_at_once = max(<int64_t>1, most // all_once)
    if round.streams == 0 and round.quanta_at_once < QUANTA_OF_CALLS:
        round.quanta_at_once = max(<int64_t>1, min(<int64_t>QUANTA_OF_CALLS, QUANTA_OF_CALLS * most // all_once))


cdef inline int64_t granted(const Round* round, int64_t share, int64_t quantum, bint is_saving) noexcept nogil:
    """Return the share of this turn: the quanta and the kept bytes; with `is_saving`, until the share suffices."""
    cdef int64_t kept = 0
    if is_saving:
        kept = share
    elif round.is_shared:
        kept = min(share, quantum)
    return kept + quantum * round.quanta_at_once


cdef inline void take_off(
    const Round* round, int64_t* share, uint32_t* turn, int64_t quantum, Py_ssize_t size
) noexcept nogil:
    """Subtract written bytes from a share; in a new turn the share has a quantum at once."""
    if turn[0] != round.turn:
        turn[0] = round.turn
        share[0] = quantum + (min(share[0], <int64_t>0) if round.is_shared else 0)
    share[0] = max(share[0] - size, <int64_t>-MOST_OWED)


cdef inline bint has_used_up(const Round* round, int64_t share, uint32_t turn, bint any_waits) noexcept nogil:
    """Return whether a call has to wait for its turn before it sends more, because others want to send as well."""
    return share <= 0 and turn == round.turn and (round.is_shared or any_waits)
