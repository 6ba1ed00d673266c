"""Brokers of every kind, each where a test finds it by a URL."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from fastrpc import Keepalive, Server
from fastrpc.brokers.remote.service import BrokerService, broker_config
from tests.support.nats_streams import remove_streams

__all__ = ["BROKERS", "KEPT", "LEASE_SECONDS", "SHARED", "broker_place"]

#: Brokers of one process, `broker://` over both, and external brokers.
BROKERS = ("memory", "sqlite", "broker-memory", "broker-sqlite", "nats", "redis")

#: Brokers that several processes reach.
SHARED = BROKERS[2:]

#: Brokers that keep messages over a kill, and run in a separate process.
KEPT = ("broker-sqlite", "nats", "redis")

#: After so long the messages of a subscriber that is silent go to another one.
LEASE_SECONDS = 2

_numbers = count(1)


@asynccontextmanager
async def broker_place(kind: str, request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[str]:
    """Yield the URL of a broker of a kind, without topics.

    Servers of NATS and Redis are shared by the tests of a process; each test has names of its own there.
    """
    name = f"place-{next(_numbers)}"
    if kind == "memory":
        yield f"memory://{name}"
    elif kind == "sqlite":
        yield f"sqlite://{folder}/{name}?sync=normal"
    elif kind in ("broker-memory", "broker-sqlite"):
        async with _served(folder / name if kind == "broker-sqlite" else None) as url:
            yield url
    elif kind == "nats":
        server = request.getfixturevalue("nats")
        yield f"{server.url}?base={name}&lease={LEASE_SECONDS}"
        await remove_streams(server, name)
    else:
        server = request.getfixturevalue("kept_redis")
        yield f"{server.url}?base={name}&lease={LEASE_SECONDS}"


@asynccontextmanager
async def _served(folder: Path | None) -> AsyncIterator[str]:
    # A silent client is gone as soon as its lease would end elsewhere.
    keepalive = Keepalive(interval=LEASE_SECONDS / 2, timeout=LEASE_SECONDS / 2)
    config = replace(broker_config(None), keepalive=keepalive)
    async with Server(BrokerService(folder, sync="normal"), config=config) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        yield f"broker://{address.host}:{address.port}"
