"""The fan-out of a blocking client: the calls run in threads.

Each endpoint has a thread, up to 64 threads, because interceptors and fail modes of a `SyncClient` block their thread.
"""

import contextlib
import contextvars
import functools
import queue
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

from fastrpc.client.fan_out import Method, Outcomes, P, T, checked_outcomes
from fastrpc.client.inside import pool_of
from fastrpc.client.plan import FORK_LOOK_SECONDS
from fastrpc.config_errors import ShownAtProgram
from fastrpc.endpoint import Endpoint
from fastrpc.peers.outcomes import own_call
from fastrpc.rpc.scope import timeout
from fastrpc.tracebacks import shortened

__all__ = ["BlockingFanOut", "OutcomeQueue", "Running"]

#: The most threads of one fan-out.
MOST_THREADS = 64


class BlockingFanOut:
    """The fan-out verbs of a `SyncClient`. No other verbs start threads."""

    @overload
    def broadcast(
        self, method: Method[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Outcomes[T]: ...
    @overload
    def broadcast(self, method: Method[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Outcomes[T]: ...
    @overload
    def broadcast(self, method: str, /, *args: Any, **kwargs: Any) -> Outcomes[Any]: ...
    def broadcast(self, method: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call every endpoint, and return the answer or the error of each.

        Each call has the options of this client and is sent only to its endpoint, within one deadline. Endpoints that
        the selector's filters exclude are not called.

        Raises:
            NoEndpointError: there is no endpoint.
            TypeError: arguments do not fit the method's signature.
        """
        endpoints = self._listed(method)
        with ShownAtProgram(), self._begun(endpoints, method, "request", args, kwargs) as ended:
            outcomes = dict(ended)
        return checked_outcomes({endpoint: outcomes[number] for number, endpoint in enumerate(endpoints)})

    @overload
    def fork(self, method: Method[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    def fork(self, method: Method[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    def fork(self, method: str, /, *args: Any, **kwargs: Any) -> Any: ...
    def fork(self, method: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call all endpoints concurrently and return the first answer; the other calls are cancelled.

        The handler may run on several endpoints, so the method has to permit that.

        Raises:
            FastRPCError: all calls failed; the error is the last one.
        """
        endpoints = self._listed(method)
        with ShownAtProgram(), self._begun(endpoints, method, "call", args, kwargs) as ended:
            for _, outcome in ended:
                if not isinstance(outcome, BaseException):
                    return outcome
            raise shortened(outcome)

    def _listed(self, method: Any) -> list[Endpoint]:
        """Return all endpoints; a failure counts as an error of the call."""
        with own_call():
            return self._endpoints_of(method)

    def _endpoints_of(self, method: Any) -> list[Endpoint]:
        """Return all endpoints that calls of a method may go to."""
        raise NotImplementedError

    if TYPE_CHECKING:

        def _seconds_for(self, method: Any) -> float | None:
            """Return the seconds that a call of a method may take; the client implements it in compiled code."""

    @contextlib.contextmanager
    def _begun(
        self, endpoints: Sequence[Endpoint], method: Any, verb: str, args: Any, kwargs: Any
    ) -> Iterator[Iterator[tuple[int, Any]]]:
        """Call every endpoint from threads, and yield the outcomes as they arrive; at the end, cancel the rest."""
        client: Any = self
        running = Running()
        calls = []
        for each in endpoints:
            view = client.with_options(endpoint=each, prefer=None)
            view._set_options({"running": running})
            calls.append(functools.partial(getattr(view, verb), method, *args, **kwargs))
        pool = pool_of(client)
        with pool.reentry:
            # A signal handler may raise anywhere in this block, even while calls begin.
            try:
                ended = _start(calls, self._seconds_for(method), running)
                yield (ended.next(pool) for _ in endpoints)
            finally:
                if not pool.is_of_parent:
                    running.end()


class Running:
    """The attempts of blocking calls that are cancelled together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancels: list[Callable[[], None]] = []
        #: Whether `end` was called, so that no further attempt may start.
        self.is_over = False

    def add(self, cancel: Callable[[], None]) -> None:
        """Add a function that cancels a started attempt; `end` calls it."""
        with self._lock:
            if not self.is_over:
                self._cancels.append(cancel)
                return
        cancel()

    def end(self) -> None:
        """Cancel the attempts in flight, and any that are added later."""
        with self._lock:
            self.is_over = True
        for cancel in self._cancels:
            cancel()


class OutcomeQueue:
    """The outcomes of calls that threads make, with the numbers of the calls, in the order in which they end.

    The queues of the standard library do not fit. `queue.SimpleQueue.get(timeout=)` would wait for ever after a signal
    handler that takes longer than the timeout (CPython 3.11). `queue.Queue` has locks that a thread of the parent may
    hold at a fork.
    """

    def __init__(self) -> None:
        self._ended: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        # Locked while there is no new outcome. It protects no data, so the child of a fork may find it in either state.
        self._bell = threading.Lock()
        self._bell.acquire()

    def put(self, number: int, outcome: Any) -> None:
        """Add an outcome and wake the thread that waits for it."""
        self._ended.put((number, outcome))
        with contextlib.suppress(RuntimeError):  # It is unlocked already.
            self._bell.release()

    def next(self, pool: Any) -> tuple[int, Any]:
        """Return the next outcome. In a child that a signal handler forked, the pool raises an error."""
        while True:
            try:
                return self._ended.get_nowait()
            except queue.Empty:
                if not self._bell.acquire(timeout=FORK_LOOK_SECONDS):
                    pool.check_process()


def _start(calls: Sequence[Callable[[], Any]], seconds: float | None, running: Running) -> OutcomeQueue:
    """Run the calls in threads and return the queue of their outcomes.

    If there are more calls than threads, the later calls get the remaining time of the shared deadline.
    """
    until = None if seconds is None else time.monotonic() + seconds
    ended = OutcomeQueue()
    waiting = enumerate(calls)
    lock = threading.Lock()

    def run() -> None:
        while True:
            with lock:
                number, call = next(waiting, (-1, None))
            if call is None or running.is_over:
                return
            try:
                left = None if until is None else max(0.0, until - time.monotonic())
                with timeout(left):
                    outcome = call()
            except BaseException as error:
                outcome = error
            ended.put(number, outcome)

    for _ in range(min(len(calls), MOST_THREADS)):
        threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True).start()
    return ended
