"""Adaptive spinning: for a while after the last activity a loop polls instead of going to sleep.

Waking a process that sleeps takes some 40 microseconds, more than everything else a small call costs. A callback that
schedules itself again keeps the loop's poll from waiting; it stops by itself when nothing came for long enough.

One callback serves all connections of the loop. It looks at the socket of the connection that was busy last by
itself, a few times with the GIL released: the poll, the transport's callback and its queue cost more than the engine.
In one run with the spinning C echo, one call in flight took 1.75 times as long over the transports and 1.4 to 1.6
times directly.

Spinning is refused by the cores of the machine, not by those this process is bound to. A process bound to a core of
its own may burn it, as its peer runs elsewhere. With one core in all, spinning keeps the peer from answering.
"""

import contextvars
import os
import warnings

cimport cython

from fastrpc._core.base.timed cimport Timed
from fastrpc._core.base.wire cimport now_ns


@cython.final
cdef class Spinner:
    def __cinit__(self, loop):
        self.loop = loop
        self._call_soon = loop.call_soon
        self._tick = self.tick
        # Else each round would copy the context of whichever handler was the last to send something.
        self._context = contextvars.Context()

    cdef int join(self) except -1:
        self.sessions += 1
        return 0

    cdef int leave(self, Timed session) except -1:
        self.sessions -= 1
        if self.last is session:
            self.last = None
        if self.sessions == 0:
            self.until_ns = 0
        return 0

    cdef int touch(self, Timed session, uint64_t until_ns) except -1:
        self.last = session
        if until_ns > self.until_ns:
            self.until_ns = until_ns
        return 0 if self.is_armed else self._arm()

    cdef int _arm(self) except -1:
        self.is_armed = False
        try:
            self._call_soon(self._tick, context=self._context)
        except RuntimeError:
            # The loop was closed around its connections: nobody polls any more.
            if not self.loop.is_closed():
                raise
            return 0
        self.is_armed = True
        return 0

    def tick(self):
        """Keep the loop awake for one more round, or let it sleep."""
        if self.until_ns == 0 or now_ns() >= self.until_ns:
            self.is_armed = False
            return
        self.rounds += 1
        try:
            if self.has_waiting:
                self.has_waiting = False
            elif self.last is not None:
                self.last.on_spin()
        finally:
            # Armed all the while: whoever touches us from inside must not start a second round beside this one.
            self._arm()


def allowed_spin(int microseconds, int stacklevel=2):
    """Return for how many microseconds a side may spin here: 0, with a warning, where there is one core only.

    What counts are the cores of the machine, not those this process is bound to: the other side of a connection runs
    elsewhere, and a process bound to a core of its own may well burn it. With one core in all, whoever spins keeps the
    one it waits for from running.
    """
    if microseconds and (os.cpu_count() or 1) == 1:
        warnings.warn(
            "spin_microseconds is ignored: this machine has one core, and a peer could not run while we spin",
            RuntimeWarning,
            stacklevel=stacklevel,
        )
        return 0
    return microseconds
