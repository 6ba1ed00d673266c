"""The fixtures that pytest finds wherever fastrpc is installed: `fastrpc_connected` and `fastrpc_serving`."""

import asyncio
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import pytest

from fastrpc.client.client import Client
from fastrpc.testing.connected import connected
from fastrpc.testing.serving import serving

__all__ = ["Connecting", "ServedAddress", "fastrpc_connected", "fastrpc_serving"]


class Connecting:
    """A server in memory and its client: `async with` it, or await the client and let the test's end close both."""

    def __init__(self, sources: tuple[Any, ...], options: dict[str, Any]) -> None:
        self._context = connected(*sources, **options)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Client:
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

    def close(self) -> None:
        """Close what is still open, once the test is over."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.run_until_complete(self.__aexit__(None, None, None))


class ServedAddress(str):
    """The address of a server that runs on a thread; it ends with the `with` block, else with the test."""

    __slots__ = ("_stack",)

    _stack: ExitStack

    def __enter__(self) -> str:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the server; closing twice is fine."""
        self._stack.close()


@pytest.fixture
def fastrpc_connected() -> Iterator[Callable[..., Connecting]]:
    """`fastrpc.testing.connected`, which closes by itself at the end of the test.

    ::

        async def test_mul(fastrpc_connected):
            async with fastrpc_connected(Arith()) as client:
                assert await client.call(Arith.mul, 6, 7) == 42

    `client = await fastrpc_connected(Arith())` works too.
    """
    made: list[Connecting] = []

    def connect(*sources: Any, **options: Any) -> Connecting:
        made.append(Connecting(sources, options))
        return made[-1]

    yield connect
    for one in reversed(made):
        one.close()


@pytest.fixture
def fastrpc_serving() -> Iterator[Callable[..., ServedAddress]]:
    """`fastrpc.testing.serving`, which ends by itself at the end of the test.

    ::

        def test_mul(fastrpc_serving):
            with fastrpc.SyncClient(fastrpc_serving(Arith())) as client:
                assert client.call(Arith.mul, 6, 7) == 42

    `with fastrpc_serving(Arith()) as address:` works too.
    """
    with ExitStack() as servers:

        def serve(*sources: Any, **options: Any) -> ServedAddress:
            with ExitStack() as stack:
                address = ServedAddress(stack.enter_context(serving(*sources, **options)))
                address._stack = stack.pop_all()
            servers.callback(address.close)
            return address

        yield serve
