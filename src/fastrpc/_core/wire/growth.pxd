"""The growth of stream windows, as plain C: when a window doubles, and when it gives half back.

::

    the sender waited for the window ──► note_short ─┐
    the reader waits, and nothing is there ──────────┴──► wanted_growth ──► has_growth ──► grow: credit
    the reader took half a window ──► is_due ──► settle: what a window larger than needed gives back ──► take_owed: credit

A window doubles, out of the pool of its connection, when the application waits for a message after the sender waited
for the window, twice within two windows: then only the window holds the stream back. A window for which the sender has
not waited in a long time gives half back: that credit is not returned. A protocol defines how it knows that the sender
waited: native by a flag of the sender, HTTP/2 by DATA that uses up its limit.
"""

from libc.stdint cimport int64_t

cdef enum:
    # Shares of the pool: one window, all growth together, and one step of the rest.
    WINDOW_SHARE = 4
    GROWTH_SHARE = 2
    STEP_SHARE = 2
    # Windows taken without the sender waiting, after which the window is larger than needed.
    CALM_WINDOWS = 16
    # A reader that is held up again within this number of windows grows its window.
    HELD_UP_AGAIN = 2


cdef struct WindowPool:
    # Bytes that the streams of a connection may still borrow: for messages larger than their window, and for windows
    # that grow.
    int64_t left
    # The most of these bytes that windows may take.
    int64_t growth_left
    # The size up to which one window may grow.
    int64_t most_window


cdef struct Growth:
    # Bytes taken and not yet returned as credit; the window's growth beyond its first size.
    int64_t owed
    int64_t grown
    # Whether the sender had to wait for the window since the reader last waited.
    bint was_short
    # Whether the window held the reader up once.
    bint held_up
    # Bytes returned since the window grew or held the reader up.
    int64_t returned
    # Bytes returned since the sender had to wait.
    int64_t calm


cdef inline void open_window_pool(WindowPool* pool, int64_t size, int64_t largest_message) noexcept nogil:
    """Let streams borrow `size` bytes. The largest message has room beside windows that have grown."""
    pool.growth_left = size // GROWTH_SHARE
    pool.left = max(size, pool.growth_left + largest_message)
    pool.most_window = size // WINDOW_SHARE


cdef inline void note_short(Growth* window) noexcept nogil:
    """The sender had to wait for the window."""
    window.was_short = True
    window.calm = 0


cdef inline bint is_due(const Growth* window, int64_t first_size) noexcept nogil:
    """Return whether what is owed is worth a credit: half a window at a time."""
    return window.owed * 2 >= first_size + window.grown


cdef inline void give_back(Growth* window, WindowPool* pool, int64_t size) noexcept nogil:
    """Give growth of a window back to the pool."""
    window.grown -= size
    pool.growth_left += size
    pool.left += size


cdef inline int64_t settle(Growth* window, WindowPool* pool, int64_t first_size, bint may_lend) noexcept nogil:
    """Count owed bytes as returned; return how many went back to the pool, since the window is larger than needed."""
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
    """Return the credit to send now: all that is owed."""
    cdef int64_t credit = window.owed
    window.owed = 0
    return credit


cdef inline int64_t wanted_growth(
    Growth* window, const WindowPool* pool, int64_t first_size, bint has_messages
) noexcept nogil:
    """The application waits for a message: return by how much the window has to grow, 0: not at all.

    If the sender waited as well, the window delays both sides. Once may be chance: a slow reader, too, finds nothing if
    the sender paused for a moment.
    """
    cdef int64_t size = first_size + window.grown, returned
    if not window.was_short:
        return 0
    window.was_short = False
    returned = window.returned + window.owed
    # The wait must be for the present window: one for an earlier, smaller window says nothing about it.
    if 4 * returned < 3 * size or has_messages:
        return 0
    if not window.held_up or returned > HELD_UP_AGAIN * size:
        window.held_up = True
        # Owed credit counts when it is returned.
        window.returned = -window.owed
        return 0
    return max(<int64_t>0, min(size, pool.most_window - size))


cdef inline bint has_growth(const WindowPool* pool, int64_t growth) noexcept nogil:
    """Return whether the pool has `growth` bytes for one window: messages come first, and others may grow as well."""
    return 0 < growth <= pool.left and growth * STEP_SHARE <= pool.growth_left


cdef inline int64_t grow(Growth* window, WindowPool* pool, int64_t growth) noexcept nogil:
    """Let a window grow; return the credit to send now, including the owed credit."""
    pool.left -= growth
    pool.growth_left -= growth
    window.grown += growth
    window.returned = window.calm = 0
    window.held_up = False
    return growth + take_owed(window)
