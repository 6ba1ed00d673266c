"""The rule by which a silent peer is pinged, and disconnected if no answer arrives."""

from libc.stdint cimport uint64_t

cdef enum Verdict:
    # Check again at `due_ns`; 0: never.
    PEER_LIVES = 0
    # The peer was silent for the interval: send a PING and call `asked`, or check again after another interval.
    PEER_IS_SILENT = 1
    # No answer arrived in time.
    PEER_IS_GONE = 2

cdef enum:
    # The time until a second check of a silent peer, after a turn of the loop: its answer may have just arrived.
    LOOK_AGAIN_NS = 2_000_000


cdef struct Silence:
    # The time without data from the peer after which a PING is sent; 0: no PINGs are sent.
    uint64_t interval_ns
    # The shortest interval that the peer accepts.
    uint64_t least_ns
    # The time from a PING to the end of the connection.
    uint64_t timeout_ns
    # The instant of the unanswered PING; 0: none.
    uint64_t asked_ns
    # Whether the answer was overdue at the last check.
    bint is_late


cdef inline uint64_t interval_of(const Silence* silence) noexcept nogil:
    return max(silence.interval_ns, silence.least_ns)


cdef inline uint64_t asked(Silence* silence, uint64_t now) noexcept nogil:
    """Note that a PING was sent; return the instant at which its answer is overdue."""
    silence.asked_ns = now
    return now + silence.timeout_ns


cdef inline void forgive_silence(Silence* silence, uint64_t late) noexcept nogil:
    """Note that this side read nothing for `late` nanoseconds, which do not count as silence of the peer."""
    if silence.asked_ns:
        silence.asked_ns += late


cdef inline void forget_asked(Silence* silence) noexcept nogil:
    silence.asked_ns = 0
    silence.is_late = False


cdef inline int judge_silence(Silence* silence, uint64_t now, uint64_t heard_ns, uint64_t* due_ns) noexcept nogil:
    """Compare the instant of the last received data with now; return a Verdict."""
    due_ns[0] = 0
    if silence.interval_ns == 0:
        return PEER_LIVES
    if silence.asked_ns and heard_ns >= silence.asked_ns:
        forget_asked(silence)
    if silence.asked_ns:
        due_ns[0] = silence.asked_ns + silence.timeout_ns
        if now < due_ns[0]:
            return PEER_LIVES
        if silence.is_late:
            return PEER_IS_GONE
        silence.is_late = True
        due_ns[0] = now + LOOK_AGAIN_NS
        return PEER_LIVES
    due_ns[0] = heard_ns + interval_of(silence)
    return PEER_LIVES if now < due_ns[0] else PEER_IS_SILENT
