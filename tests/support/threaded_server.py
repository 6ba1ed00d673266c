"""A server with a separate loop and a separate thread, so that it can be blocked while its clients run."""

import asyncio
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from fastrpc import Server, ServerConfig

__all__ = ["ThreadedServer"]


class ThreadedServer:
    """Serves inside a `with` block; it drains on leaving.

    Args:
        make_loop: makes the server's loop.
        listen: where it listens.
        options: of the Server.
    """

    def __init__(
        self,
        *sources: Any,
        config: ServerConfig | None = None,
        make_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
        listen: str = "tcp://127.0.0.1:0",
        **options: Any,
    ) -> None:
        self.address = ""
        self._listen = listen
        self.server: Server
        self._sources = sources
        self._options = {"config": config or ServerConfig(), **options}
        self._make_loop = make_loop
        self.loop: asyncio.AbstractEventLoop
        self._stopping: asyncio.Event
        self._error: BaseException | None = None
        self._is_listening = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._is_listening.wait(10)
        if self._error is not None:
            raise self._error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(20)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error

    async def stats(self) -> dict[str, Any]:
        """Return the server's stats, taken on its own loop."""
        return await self.run(self.server.stats)

    async def run(self, function: Callable[[], Any]) -> Any:
        """Call a function on the server's loop and return its result."""

        async def call() -> Any:
            return function()

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call(), self.loop))

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=self._make_loop) as runner:
                runner.run(self._serve())
        except BaseException as error:
            self._error = error
        finally:
            self._is_listening.set()

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        async with Server(*self._sources, **self._options) as self.server:
            self.address = str(await self.server.listen(self._listen))
            self._is_listening.set()
            await self._stopping.wait()
