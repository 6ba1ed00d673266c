"""Credit and budgets: counted quantities that a peer may use up, as plain C."""

from libc.stdint cimport int64_t, uint64_t

cdef enum:
    FIRST_CONNECTION_WINDOW = 65536
    CONNECTION_WINDOW = 16_777_216
    HIGHEST_WINDOW = 0x7FFFFFFF


cdef struct Window:
    # Bytes that may still come (or be sent) before the other side returns credit; below 0 is a violation.
    int64_t left
    # Bytes placed and not yet returned as credit.
    int64_t owed
    # What `left` is when nothing is under way.
    int64_t size


cdef struct Budget:
    # A token bucket: `left` of `capacity` now, `per_second` (or so many a minute) come back, never above capacity.
    int64_t left
    int64_t capacity
    int64_t per_second
    uint64_t refilled_ns
    bint per_minute


cdef inline void open_window(Window* window, int64_t size) noexcept nogil:
    window.left = size
    window.owed = 0
    window.size = size


cdef inline int64_t placed(Window* window, int64_t size) noexcept nogil:
    """Count bytes as placed; the credit to return now, or 0: half a window at a time."""
    cdef int64_t credit
    window.owed += size
    if window.owed * 2 < window.size:
        return 0
    credit = window.owed
    window.left += credit
    window.owed = 0
    return credit


cdef inline void open_budget(Budget* budget, int64_t capacity, int64_t per_second) noexcept nogil:
    budget.left = capacity
    budget.capacity = capacity
    budget.per_second = per_second
    budget.refilled_ns = 0
    budget.per_minute = False


cdef inline bint spend(Budget* budget, int64_t amount, uint64_t now_ns) noexcept nogil:
    """Take `amount` from the budget; False when it is used up."""
    cdef uint64_t unit = 60_000_000_000 if budget.per_minute else 1_000_000_000
    cdef uint64_t elapsed, refill
    if budget.left < amount and budget.left < budget.capacity:
        # A minute refills every budget there is; the cap keeps the product small.
        elapsed = min(now_ns - budget.refilled_ns, <uint64_t>60_000_000_000)
        refill = elapsed // 1000 * <uint64_t>budget.per_second // (unit // 1000)
        if refill:
            budget.left = min(budget.capacity, budget.left + <int64_t>refill)
            budget.refilled_ns = now_ns
    if budget.left < amount:
        return False
    if budget.left == budget.capacity:
        budget.refilled_ns = now_ns
    budget.left -= amount
    return True
