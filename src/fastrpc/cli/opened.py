"""The store or the broker on which a command works."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, TypeVar

from fastrpc.cli.calling.command import run_async
from fastrpc.cli.printing import reported
from fastrpc.errors import ConfigError
from fastrpc.gateway.dialing import Dialing
from fastrpc.workers.plan import ExitCode

if TYPE_CHECKING:
    from fastrpc.brokers.broker import Broker
    from fastrpc.coordination.store import Store

__all__ = ["broker_at", "run_with", "store_at"]

B = TypeVar("B")
T = TypeVar("T")


def run_with(
    example: str,
    url: str,
    open_at: Callable[[str], AbstractAsyncContextManager[B]],
    work: Callable[[B], Awaitable[T]],
    *,
    as_json: bool,
) -> T:
    """Open a backend, call a function with it, and return its result.

    Args:
        example: a URL of this kind of backend; its scheme is the name of the kind.
    """
    with reported(ExitCode.USAGE):
        if "://" not in url:
            kind = example.partition("://")[0]
            raise ConfigError(f"{url!r} is not a {kind}", hint=f"name it first: {example}")
        opened = open_at(url)

    async def inside() -> T:
        async with opened as backend:
            return await work(backend)

    with reported(ExitCode.FAILED, as_json=as_json):
        return run_async(inside())


def store_at(dial: Dialing, url: str) -> "Store":
    """Open a store with the credentials of a command.

    Raises:
        ConfigError: the URL or the token cannot be used.
    """
    _refuse_memory(url, "store")
    # Imported here: most commands have no store.
    from fastrpc.coordination.store import open_store

    return open_store(dial.with_token(url), tls=dial.config.tls)


def broker_at(dial: Dialing, url: str) -> "Broker":
    """Open a broker with the credentials of a command.

    Raises:
        ConfigError: the URL or the token cannot be used.
    """
    _refuse_memory(url, "broker")
    # Imported here: most commands have no broker.
    from fastrpc.brokers.broker import open_broker

    return open_broker(dial.with_token(url), tls=dial.config.tls)


def _refuse_memory(url: str, name: str) -> None:
    """Refuse a backend in the memory of a command, which would end with the command.

    Raises:
        ConfigError: the URL names such a backend.
    """
    if url.lower().startswith("memory:"):
        raise ConfigError(
            f"{url} is a {name} in the memory of this command: nothing keeps what it has, and no other program sees it",
            hint=f"name a {name} that runs, such as `fastrpc {name}`",
        )
