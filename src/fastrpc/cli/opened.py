"""The store or the broker that a command uses."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
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
            raise ConfigError(
                f"{url!r} is not a {kind}", hint=f"give its URL as the first argument, such as {example}"
            )
        opened = open_at(url)

    async def inside() -> T:
        async with opened as backend:
            return await work(backend)

    with reported(ExitCode.FAILED, as_json=as_json):
        return run_async(inside())


def store_at(dial: Dialing, url: str, *, makes: bool) -> "Store":
    """Open a store with the credentials of a command.

    Args:
        makes: whether the command creates a store in a folder that has none.

    Raises:
        ConfigError: the URL or the token cannot be used, or the folder has no store.
    """
    _check_place(url, "store", makes=makes)
    # Imported here: most commands have no store.
    from fastrpc.coordination.store import open_store

    return open_store(dial.with_token(url), tls=dial.config.tls)


def broker_at(dial: Dialing, url: str, *, makes: bool) -> "Broker":
    """Open a broker with the credentials of a command.

    Args:
        makes: whether the command creates a broker in a folder that has none.

    Raises:
        ConfigError: the URL or the token cannot be used, or the folder has no broker.
    """
    _check_place(url, "broker", makes=makes)
    # Imported here: most commands have no broker.
    from fastrpc.brokers.broker import open_broker

    return open_broker(dial.with_token(url), tls=dial.config.tls)


def _check_place(url: str, name: str, *, makes: bool) -> None:
    """Refuse a backend in the memory of the command, and a folder without a backend if the command only reads.

    Opening such a folder would create an empty backend.

    Raises:
        ConfigError: the URL names such a backend.
    """
    kind = url.lower()
    if kind.startswith("sqlite:///") and not makes:
        # Imported here: most commands have no folder.
        from fastrpc.registries.base.urls import RegistryURL

        folder = Path("/", RegistryURL(url).path)
        if not (folder / f"{name}.db").exists():
            raise ConfigError(
                f"{folder} has no {name}", hint=f"name the folder of a {name}, or write to it first"
            )
    if kind.startswith("memory:"):
        raise ConfigError(
            f"{url} is a {name} in the memory of this command: it ends with the command, no other program can use it",
            hint=f"name a {name} that runs, such as `fastrpc {name}`",
        )
