"""The growth of stream windows, in plain C: when a window doubles, and when it gives half back.

::

    the sender waited for the window ──► note_short ─┐
    the reader waits, and no message is there ────────┴──► wanted_growth ──► has_growth ──► grow: credit
    the reader took half a window ──► is_due ──► settle: what a window larger than needed gives back ──► take_owed: credit

A window doubles, with bytes from the pool of its connection, if twice within two windows the application waits for a
message after the sender had to wait for the window: then only the window limits the stream. If the sender has not had
to wait for a long time, half of the window is given back: that credit is not returned to the sender. Each protocol
defines how it detects that the sender waited: the native protocol by a flag of the sender, HTTP/2 by DATA that uses up
its limit.
"""

from libc.stdint cimport int64_t

cdef enum:
    # Divisors. WINDOW_SHARE: of the pool, for the largest window; GROWTH_SHARE: of the pool, for the growth of all windows
    # together; STEP_SHARE: of the remaining growth, for the largest step.
    WINDOW_SHARE = 4
    GROWTH_SHARE = 2
    STEP_SHARE = 2
    # The number of windows without a wait of the sender after which a window is larger than needed.
    CALM_WINDOWS = 16
    # A window grows if it delays its reader again within this number of windows.
    HELD_UP_AGAIN = 2


cdef struct WindowPool:
    # Bytes that the streams of a connection may still borrow: for messages larger than their window, and for larger
    # windows.
    int64_t left
    # The most of these bytes that the growth of windows may use.
    int64_t growth_left
    # The size up to which one window may grow.
    int64_t most_window


cdef struct Growth:
    # `owed`: bytes taken but not yet returned as credit; `grown`: the growth of the window beyond its initial size.
    int64_t owed
    int64_t grown
    # Whether the sender had to wait for the window since the reader last waited.
    bint was_short
    # Whether the window has delayed the reader once.
    bint held_up
    # Bytes returned as credit since the window grew or delayed the reader.
    int64_t returned
    # Bytes returned as credit since the sender had to wait.
    int64_t calm


cdef inline void open_window_pool(WindowPool* pool, int64_t size, int64_t largest_message) noexcept nogil:
    """Let streams borrow `size` bytes, or more if the largest message would not fit beside windows that have grown."""
    pool.growth_left = size // GROWTH_SHARE
    pool.left = max(size, pool.growth_left + largest_message)
    pool.most_window = size // WINDOW_SHARE


cdef inline void note_short(Growth* window) noexcept nogil:
    """Note that the sender had to wait for the window."""
    window.was_short = True
    window.calm = 0


cdef inline bint is_due(const Growth* window, int64_t first_size) noexcept nogil:
    """Return whether the owed bytes are worth a credit: at least half a window."""
    return window.owed * 2 >= first_size + window.grown


cdef inline void give_back(Growth* window, WindowPool* pool, int64_t size) noexcept nogil:
    """Give growth of a window back to the pool."""
    window.grown -= size
    pool.growth_left += size
    pool.left += size


cdef inline int64_t settle(Growth* window, WindowPool* pool, int64_t first_size, bint may_lend) noexcept nogil:
    """Count owed bytes as returned. Return how many of them went to the pool, if the window is larger than needed."""
    cdef int64_t size = first_size + window.grown, kept
    window.returned += window.owed
    window.calm += window.owed
    if window.grown == 0 or (window.calm < CALM_WINDOWS * size and may_lend):
        return 0
    kept = min(size // 2, window.grown)
    window.owed -= kept
    window.calm = 0
    give_back(window, pool, kept)
    return kept


cdef inline int64_t take_owed(Growth* window) noexcept nogil:
    """Return the credit to send now: all owed bytes."""
    cdef int64_t credit = window.owed
    window.owed = 0
    return credit


cdef inline int64_t wanted_growth(
    Growth* window, const WindowPool* pool, int64_t first_size, bint has_messages
) noexcept nogil:
    """Return by how much the window has to grow, 0: not at all. Call this while the application waits for a message.

    If the sender had to wait as well, the window delays both sides. A single time may be chance: a slow reader, too,
    has no message if the sender pauses for a moment.
    """
    cdef int64_t size = first_size + window.grown, returned
    if not window.was_short:
        return 0
    window.was_short = False
    returned = window.returned + window.owed
    # The wait must concern the present window: a wait for an earlier, smaller window says nothing about it.
    if 4 * returned < 3 * size or has_messages:
        return 0
    if not window.held_up or returned > HELD_UP_AGAIN * size:
        window.held_up = True
        # Owed credit counts when it is returned.
        window.returned = -window.owed
        return 0
    return max(<int64_t>0, min(size, pool.most_window - size))


cdef inline bint has_growth(const WindowPool* pool, int64_t growth) noexcept nogil:
    """Return whether the pool can spend `growth` bytes on one window and leave enough for messages and other windows."""
    return 0 < growth <= pool.left and growth * STEP_SHARE <= pool.growth_left


cdef inline int64_t grow(Growth* window, WindowPool* pool, int64_t growth) noexcept nogil:
    """Let a window grow. Return the credit to send now, including owed bytes."""
    pool.left -= growth
    pool.growth_left -= growth
    window.grown += growth
    window.returned = window.calm = 0
    window.held_up = False
    return growth + take_owed(window)
