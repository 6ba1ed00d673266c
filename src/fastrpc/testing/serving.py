"""A server on a thread, for synchronous tests."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from fastrpc.config import ServerConfig
from fastrpc.handlers.auth.access_options import Authenticate, Authorize
from fastrpc.limits import Limit
from fastrpc.rpc.interceptor import Interceptor
from fastrpc.server.server import Server

__all__ = ["serving"]


@contextmanager
def serving(
    *sources: Any,
    interceptors: Sequence[Interceptor] = (),
    authenticate: Authenticate | None = None,
    authorize: Authorize | None = None,
    limits: Sequence[Limit] = (),
    config: ServerConfig | None = None,
    broker: str | None = None,
    address: str = "tcp://127.0.0.1:0",
) -> Iterator[str]:
    """Serve `sources` on a new thread and yield the address. The server drains and stops at the end of the block.

    Args:
        interceptors: functions around every call, the first outermost.
        authenticate, authorize, limits: as for `Server`.
        config: the settings, see `fastrpc.config`.
        broker: the URL of the server's broker. A broker of `fastrpc.testing.broker` belongs to the loop of the test:
            `connected` takes it.

    Raises:
        ConfigError: a source or a setting is wrong.
        OSError: the server cannot listen at the address.
        Exception: raised by a source that cannot start, or that cannot end (unless the block raised).
    """
    started = threading.Event()
    server = Server(
        *sources,
        interceptors=interceptors,
        authenticate=authenticate,
        authorize=authorize,
        limits=limits,
        config=ServerConfig() if config is None else config,
        broker=broker,
    )
    thread = _Thread(server, address, started)
    thread.start()
    started.wait()
    if thread.error is not None:
        thread.join()
        raise thread.error
    try:
        yield thread.address
    finally:
        thread.stop()
        thread.join()
    if thread.error is not None:
        raise thread.error


class _Thread(threading.Thread):
    """Runs a loop with one server until it is stopped."""

    def __init__(self, server: Server, address: str, started: threading.Event) -> None:
        super().__init__(name="fastrpc testing server", daemon=True)
        self.address = address
        self.error: BaseException | None = None
        self._server = server
        self._is_listening = started
        self._loop: asyncio.AbstractEventLoop
        self._stopping: asyncio.Event

    def run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self.error = error
        finally:
            self._is_listening.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        async with self._server as server:
            self.address = str(await server.listen(self.address))
            self._is_listening.set()
            await self._stopping.wait()

    def stop(self) -> None:
        """Make the server drain and the thread end."""
        with suppress(RuntimeError):
            # The loop is already closed if a handler ended it by KeyboardInterrupt or SystemExit.
            self._loop.call_soon_threadsafe(self._stopping.set)
