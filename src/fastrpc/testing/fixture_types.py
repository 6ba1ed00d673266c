"""The types of the pytest fixtures, for typed tests. This module works without pytest."""

import asyncio
from collections.abc import Generator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from fastrpc.client.client import Client
from fastrpc.config import ClientConfig, ServerConfig
from fastrpc.handlers.auth.access_options import Authenticate, Authorize
from fastrpc.limits import Limit
from fastrpc.rpc.identity import Identity
from fastrpc.rpc.interceptor import Interceptor
from fastrpc.testing.connected import connected

__all__ = ["ConnectedFixture", "Connecting", "ServedAddress", "ServingFixture"]

if TYPE_CHECKING:
    from fastrpc.brokers import Broker

_WHOLE: Final = "a server and its client that are not connected yet"
_HOW_TO_ENTER: Final = (
    "write `async with fastrpc_connected(…) as client:` or `client = await fastrpc_connected(…)`"
)


class Connecting:
    """A server in memory and its client: use `async with`, or await the client, which is closed after the test."""

    def __init__(self, sources: tuple[Any, ...], options: dict[str, Any]) -> None:
        self._context = connected(*sources, **options)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_used = False

    async def __aenter__(self) -> Client:
        if self._is_used:
            raise RuntimeError(
                "this server and its client were connected already; call fastrpc_connected(…) again"
            )
        self._is_used = True
        client = await self._context.__aenter__()
        self._loop = asyncio.get_running_loop()
        return client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop = None
        await self._context.__aexit__(kind, error, traceback)

    def __await__(self) -> Generator[Any, Any, Client]:
        return self.__aenter__().__await__()

    if not TYPE_CHECKING:
        # These methods exist only for their error texts: type checkers already refuse their use.

        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            raise AttributeError(f"{_WHOLE} has no {name!r}; {_HOW_TO_ENTER}")

        def __enter__(self):
            raise TypeError(f"{_WHOLE} is not entered by `with`; {_HOW_TO_ENTER}")

        def __exit__(self, kind, error, traceback):
            pass

    def close(self) -> None:
        """Close client and server after the test if they are still open."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.run_until_complete(self.__aexit__(None, None, None))


class ServedAddress(str):
    """The address of a server on a thread. The server stops at the end of the `with` block, or of the test."""

    __slots__ = ("_stack",)

    # Copying creates a new object from the text alone and then sets the original's stack.
    def __new__(cls, address: str, stack: ExitStack | None = None) -> Self:
        return super().__new__(cls, address)

    # Closing the stack stops the server.
    def __init__(self, address: str, stack: ExitStack) -> None:
        self._stack = stack

    def __enter__(self) -> str:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the server. Closing twice is allowed."""
        self._stack.close()


class ConnectedFixture(Protocol):
    """The type of the pytest fixture `fastrpc_connected`: with the arguments of `connected`.

    ::

        async def test_mul(fastrpc_connected: ConnectedFixture) -> None:
            async with fastrpc_connected(Arith()) as client:
                assert await client.call(Arith.mul, 6, 7) == 42
    """

    def __call__(
        self,
        *sources: Any,
        interceptors: Sequence[Interceptor] = (),
        client_interceptors: Sequence[Interceptor] = (),
        services: Sequence[Any] = (),
        identity: Identity | None = None,
        config: ServerConfig | None = None,
        client_config: ClientConfig | None = None,
        broker: "str | Broker | None" = None,
    ) -> Connecting: ...


class ServingFixture(Protocol):
    """The type of the pytest fixture `fastrpc_serving`: with the arguments of `serving`.

    ::

        def test_mul(fastrpc_serving: ServingFixture) -> None:
            with fastrpc.SyncClient(fastrpc_serving(Arith())) as client:
                assert client.call(Arith.mul, 6, 7) == 42
    """

    def __call__(
        self,
        *sources: Any,
        interceptors: Sequence[Interceptor] = (),
        authenticate: Authenticate | None = None,
        authorize: Authorize | None = None,
        limits: Sequence[Limit] = (),
        config: ServerConfig | None = None,
        broker: str | None = None,
        address: str = "tcp://127.0.0.1:0",
    ) -> ServedAddress: ...
