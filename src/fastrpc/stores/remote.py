"""Common parts of stores on other machines: blocking clients in threads, and the prefix of all keys."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Generic, Protocol, TypeVar

from fastrpc.errors import ConfigError, StoreError
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.status import Status
from fastrpc.stores.base import check_key, check_prefix

__all__ = ["ClientThread", "ClientThreads", "KeyPrefix", "ended_lease"]

#: Most concurrent requests of a store; further requests wait.
_MOST_REQUESTS: Final = 32


class _Closable(Protocol):
    def close(self) -> None: ...


C = TypeVar("C", bound=_Closable)
T = TypeVar("T")


class ClientThread(Generic[C]):
    """A blocking client and the only thread that uses it."""

    def __init__(self, client: C) -> None:
        self._client = client
        self._thread = ThreadPoolExecutor(1, "fastrpc store")

    async def run(self, work: Callable[[C], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, self._client)

    def close(self) -> None:
        """Interrupt a running request and end the thread."""
        self._client.close()
        self._thread.shutdown(wait=False)


class ClientThreads(Generic[C]):
    """The clients of a store, for its event loop.

    Args:
        connect: creates a client. Its `close` may be called in another thread.
    """

    def __init__(self, connect: Callable[[], C]) -> None:
        self._connect = connect
        self._idle: list[ClientThread[C]] = []
        self._lent: set[ClientThread[C]] = set()
        self._places = asyncio.Semaphore(_MOST_REQUESTS)
        self._refusal: str | None = "the store is closed"
        # Watches that are starting. Writes wait for them.
        self._beginning: set[asyncio.Future[Any]] = set()

    def open(self) -> None:
        self._refusal = None

    def close(self) -> None:
        self._refusal = "the store is closed"
        for thread in (*self._idle, *self._lent):
            thread.close()
        self._idle.clear()

    async def ask(self, work: Callable[[C], T], *, writes: bool = False) -> T:
        """Run a function with a client. If the caller is cancelled, interrupt the function."""
        if writes and self._beginning:
            await asyncio.wait(self._beginning)
        async with self._places:
            with self.lent() as thread:
                return await thread.run(work)

    def begin(self, work: Awaitable[T]) -> "asyncio.Future[T]":
        """Start a watch. Later writes of this store wait for its start, so that it yields them."""
        beginning = asyncio.ensure_future(work)
        self._beginning.add(beginning)
        beginning.add_done_callback(self._begun)
        return beginning

    def _begun(self, beginning: "asyncio.Future[Any]") -> None:
        self._beginning.discard(beginning)
        if not beginning.cancelled():
            # Retrieve the exception, in case no task iterates over the watch.
            beginning.exception()

    @contextlib.contextmanager
    def lent(self, *, again: bool = True) -> Iterator[ClientThread[C]]:
        """Lend a client.

        Args:
            again: whether the client can be lent again afterwards; otherwise it is closed.
        """
        if self._refusal is not None:
            raise StoreError(self._refusal, processed="no")
        one = self._idle.pop() if self._idle else ClientThread(self._connect())
        self._lent.add(one)
        # Close the client: after an unexpected error or a cancellation its request may still run.
        is_reusable = False
        try:
            yield one
            is_reusable = True
        except StoreError as error:
            is_reusable = True
            if self._refusal is not None:
                raise StoreError(self._refusal, processed=error.processed) from error
            error.retryable = error.status is Status.UNAVAILABLE
            if not error.retryable or not getattr(error.__cause__, "was_sent", True):
                # The request was refused, or was not sent.
                error.processed = "no"
            raise
        finally:
            self._lent.discard(one)
            if is_reusable and again and self._refusal is None:
                self._idle.append(one)
            else:
                one.close()


class KeyPrefix:
    """The prefix of all keys of a store: `?base=shop` puts `shop/` before each."""

    def __init__(self, url: RegistryURL) -> None:
        base = url.take("base", "", str).strip("/")
        self.prefix = f"{base}/" if base else ""
        check_prefix(self.prefix)

    def outer(self, key: str) -> str:
        """Return the key on the server for a key or prefix of this store."""
        return self.prefix + key

    def inner(self, key: str) -> str | None:
        """Return the key in this store for a key on the server; None for an invalid key of another program."""
        inner = key.removeprefix(self.prefix)
        try:
            check_key(inner)
        except ConfigError:
            return None
        return inner


def ended_lease(*names: str) -> StoreError:
    """Return the error for a write whose lease has ended."""
    text = f"there is no lease {' or '.join(map(repr, names))}"
    return StoreError(text, status=Status.NOT_FOUND, processed="no")
