"""A call being served, the task its handler runs in, and what all connections of a server share.

A step of a handler that takes over a second is logged by what is there anyway: the first step by the clock that is read
when a call ends, later ones by the system's coarse clock, which costs a fraction of the exact one.
"""

import asyncio
import logging

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.calls.call cimport NO_DEADLINE, STATE_NEW
from fastrpc._core.calls.call cimport Draining
from fastrpc._core.loop.handler_task cimport IDLE
from fastrpc._core.payload.marshal cimport BoundArguments
from fastrpc._core.payload.metadata cimport encode_metadata
from fastrpc._core.framing.settings cimport WireNumbers
from fastrpc._core.base.wire cimport now_ns

logger = logging.getLogger("fastrpc.server")


@cython.final
cdef class ServerState:
    """What all connections of one server share, on one loop."""

    def __init__(self, *, loop, dispatcher, WireNumbers numbers not None, call_timeout, **bounds):
        cdef int number
        Admission.__init__(self, loop=loop, **bounds)
        self.routes = RouteTable()
        self.dispatcher = dispatcher
        self.tasks = TaskPool(loop, ServerTask)
        self.contexts = HandlerContexts()
        self.numbers = numbers
        for number in range(256):
            self.takes_codec[number] = number in numbers.codecs
        self.compress_above = 1024
        self.default_timeout_ns = 0 if call_timeout is None else int(call_timeout * 1e9)

    def totals(self):
        """What was refused since the server started."""
        return {
            "refused": self.refused,
            "expired_before_start": self.expired_unstarted,
            "refused_connections": self.refused_connections,
        }

    cdef ServerTask acquire(self):
        return <ServerTask>self.tasks.acquire()

    cdef ServerTask current_task(self):
        """Return an idle task that is the loop's current one, until `leave_task`."""
        cdef ServerTask task = self.current
        if task is None:
            task = self.acquire()
            task.become_current()
            self.current = task
        return task

    cdef int leave_task(self) except -1:
        """From here on no task is current."""
        cdef ServerTask task = self.current
        if task is not None:
            self.current = None
            task.stop_being_current()
            if task._phase == IDLE:
                self.tasks.release(task)
        return 0


cdef class ServerTask(HandlerTask):
    """The task a handler runs in."""

    cdef int finished(self) except -1:
        return self.call.session.task_finished(self)

    cdef int held_loop(self, uint64_t nanoseconds) except -1:
        return report_long_step(self.call.route, nanoseconds)

    cdef object make_name(self):
        return "rpc" if self.call is None else f"rpc:{self.call.route.method}#{self.call.id}"


cdef class ServerCall(AdmittedCall):
    """A call being served: what `current_call()` returns."""

    cdef object get_peer(self):
        return None if self.session is None else self.session.describe_peer()

    @property
    def cancelled(self):
        """Whether the caller gave it up or its time ran out; may be read from any thread."""
        return self.was_cancelled or self.is_expired

    @property
    def draining(self):
        """Awaitable that is done once the server drains or the connection is being given up."""
        return Draining(asyncio.Event() if self.session is None else self.session.drain_event())

    def sleep(self, seconds):
        """Wait, in an interceptor."""
        return asyncio.sleep(seconds)

    @property
    def arguments(self):
        """The decoded arguments, as the handler gets them."""
        if type(self.given) is bytes:
            return (self.given,)
        if type(self.given) is BoundArguments:
            return (*self.given.args, *self.given.kwargs.values())
        return () if self.given is None else self.given

    @property
    def status(self):
        """What became of it; set before an interceptor's `proceed` returns."""
        return self.outcome_status

    @property
    def error(self):
        """What the handler raised, or None."""
        return self.outcome_error

    @property
    def codec_id(self):
        """The codec of the request and of the answer, by its number on the wire."""
        return self.codec

    def _note_outcome(self, status, error):
        """Keep what became of the call for the interceptors around it."""
        self.outcome_status = status
        self.outcome_error = error

    cdef bint make_new(self) noexcept:
        """Become as good as new, if the call went the plain way; what a REQUEST sets anyway may stay."""
        if (
            not self.is_plain()
            or self.is_held
            or self.is_running
            or self.was_cancelled
            or self.is_expired
            or self.never_started
            or self.charge
            or self.waiting_payload is not None
            or self.identity is not None
            or self.outcome_status is not None
            or self.outcome_error is not None
            or self.task is not None
        ):
            return False
        self.state = STATE_NEW
        self.deadline_ns = NO_DEADLINE
        self.weight = 0
        self.session = None
        self.route = None
        self.given = None
        return True

    cdef int stop(self) except -1:
        """Tell the handler to stop; its answer is sent when it has."""
        if self.task is not None:
            self.task.cancel()
        elif self.is_running:
            (<ServerState>self.session.admission).dispatcher.stop(self)
        return 0

    cdef int on_timer(self) except -1:
        if not self.was_cancelled:
            self.is_expired = True
            self.stop()
        return 0


cdef int report_long_step(Route route, uint64_t nanoseconds) except -1:
    """Log that a handler held the loop: meanwhile no other call went on, no signal of life was answered."""
    seconds = nanoseconds / 1e9
    logger.warning(
        "%s held the loop for %.1f s; what blocks belongs in a thread: a `def` handler, or asyncio.to_thread",
        route.method,
        seconds,
        extra={"service": route.method.rpartition(".")[0], "method": route.method, "seconds": seconds},
    )
    return 0


def detached_call(kind, metadata, identity, timeout):
    """Make a call without a connection, for handlers that are called directly in a test."""
    cdef ServerCall call = kind.__new__(kind)
    call.started_ns = now_ns()
    if timeout is not None:
        call.deadline_ns = call.started_ns + <uint64_t>(timeout * 1e9)
    call.received_metadata = encode_metadata(metadata or {})
    call.identity = identity
    return call
