"""The state that a SyncClient and its views share: the connections for calls, and the runner for everything else.

gunicorn and Celery load programs before they fork. In the child of a fork the client makes its parts anew: pool,
connections, locks, breakers, counters and random numbers; the state shared by its views stays. A count of forks reveals
the fork before any lock is taken, as a thread of the parent may hold the lock for ever. Sessions compare the count
wherever a signal handler may have run.
"""

import asyncio
import os
import threading
import warnings
import weakref

cimport cython
from cpython.pythread cimport PyThread_get_thread_ident

from fastrpc._core.balancing.breaker cimport RetryBudget
from fastrpc._core.balancing.endpoint_set cimport EndpointSet
from fastrpc._core.calls.call cimport NO_DEADLINE
from fastrpc._core.client.caller_view cimport fork_generation

from fastrpc.tracebacks import frames_to_program

cdef object get_running_loop = asyncio._get_running_loop

# The event loops for which the warning about blocking was logged.
cdef object warned_loops = weakref.WeakSet()

# Held while a client is remade in the child of a fork, where several threads may start to use it together.
cdef object renewal = threading.RLock()


def _forked():
    # A thread of the parent may hold the old one for ever.
    global renewal
    renewal = threading.RLock()


os.register_at_fork(after_in_child=_forked)


@cython.final
cdef class BlockingState(ViewState):
    """The state that a SyncClient and its views share."""

    def __init__(self, Py_ssize_t width, Py_ssize_t crowd=0):
        ViewState.__init__(self, None)
        self.fork_generation = fork_generation()
        self.width = width
        self.crowd = crowd
        self.groups = []
        self.looks_for_loop = True

    def take_parts(
        self, runner, resolve, ReentryGuard reentry not None, RetryBudget budget not None, EndpointSet endpoint_set=None
    ):
        """Use these parts from now on, in views too."""
        self.runner = runner
        self.reentry = reentry
        self.budget = budget
        self.endpoint_set = endpoint_set
        self.groups = []
        self.turn = 0
        self.look_after_ns = 0
        self.resolve = resolve
        # The same dicts: views hold them.
        for routes in self.routes.values():
            routes.clear()

    cdef BlockingSession pick(self):
        """Return the next connection in turn, or None without a connection; the caller has checked `is_settled`."""
        cdef Py_ssize_t count = len(self.groups)
        if count == 0:
            return None
        self.turn += 1
        if self.turn >= count:
            self.turn = 0
        return self.least_used(<list>self.groups[self.turn])

    cdef bint is_settled(self, uint64_t now) except -1:
        """Return whether no connection is due for a check and the list of endpoints is unchanged."""
        if self.look_after_ns != NO_DEADLINE and now >= self.look_after_ns:
            return False
        return not self.follows or not self.pool.has_news

    cdef BlockingSession least_used(self, list group):
        """Return the connection with the fewest threads; None if one has ended or another one is allowed."""
        cdef BlockingSession session, chosen = None
        for session in group:
            if not session.engine.is_usable:
                return None
            if chosen is None or session.users < chosen.users:
                chosen = session
        if chosen is not None and chosen.users > self.crowd and len(group) < self.width:
            return None
        return chosen

    def set_connections(self, groups, look_after):
        """Replace the connections that calls are sent on.

        Args:
            groups: a list for each endpoint.
            look_after: the instant of `time.monotonic()` from which the runner is asked first, or None.
        """
        cdef list checked = []
        cdef BlockingSession session
        for group in groups:
            for session in group:
                if session is None:
                    raise TypeError("a connection is None, it must be a BlockingSession")
            checked.append(list(group))
        self.look_after_ns = NO_DEADLINE if look_after is None else <uint64_t>(max(0.0, look_after) * 1e9)
        self.groups = checked
        self.looks_for_loop = not self.has_warned

    def look_now(self):
        """Make the next call ask the runner first."""
        self.look_after_ns = 0

    cdef int check_use(self, bint waits) except -1:
        if self.fork_generation != fork_generation():
            _renew(self)
        self.reentry.check()
        return self.look_for_loop() if waits and self.looks_for_loop else 0

    cdef int look_for_loop(self) except -1:
        """Warn of a client that is used in a coroutine: once for each loop, as a cell of a notebook may make many clients.

        Not every call looks for a loop: that costs a system call on 3.11.
        """
        self.looks_for_loop = False
        loop = None if self.has_warned else get_running_loop()
        if loop is None:
            return 0
        self.has_warned = True
        if loop not in warned_loops:
            warned_loops.add(loop)
            warnings.warn(
                "a SyncClient blocks the event loop that it is called on: use `async with fastrpc.Client(…)` and await its "
                "calls, or make these in a thread: await asyncio.to_thread(client.call, …)",
                RuntimeWarning,
                stacklevel=frames_to_program(),
            )
        return 0

    def use(self, *, bint waits=True):
        """Make the parts of the guard anew in the child of a fork, and warn of an event loop that the thread would
        block.

        Args:
            waits: whether the thread may wait for a server now.

        Raises:
            RuntimeError: this thread waits inside the client already, or a registry was used before the fork.
        """
        self.check_use(waits)

    @property
    def is_of_parent(self):
        """Whether this process is a forked child that has not used the client yet."""
        return self.fork_generation != fork_generation()


cdef int _renew(BlockingState state) except -1:
    """Remake all parts. The present ones, locks and connections above all, belong to the parent of this process."""
    cdef unsigned long thread = PyThread_get_thread_ident()
    cdef uint64_t process = fork_generation()
    if state.renewing == thread:
        raise RuntimeError("a SyncClient was used inside itself, by a finalizer or by a signal handler")
    with renewal:
        if state.fork_generation == process:
            return 0
        state.renewing = thread
        try:
            state.remake()
        finally:
            state.renewing = 0
        state.fork_generation = process
    return 0
