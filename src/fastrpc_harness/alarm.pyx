"""An object that a loop wakes, for Python code: it tests timers and spinning without a connection."""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.io.engine cimport Engine
from fastrpc._core.loop.loop_state cimport LoopState
from fastrpc._core.loop.polling cimport PollClock


@cython.final
cdef class Alarm(Timed):
    def __init__(self, wake=None, spin=None):
        self.wake = wake
        self.spin = spin

    cdef int on_timer(self) except -1:
        if self.wake is not None:
            self.wake()
        return 0

    cdef bint on_spin(self) except -1:
        return self.spin is not None and self.spin()


def start_timer(LoopState state not None, Timed timed not None, uint64_t due_ns):
    state.start_timer(timed, due_ns)


def stop_timer(LoopState state not None, Timed timed not None):
    state.stop_timer(timed)


def watch(LoopState state not None, uint64_t now_ns):
    state.watch(now_ns)


def join_spinner(LoopState state not None):
    state.shared_spinner().join()


def leave_spinner(LoopState state not None, Timed timed not None):
    state.shared_spinner().leave(timed)


def touch_spinner(LoopState state not None, Timed timed not None, uint64_t until_ns):
    state.shared_spinner().touch(timed, until_ns)


def arm(PollClock polls not None, uint64_t since_ns, *, bint is_read=False):
    polls.arm(since_ns, is_read)


def dated(PollClock polls not None, uint64_t now_ns):
    return polls.dated(now_ns)


def date_of(Engine engine not None):
    return engine.came_ns
