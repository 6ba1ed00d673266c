"""The broker that a command uses."""

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from fastrpc.brokers.broker import Broker
from fastrpc.cli.opened import broker_at, run_with
from fastrpc.gateway.dialing import Dialing

__all__ = ["BrokerURL", "run_with_broker"]

T = TypeVar("T")

BrokerURL = Annotated[
    str,
    typer.Argument(metavar="BROKER", help="Such as broker://host:port?token_file=FILE.", show_default=False),
]


def run_with_broker(
    url: str,
    dial: Callable[[], Dialing],
    work: Callable[[Broker], Awaitable[T]],
    *,
    as_json: bool,
    makes: bool = False,
) -> T:
    """Open a broker, call a function with it, and return the function's result.

    Args:
        makes: whether the command creates a broker in a folder that has none.
    """
    return run_with(
        "broker://127.0.0.1:8971",
        url,
        lambda place: broker_at(dial(), place, makes=makes),
        work,
        as_json=as_json,
    )
