"""Servers that are asked for their health, and clients that ask often."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import fastrpc
from fastrpc import Backoff, Client, ClientConfig, ServerConfig, Timeouts
from fastrpc.config import Outlier, Pool, Probes
from tests.support.served import Served, served
from tests.support.waiting import eventually
from tests.support.who import Who

__all__ = ["HEALTH", "OFTEN", "Asked", "Place", "answering", "config", "down", "probing", "serving"]

HEALTH = "fastrpc.health.check"
OFTEN = 0.01


class Asked:
    """A server's interceptor that sees the questions for its health, and may answer in place of the server."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.remaining: list[float] = []
        self.error: fastrpc.CallError | None = None
        self.is_stuck = False
        self.is_inside = False
        self.go_on = asyncio.Event()

    async def __call__(self, call: Any, proceed: Any) -> Any:
        if call.method == HEALTH:
            self.seen.append(call)
            self.remaining.append(call.remaining())
            if self.error is not None:
                raise self.error
            if self.is_stuck:
                self.is_inside = True
                await self.go_on.wait()
        return await proceed(call)

    async def again(self, times: int = 2) -> None:
        """Return once it was asked so often since now."""
        enough = len(self.seen) + times
        await eventually(lambda: len(self.seen) >= enough)


@dataclass
class Place:
    """One of several servers."""

    target: Served
    who: Who
    asked: Asked

    @property
    def connections(self) -> int:
        live: int = self.target.server.stats()["live"]["connections"]
        return live


@contextlib.asynccontextmanager
async def serving(
    count: int, scheme: str = "tcp", config: ServerConfig | None = None
) -> AsyncIterator[list[Place]]:
    async with contextlib.AsyncExitStack() as stack:
        places = []
        for number in range(count):
            who, asked = Who(str(number)), Asked()
            one = served(who, scheme=scheme, config=config, interceptors=[asked])
            places.append(Place(await stack.enter_async_context(one), who, asked))
        yield places


def config(
    *, outlier: Outlier | None = None, timeouts: Timeouts | None = None, **probes: Any
) -> ClientConfig:
    settings = {"interval": OFTEN, **probes}
    return ClientConfig(
        pool=Pool(probes=Probes(**settings), outlier=outlier, breaker=None),
        backoff=Backoff(first=0.01, longest=0.05),
        timeouts=timeouts or Timeouts(),
    )


@contextlib.asynccontextmanager
async def probing(
    places: Sequence[Place], settings: ClientConfig | None = None, **options: Any
) -> AsyncIterator[Client]:
    """Yield a client of all these places, connected to each."""
    async with Client([place.target for place in places], config=settings or config(), **options) as client:
        await client.ready(5)
        await eventually(lambda: len(client._pool.connections) == len(places))
        yield client


def down(client: Client) -> list[bool]:
    """Return of each endpoint whether it is down."""
    return [each.endpoint_state.health.is_down for each in client._pool.subchannels]


async def answering(client: Client) -> set[str]:
    """Return who takes calls."""
    return {await client.call(Who.name_of) for _ in range(12)}
