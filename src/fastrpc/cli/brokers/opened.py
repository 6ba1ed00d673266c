"""The broker that a command asks."""

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from fastrpc.brokers.broker import Broker
from fastrpc.cli.calling.command import run_async
from fastrpc.cli.dialing import Dialing
from fastrpc.cli.printing import reported
from fastrpc.errors import ConfigError
from fastrpc.workers.plan import ExitCode

__all__ = ["BrokerURL", "run_with_broker"]

T = TypeVar("T")

BrokerURL = Annotated[
    str,
    typer.Argument(metavar="BROKER", help="Such as broker://host:port?token_file=FILE.", show_default=False),
]


def run_with_broker(
    url: str, dial: Callable[[], Dialing], work: Callable[[Broker], Awaitable[T]], *, as_json: bool
) -> T:
    """Open a broker, and return the result of a function of it."""
    with reported(ExitCode.USAGE):
        if "://" not in url:
            raise ConfigError(f"{url!r} is no broker", hint="name it first: broker://127.0.0.1:8971")
        opened = dial().broker(url)

    async def inside() -> T:
        async with opened as broker:
            return await work(broker)

    with reported(ExitCode.FAILED, as_json=as_json):
        return run_async(inside())
