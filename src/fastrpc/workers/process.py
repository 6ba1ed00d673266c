"""The life of a serving process: start, signals, drain, end."""

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Container, Iterator
from typing import TypeVar

from fastrpc.rpc.background.marks import background_methods
from fastrpc.server.server import Server
from fastrpc.time_limit import time_limit
from fastrpc.user_code import interrupts_handled
from fastrpc.workers.app import loaded
from fastrpc.workers.plan import ExitCode, NothingToServeError, Plan, Started

__all__ = [
    "RELOAD_SIGNALS",
    "STOP_SIGNALS",
    "ServingProcess",
    "flush_output",
    "leave",
    "loop_factory",
    "reap_adopted",
    "signals_handled",
]

T = TypeVar("T")

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

#: Some systems lack SIGHUP.
RELOAD_SIGNALS = tuple(getattr(signal, name) for name in ("SIGHUP",) if hasattr(signal, name))

#: Seconds to wait for the registry's answer if the process is stopped while it registers.
OPENING_SECONDS = 5.0

#: Seconds in which a quitting process may close its connections.
QUIT_SECONDS = 0.3


class ServingProcess:
    """Runs a Server until it is asked to stop. A second request makes it quit immediately.

    Args:
        open_listener: called after the services were opened; starts to accept, and returns the bound addresses.
        on_leaving: called when the drain begins.
        on_interrupt: called on the loop for the first KeyboardInterrupt that user code raises before a drain; None: the
            process drains.
    """

    def __init__(
        self,
        plan: Plan,
        open_listener: Callable[[Server], Awaitable[list[str]]],
        on_leaving: Callable[[], None] = lambda: None,
        on_interrupt: Callable[[], None] | None = None,
    ) -> None:
        self._plan = plan
        self._open_listener = open_listener
        self._on_leaving = on_leaving
        self._on_interrupt = self.drain if on_interrupt is None else on_interrupt
        # Whether a KeyboardInterrupt of user code caused the drain.
        self._was_interrupted = False
        self._stops = 0
        # The task that opens the listeners. Clients may call when the first listener is open, before the registry has
        # answered.
        self._opening: asyncio.Task[list[str]] | None = None
        self._has_started = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: Server | None = None
        self._asked = asyncio.Event()
        self._urged = asyncio.Event()
        self._last_resort: threading.Timer | None = None

    def run(self) -> ExitCode:
        """Serve until stopped.

        Raises:
            OSError: an address is not available.
            ConfigError: a source or a setting is invalid, or there is no service (NothingToServeError).
        """
        self._plan = plan = loaded(self._plan)
        server = Server(
            *plan.foremost,
            *plan.load(),
            config=plan.config,
            interceptors=(*plan.outermost, *plan.interceptors),
            registry=plan.registry,
            authenticate=plan.authenticate,
            authorize=plan.authorize,
            limits=plan.limits,
            place=plan.place,
            store=plan.store,
            broker=plan.broker,
        )
        self._server = server
        if plan.shared_limits:
            server.share_limits(plan.shared_limits)
        server.announce_workers(plan.workers)
        server.drain_by(self.drain)
        if plan.on_ended is not None:
            server.tell_ends(plan.on_ended)
        try:
            with (
                interrupts_handled(self._interrupt),
                asyncio.Runner(loop_factory=loop_factory()) as runner,
            ):
                return runner.run(self._main(server))
        finally:
            if self._last_resort is not None:
                self._last_resort.cancel()

    def stop(self) -> None:
        """Drain; quit if called again. Threads and signal handlers may call `stop`, `drain` and `quit`."""
        if self._stops:
            self.quit()
        else:
            self.drain()

    def drain(self) -> None:
        """Drain. Further calls have no effect."""
        self._stops = max(1, self._stops)
        self._wake()

    def quit(self) -> None:
        """Quit immediately."""
        self._stops = 2
        # Needed if the loop is blocked or a handler does not end.
        self._end_anyway(ExitCode.INTERRUPTED)
        self._wake()

    def _interrupt(self) -> None:
        """Handle a KeyboardInterrupt of user code. Only the first has an effect, and only before a drain."""
        if self._stops or self._was_interrupted or self._loop is None:
            return
        self._was_interrupted = True
        with contextlib.suppress(RuntimeError):  # The loop is closed: the process is ending.
            self._loop.call_soon_threadsafe(self._on_interrupt)

    @property
    def is_serving(self) -> bool:
        """Whether the process has started, and no stop was requested."""
        return self._has_started and not self._stops

    def reload(self, on_done: Callable[[], None] = lambda: None) -> None:
        """Read the files of certificates, tokens and policies again. Threads and signal handlers may call this."""
        if self._loop is not None and self._server is not None:
            with contextlib.suppress(RuntimeError):  # The loop is closed: the process is ending.
                self._loop.call_soon_threadsafe(self._server.reload)
                self._loop.call_soon_threadsafe(self._plan.on_reload)
                self._loop.call_soon_threadsafe(on_done)

    def _wake(self) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # The loop is closed: the process is ending.
                self._loop.call_soon_threadsafe(self._notice_stops)

    def _notice_stops(self) -> None:
        if self._stops:
            self._asked.set()
        if self._stops > 1:
            self._urged.set()

    async def _main(self, server: Server) -> ExitCode:
        self._loop = asyncio.get_running_loop()
        self._notice_stops()
        code = ExitCode.INTERRUPTED
        try:
            addresses = await _unless(self._asked, self._start(server))
            if addresses is not None:
                self._report(server, addresses)
                self._has_started = True
                await self._asked.wait()
            if self._opening is not None:
                self._on_leaving()
                is_clean = await _unless(self._urged, self._drain(server, self._opening))
                if is_clean is not None:
                    code = self._code_of_drain(is_clean)
        finally:
            if code is ExitCode.DRAIN_TIMED_OUT:
                self._end_anyway(code)
            with contextlib.suppress(TimeoutError):
                async with time_limit(QUIT_SECONDS if self._urged.is_set() else None):
                    await server.close()
        return code

    async def _start(self, server: Server) -> list[str]:
        await server.start()
        if self._plan.needs_service and not server.services and not self._plan.config.http.mounts:
            raise NothingToServeError
        if self._plan.beside is not None:
            await server.hold(self._plan.beside(server))
        self._opening = asyncio.ensure_future(self._open_listener(server))
        return await asyncio.shield(self._opening)

    async def _drain(self, server: Server, opening: asyncio.Task[list[str]]) -> bool:
        # Give the opening time to end: a cancellation would close a listener at which connections wait.
        await asyncio.wait([opening], timeout=OPENING_SECONDS)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        return await server.drain()

    def _code_of_drain(self, is_clean: bool) -> ExitCode:
        """Return the exit code after a drain, which depends on whether user code caused it by a KeyboardInterrupt."""
        if not is_clean:
            return ExitCode.DRAIN_TIMED_OUT
        return ExitCode.INTERRUPTED if self._was_interrupted else ExitCode.DONE

    def _report(self, server: Server, addresses: list[str]) -> None:
        if self._plan.on_started is None:
            return
        self._plan.on_started(
            Started(
                addresses=tuple(addresses),
                services={one.name: list(one.methods) for one in server.services},
                background={
                    one.name: names for one in server.services if (names := background_methods(one.owner))
                },
                loop=type(self._loop).__module__.partition(".")[0],
                process_ids=(os.getpid(),),
                versions={one.name: one.version for one in server.services if one.version},
                inferred=self._plan.inferred,
                scopes=server.scopes,
            )
        )

    def _end_anyway(self, code: ExitCode) -> None:
        """End the process soon, even if its loop is blocked or a handler does not end."""
        if self._last_resort is None:
            self._last_resort = threading.Timer(2 * QUIT_SECONDS, leave, (code,))
            self._last_resort.daemon = True
            self._last_resort.start()


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return the function that makes uvloop's loop, or None, for asyncio's loop, if uvloop is not installed."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


@contextlib.contextmanager
def signals_handled(handler: Callable[[int], None], *numbers: int) -> Iterator[None]:
    """Call `handler` for these signals, and restore the previous handlers at the end."""
    before = {number: signal.signal(number, lambda got, _: handler(got)) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            # None means that C code had set the handler, which cannot be restored.
            signal.signal(number, signal.SIG_DFL if earlier is None else earlier)


def reap_adopted(own: Container[int]) -> None:
    """Reap zombies that process 1 of a container has adopted. Its own children are left to `waitpid`."""
    if os.getpid() != 1 or not hasattr(os, "waitid"):
        return
    with contextlib.suppress(ChildProcessError):  # This process has no children.
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if ended.si_pid in own:
                return
            os.waitpid(ended.si_pid, os.WNOHANG)


def flush_output() -> None:
    """Flush printed text before a fork, so that the child does not print it again."""
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()


def leave(code: int) -> None:
    """End the process immediately, without waiting for its threads."""
    flush_output()
    os._exit(code)


async def _unless(event: asyncio.Event, work: Awaitable[T]) -> T | None:
    """Return the result of `work`. If `event` is set before, cancel the work and return None."""
    task = asyncio.ensure_future(work)
    waiter = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait((task, waiter), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        return None
    finally:
        for one in (task, waiter):
            one.cancel()
        await asyncio.gather(task, waiter, return_exceptions=True)
