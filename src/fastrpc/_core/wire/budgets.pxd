"""The budgets of PROTOCOL.md 9 that the native protocol and HTTP/2 share: their sizes, and how they are spent."""

from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.base.wire cimport MINUTE, SECOND
from fastrpc._core.wire.window cimport IDLE_CALLS, IDLE_CALLS_PER_SECOND, Budget, give, open_budget

cdef enum:
    SETTINGS_PER_MINUTE = 32
    # Frames of unknown kinds.
    SKIPPED_FRAMES = 1000
    SKIPPED_FRAMES_PER_SECOND = 330
    # Frames for calls that have ended. LEAST_LATE_BYTES: the fewest bytes that such a frame costs in the byte budget.
    LATE_FRAMES = 1000
    LATE_FRAMES_PER_CALL = 4
    LATE_FRAMES_PER_SECOND = 330
    LEAST_LATE_BYTES = 64
    # CREDIT frames: a fixed number, plus an allowance for each frame that needs credit.
    FREE_CREDITS = 100
    CREDITS_PER_FRAME = 10
    # The cost in bytes of each piece of a message.
    PIECE_COST = 64
    PING_STRIKES = 3
    UNSENT_PING_ACKS = 1000


cdef struct PingCount:
    # `was_pinged`: whether the peer has sent a PING. `last_ns`: the instant of its last PING.
    bint was_pinged
    uint64_t last_ns
    # The number of consecutive PINGs that came too early.
    int strikes
    # The number of PING answers that wait because the peer receives no output.
    uint64_t unsent


cdef inline void open_settings(Budget* budget) noexcept nogil:
    open_budget(budget, SETTINGS_PER_MINUTE, SETTINGS_PER_MINUTE, MINUTE)


cdef inline void open_skipped(Budget* budget) noexcept nogil:
    open_budget(budget, SKIPPED_FRAMES, SKIPPED_FRAMES_PER_SECOND, SECOND)


cdef inline void open_idle_work(Budget* budget) noexcept nogil:
    open_budget(budget, IDLE_CALLS, IDLE_CALLS_PER_SECOND, SECOND)


cdef inline void pay_idle_work(Budget* budget) noexcept nogil:
    """Give one token back for an answered call, which offsets an unanswered call."""
    if budget.left < budget.capacity:
        give(budget, 1, budget.capacity // budget.period)


cdef inline void open_late_frames(Budget* budget) noexcept nogil:
    open_budget(budget, LATE_FRAMES, LATE_FRAMES_PER_SECOND, SECOND)


cdef inline void expect_late_frames(Budget* budget, int64_t calls) noexcept nogil:
    """Note the end of a call: an honest peer may still send some frames for it. At most `calls` calls can be open."""
    give(budget, LATE_FRAMES_PER_CALL, LATE_FRAMES + LATE_FRAMES_PER_CALL * calls)


cdef inline bint is_early_ping(PingCount* count, uint64_t now_ns, uint64_t gap_ns) noexcept nogil:
    """Count a PING of the peer. Return whether it is the third in a row that came before the gap was over."""
    if count.was_pinged and now_ns - count.last_ns < gap_ns:
        count.strikes += 1
        if count.strikes >= PING_STRIKES:
            return True
    else:
        count.strikes = 0
    count.was_pinged = True
    count.last_ns = now_ns
    return False


cdef inline bint too_many_answers(PingCount* count, bint is_stuck) noexcept nogil:
    """Count an answer to a PING. Return whether the peer leaves too many such answers unread."""
    count.unsent = count.unsent + 1 if is_stuck else 0
    return count.unsent > UNSENT_PING_ACKS
