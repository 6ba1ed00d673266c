"""A hierarchical timer wheel, for hundreds of thousands of deadlines.

Scheme 7 of Varghese and Lauck, "Hashed and Hierarchical Timing Wheels" (1987), as Linux and tokio use it. A
timer lies in the level of the highest byte in which its tick and the current tick differ, in the slot that
this byte names::

    current tick   00 00 12 F0
    tick           00 00 12 F3    level 0, slot F3: due exactly when time reaches it
    tick           00 00 14 01    level 1, slot 14: cascades when time reaches 00 00 14 00
    tick           01 00 00 00    level 3, slot 01
    tick        01 00 00 00 00    DISTANT: checked again every 2**32 ticks

So all used slots are after the current slot, no level wraps around, and the first set bit of `_occupied` is always the
next slot to expire or cascade. Adding and cancelling are O(1); a timer cascades at most once per level.

Timers live inside their owners, and one loop timer drives all of them. While a timer is linked the wheel holds a
reference to its owner, so none can dangle. Most owners are a `Timed`, which the loop also wakes for other reasons.
"""

cimport cython
from libc.stdint cimport uint64_t


cdef extern from "base/bits.h" nogil:
    int fastrpc_highest_bit(uint64_t word) noexcept
    int fastrpc_lowest_bit(uint64_t word) noexcept


cdef enum:
    SLOT_MASK = (1 << SLOT_BITS) - 1
    SPAN_BITS = LEVELS * SLOT_BITS       # ticks that differ above these bits are DISTANT from each other


cdef class Timed:
    """The base of objects with an embedded timer: starting and stopping it allocates nothing."""

    cdef int on_timer(self) except -1:
        """Handle the expiry of the timer, which is no longer linked."""
        return 0

    cdef bint on_spin(self) except -1:
        """Poll the socket while the loop spins. Return whether it had data."""
        return False

    cdef bint on_turn(self, uint64_t ends_ns) except -1:
        """Continue deferred work, up to about `ends_ns`. Return whether more remains."""
        return False

    cdef int held_descriptor(self) except -2:
        """Return the socket whose input is not read for now, or -1 if it is read again and need not be watched."""
        return -1

    cdef int on_hang_up(self, bint is_reset) except -1:
        """Handle that the socket's peer sends no more data, or has reset the connection."""
        return 0


# The steps of adding a timer. The compiler inlines these functions.

@cython.nonecheck(False)
cdef inline void link(TimerWheel wheel, Timer* timer, int position) noexcept:
    """Append a timer to a list: timers of one tick expire in the order in which they were added."""
    cdef Timer* head = &wheel._heads[position]
    timer.next = head
    timer.previous = head.previous
    head.previous.next = timer
    head.previous = timer
    wheel._occupied[position >> 6] |= <uint64_t>1 << (position & 63)


@cython.nonecheck(False)
cdef inline void place(TimerWheel wheel, Timer* timer) noexcept:
    """Link a timer in the slot of its tick, relative to the current one."""
    cdef uint64_t difference = timer.tick ^ wheel._current
    cdef int level, position = EXPIRED
    if timer.tick > wheel._current:
        if difference >> SPAN_BITS:
            position = DISTANT
        else:
            level = fastrpc_highest_bit(difference) // SLOT_BITS
            position = (level << SLOT_BITS) | <int>((timer.tick >> (level * SLOT_BITS)) & SLOT_MASK)
    link(wheel, timer, position)


@cython.final
cdef class TimerWheel:

    def __cinit__(self, uint64_t now_ns=0):
        cdef int position
        for position in range(LISTS):
            self._heads[position].next = &self._heads[position]
            self._heads[position].previous = &self._heads[position]
        self._current = now_ns >> TICK_BITS

    cdef void add(self, Timer* timer, uint64_t due_ns) noexcept:
        cdef uint64_t tick = due_ns >> TICK_BITS
        # Round up, so that no timer expires early. The last tick is not rounded: its end does not fit 64 bits.
        if due_ns & ((<uint64_t>1 << TICK_BITS) - 1) and tick < (~<uint64_t>0 >> TICK_BITS):
            tick += 1
        self.cancel(timer)
        timer.tick = tick
        self.live += 1
        place(self, timer)

    cdef void cancel(self, Timer* timer) noexcept:
        cdef Timer* next = timer.next
        cdef Timer* previous = timer.previous
        cdef Py_ssize_t position
        if next is NULL:
            return
        previous.next = next
        next.previous = previous
        timer.next = timer.previous = NULL
        self.live -= 1
        if next is previous:
            # If both neighbours are the same link, it is the list's head: the list is empty now.
            position = next - &self._heads[0]
            self._occupied[position >> 6] &= ~(<uint64_t>1 << (position & 63))

    cdef void advance(self, uint64_t now_ns) noexcept:
        cdef uint64_t target = now_ns >> TICK_BITS
        cdef uint64_t start
        cdef int position = self._first_waiting()
        while position >= 0:
            start = self._start_of(position)
            if start > target:
                break
            self._current = start
            self._spill(position)
            position = self._first_waiting()
        if target > self._current:
            self._current = target

    cdef Timer* pop_expired(self) noexcept:
        cdef Timer* timer = self._heads[EXPIRED].next
        if timer is &self._heads[EXPIRED]:
            return NULL
        self.cancel(timer)
        return timer

    cdef uint64_t next_due_ns(self) noexcept:
        cdef int position
        if self._heads[EXPIRED].next is not &self._heads[EXPIRED]:
            # 0 would mean an empty wheel.
            return (self._current << TICK_BITS) or 1
        position = self._first_waiting()
        return 0 if position < 0 else self._start_of(position) << TICK_BITS

    cdef void _spill(self, int position) noexcept:
        """Empty a list and link its timers again. Timers of the list DISTANT may be linked into it again."""
        cdef Timer* head = &self._heads[position]
        cdef Timer* timer = head.next
        cdef Timer* following
        head.previous.next = NULL
        head.next = head.previous = head
        self._occupied[position >> 6] &= ~(<uint64_t>1 << (position & 63))
        while timer is not NULL:
            following = timer.next
            place(self, timer)
            timer = following

    cdef int _first_waiting(self) noexcept:
        """Return the earliest used slot, or DISTANT if it alone is used, or -1 without timers."""
        cdef int word
        for word in range(SLOTS // 64):
            if self._occupied[word]:
                return word * 64 + fastrpc_lowest_bit(self._occupied[word])
        return DISTANT if self._occupied[DISTANT // 64] & (<uint64_t>1 << (DISTANT & 63)) else -1

    cdef uint64_t _start_of(self, int position) noexcept:
        """Return the first tick of a slot."""
        cdef int shift
        if position == DISTANT:
            return ((self._current >> SPAN_BITS) + 1) << SPAN_BITS
        shift = (position >> SLOT_BITS) * SLOT_BITS
        return (
            (self._current >> shift) & ~<uint64_t>SLOT_MASK | <uint64_t>(position & SLOT_MASK)
        ) << shift


@cython.final
cdef class ScheduledValue:
    # While the timer is linked, the schedule's set keeps this object alive.
    cdef Timer _timer
    cdef readonly object value
    # The schedule that made the value; its wheel may hold the timer.
    cdef Schedule _schedule


@cython.final
cdef class Schedule:
    cdef readonly TimerWheel wheel
    cdef set _linked

    def __cinit__(self, uint64_t now_ns=0):
        self.wheel = TimerWheel(now_ns)
        self._linked = set()

    def schedule(self, uint64_t due_ns, object value):
        cdef ScheduledValue scheduled = ScheduledValue()
        scheduled.value = value
        scheduled._schedule = self
        scheduled._timer.owner = <void*>scheduled
        self._linked.add(scheduled)
        self.wheel.add(&scheduled._timer, due_ns)
        return scheduled

    def reschedule(self, ScheduledValue scheduled not None, uint64_t due_ns):
        self._check(scheduled)
        self._linked.add(scheduled)
        self.wheel.add(&scheduled._timer, due_ns)

    def cancel(self, ScheduledValue scheduled not None):
        self._check(scheduled)
        self.wheel.cancel(&scheduled._timer)
        self._linked.discard(scheduled)

    cdef int _check(self, ScheduledValue scheduled) except -1:
        if scheduled._schedule is not self:
            raise ValueError("the value was scheduled by another schedule")
        return 0

    def advance(self, uint64_t now_ns):
        self.wheel.advance(now_ns)

    def pop_expired(self):
        cdef Timer* timer = self.wheel.pop_expired()
        cdef ScheduledValue scheduled
        if timer is NULL:
            return None
        # Borrowed: the set has kept the value alive until now.
        scheduled = <ScheduledValue>timer.owner
        self._linked.discard(scheduled)
        return scheduled

    def expired(self, uint64_t now_ns):
        cdef list values = []
        self.wheel.advance(now_ns)
        scheduled = self.pop_expired()
        while scheduled is not None:
            values.append(scheduled.value)
            scheduled = self.pop_expired()
        return values

    def next_due_ns(self):
        return self.wheel.next_due_ns()

    def __len__(self):
        return self.wheel.live
