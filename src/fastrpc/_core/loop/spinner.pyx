"""Adaptive spinning: for a while after the last activity a loop polls instead of sleeping.

Waking a sleeping process takes some 40 microseconds, more than all other costs of a small call. A callback that
reschedules itself keeps the loop's poll from waiting, and stops after enough time without activity.

One callback serves all connections of the loop. It polls the socket of the last busy connection itself, a few times with
the GIL released: the loop's poll, the transport's callback and its queue cost more than the engine. Compared with the
spinning C echo in one run, a single call in flight took 1.75 times as long over the transports and 1.4 to 1.6 times
directly.

The number of cores of the machine decides whether spinning is allowed, not the cores of this process. A process bound to
one core may occupy it, as its peer runs elsewhere. On a single core, spinning keeps the peer from answering.
"""

import contextvars
import os
import warnings

cimport cython

from fastrpc._core.base.timer_wheel cimport Timed
from fastrpc._core.base.wire cimport now_ns


@cython.final
cdef class Spinner:
    def __cinit__(self, loop):
        self.loop = loop
        self._call_soon = loop.call_soon
        self._tick = self.tick
        # Otherwise each round would copy the context of the handler that sent last.
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
            # The loop was closed before its connections: polling is over.
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
            # Stays armed meanwhile: code called from here must not start a second round.
            self._arm()


def allowed_spin(int microseconds, int stacklevel=2):
    """Return the microseconds that a side may spin: `microseconds`, or 0 with a warning on a single core.

    The cores of the machine count, not those of this process: the peer runs elsewhere, and a process bound to one core
    may occupy it. On a single core, spinning keeps the peer from running.
    """
    if microseconds and (os.cpu_count() or 1) == 1:
        warnings.warn(
            "spin_microseconds is ignored: this machine has one core, so the peer could not run meanwhile",
            RuntimeWarning,
            stacklevel=stacklevel,
        )
        return 0
    return microseconds
