"""The state shared by a client and its views: the loop, the connections, and the runner of calls off the fast path."""

import asyncio

cimport cython
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.pythread cimport PyThread_get_thread_ident

from fastrpc._core.balancing.breaker cimport RetryBudget
from fastrpc._core.balancing.endpoint_set cimport EndpointSet
from fastrpc._core.calls.calling_part cimport CallingPart
from fastrpc._core.client.caller_view cimport fork_generation
from fastrpc._core.client.own_calls cimport next_usable

from fastrpc._core.loop.loop_state import no_loop, wrong_loop

cdef object get_running_loop = asyncio._get_running_loop


@cython.final
cdef class CallerState(ViewState):
    """The state that a client and its views share."""

    def __init__(self, runner, resolve, RetryBudget budget not None, EndpointSet endpoint_set=None):
        ViewState.__init__(self, resolve)
        self.runner = runner
        self.budget = budget
        self.endpoint_set = endpoint_set
        self.connections = []
        self.spare = []

    cdef Engine pick(self):
        """Return the next connection in turn that takes calls, or None."""
        cdef list connections = self.connections
        cdef Engine connection
        if PyList_GET_SIZE(connections) != 1:
            return next_usable(connections, &self.turn)
        # `set_connections` has checked its type.
        connection = <Engine>PyList_GET_ITEM(connections, 0)
        return connection if connection.is_usable else None

    def set_connections(self, connections):
        """Replace the connections that calls may be sent on."""
        cdef list checked = list(connections)
        for connection in checked:
            if not isinstance(connection, Engine) or not isinstance((<Engine>connection).calling, CallingPart):
                raise TypeError(f"a connection is {connection!r}, it must be an Engine that makes calls")
        self.connections = checked

    cdef int check_use(self) except -1:
        # A thread runs at most one loop: if our loop runs, and this is its thread, then it runs here. Asking for the
        # running loop costs a system call on Python 3.11.
        if (
            self.fork_generation == fork_generation()
            and self.thread == PyThread_get_thread_ident()
            and self.is_running()
        ):
            return 0
        if self.fork_generation not in (0, fork_generation()):
            # Checked before the loop: a loop that ran at the fork does not run in the child.
            raise RuntimeError("this Client was used before the fork; create it in the child")
        loop = get_running_loop()
        if loop is None:
            raise no_loop("Client")
        if self.fork_generation == 0:
            self.fork_generation = fork_generation()
            self.thread = PyThread_get_thread_ident()
            self.loop = loop
            self.is_running = loop.is_running
            self.future_options = {"loop": loop}
            try:
                self.runner.first_use(loop)
            except BaseException:
                # The registry refused the watch: the next use tries again.
                self.fork_generation = 0
                self.loop = None
                raise
            return 0
        if self.loop is loop:
            self.thread = PyThread_get_thread_ident()
            return 0
        raise wrong_loop("Client", self.loop, loop)

    @property
    def is_of_parent(self):
        """Whether the client was used before a fork that made this process."""
        return self.fork_generation not in (0, fork_generation())

    def use(self):
        """Bind to the running loop, or refuse another one.

        Raises:
            RuntimeError: the client was used in another loop, or before a fork.
        """
        self.check_use()
