"""Credit and budgets, in plain C: counted quantities that a peer may use up."""

from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.base.wire cimport MINUTE

cdef enum:
    # The idle-work budget of PROTOCOL.md, "Budgets": calls that may fail before a handler runs. A base, plus a number
    # for each call of MAX_CALLS.
    IDLE_CALLS = 1000
    IDLE_CALLS_PER_SLOT = 4
    IDLE_CALLS_PER_SECOND = 10_000
    FIRST_CONNECTION_WINDOW = 65536
    CONNECTION_WINDOW = 16_777_216
    HIGHEST_WINDOW = 0x7FFFFFFF


cdef struct Window:
    # Bytes that may still arrive (or be sent) before credit is returned; below 0 is a violation.
    int64_t left
    # Received bytes that were not yet returned as credit.
    int64_t owed
    # The value of `left` when no bytes are in flight.
    int64_t size


cdef struct Budget:
    # A token bucket that counts exactly: a token is `period` units, so that each nanosecond adds `rate` units, up to
    # `capacity`. `give` may raise `left` above it; then time adds nothing.
    int64_t left
    int64_t capacity
    int64_t rate
    int64_t period
    uint64_t looked_ns


cdef inline void open_window(Window* window, int64_t size) noexcept nogil:
    window.left = size
    window.owed = 0
    window.size = size


cdef inline int64_t placed(Window* window, int64_t size) noexcept nogil:
    """Count received bytes; return the credit to send now: half a window or more, else 0."""
    cdef int64_t credit
    window.owed += size
    if window.owed * 2 < window.size:
        return 0
    credit = window.owed
    window.left += credit
    window.owed = 0
    return credit


cdef inline void open_budget(Budget* budget, int64_t tokens, int64_t rate, int64_t period) noexcept nogil:
    """Fill a budget with `tokens`; `rate` tokens are added in each `period` of nanoseconds."""
    budget.left = budget.capacity = tokens * period
    budget.rate = rate
    budget.period = period
    budget.looked_ns = 0


cdef inline bint spend(Budget* budget, int64_t tokens, uint64_t now_ns) noexcept nogil:
    """Take tokens from the budget; return False if it has fewer."""
    cdef uint64_t elapsed
    if budget.left < budget.capacity and now_ns > budget.looked_ns:
        # The cap prevents an overflow of the product.
        elapsed = min(now_ns - budget.looked_ns, <uint64_t>MINUTE)
        budget.left = min(budget.capacity, budget.left + <int64_t>elapsed * budget.rate)
    budget.looked_ns = now_ns
    if budget.left < tokens * budget.period:
        return False
    budget.left -= tokens * budget.period
    return True


cdef inline void owe(Budget* budget, int64_t tokens, uint64_t now_ns) noexcept nogil:
    """Take tokens from the budget unconditionally: if too few are left, `left` becomes negative."""
    spend(budget, 0, now_ns)
    budget.left -= tokens * budget.period


cdef inline void give(Budget* budget, int64_t tokens, int64_t highest) noexcept nogil:
    """Add tokens up to `highest`, even above the level to which time refills the budget."""
    budget.left = max(budget.left, min(budget.left + tokens * budget.period, highest * budget.period))


cdef inline void widen(Budget* budget, int64_t tokens) noexcept nogil:
    """Raise the capacity of a budget to `tokens`. It never shrinks."""
    cdef int64_t growth = tokens * budget.period - budget.capacity
    if growth > 0:
        budget.capacity += growth
        budget.left += growth


cdef inline void fill(Budget* budget) noexcept nogil:
    budget.left = max(budget.left, budget.capacity)
