"""A hierarchical timer wheel over timers that live inside their owners, and the base of objects that a loop wakes."""

cimport cython
from libc.stdint cimport uint64_t

cdef enum:
    TICK_BITS = 20                       # a tick is 2**20 ns, about 1 ms
    SLOT_BITS = 8
    LEVELS = 4                           # 2**32 ticks, about 52 days, before `DISTANT` is needed
    SLOTS = LEVELS << SLOT_BITS
    DISTANT = SLOTS                      # list of timers beyond the last level
    EXPIRED = SLOTS + 1                  # list of due timers, not popped yet
    LISTS = SLOTS + 2
    WORDS = (LISTS + 63) // 64


cdef struct Timer:
    # Embedded in its owner. All zero: not linked. The owner keeps the memory alive and in place while the timer is
    # linked, and cancels it before it is freed: an owner that a garbage collection may clear is declared
    # `@cython.no_gc_clear`, so that it keeps its wheel until then.
    Timer* next
    Timer* previous
    uint64_t tick                        # due at tick << TICK_BITS nanoseconds
    void* owner                          # borrowed; the wheel never dereferences it


cdef class Timed:
    cdef:
        # Linked into a wheel while it runs; the wheel then holds a reference to this object (LoopState.start_timer).
        Timer timer

    cdef int on_timer(self) except -1
    cdef bint on_spin(self) except -1
    cdef bint on_turn(self, uint64_t ends_ns) except -1
    cdef int held_descriptor(self) except -2
    cdef int on_hang_up(self, bint is_reset) except -1


@cython.final
cdef class TimerWheel:
    cdef:
        # `_heads`: the heads of circular lists. `_occupied`: bit i is set exactly if list i is not empty.
        Timer[LISTS] _heads
        uint64_t[WORDS] _occupied

        # The tick up to which time has advanced; never falls. Timers outside EXPIRED have later ticks.
        uint64_t _current

        # The number of linked timers, including timers in EXPIRED.
        readonly Py_ssize_t live

    cdef void add(self, Timer* timer, uint64_t due_ns) noexcept
    cdef void cancel(self, Timer* timer) noexcept
    cdef void advance(self, uint64_t now_ns) noexcept
    cdef Timer* pop_expired(self) noexcept
    cdef uint64_t next_due_ns(self) noexcept

    cdef void _spill(self, int position) noexcept
    cdef int _first_waiting(self) noexcept
    cdef uint64_t _start_of(self, int position) noexcept
