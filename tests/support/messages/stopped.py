"""Brokers of this process whose time moves only by a clock."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fastrpc import Server
from fastrpc.brokers.embedded import EmbeddedBroker
from fastrpc.brokers.memory import MemoryBroker
from fastrpc.brokers.remote.client import RemoteBroker, open_remote
from fastrpc.brokers.remote.service import BrokerService, broker_config
from fastrpc.brokers.sqlite import sqlite_broker
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.testing import FakeClock

__all__ = ["Times", "served", "stopped_memory", "stopped_sqlite"]

DAY = datetime(2026, 1, 1, tzinfo=UTC)


class Times:
    """The clock of a broker, and a wall clock that may jump."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self._begin = self.clock()
        self.jump = 0.0

    def wall(self) -> datetime:
        return DAY + timedelta(seconds=self.clock() - self._begin + self.jump)

    def advance(self, seconds: float, broker: EmbeddedBroker) -> None:
        """Let time pass, and let the broker do due work."""
        self.clock.advance(seconds)
        broker.catch_up()


def stopped_memory(times: Times) -> MemoryBroker:
    """Return a broker in memory, to be entered."""
    return MemoryBroker(clock=times.clock, wall=times.wall)


def stopped_sqlite(folder: Path, times: Times) -> EmbeddedBroker:
    """Return a broker in a folder, to be entered."""
    return sqlite_broker(folder, sync="normal", clock=times.clock, wall=times.wall)


@asynccontextmanager
async def served(folder: Path | None, times: Times) -> AsyncIterator[tuple[RemoteBroker, BrokerService]]:
    """Serve a broker in a folder, or in memory; yield its client, and the service."""
    service = BrokerService(folder, sync="normal", clock=times.clock, wall=times.wall)
    async with Server(service, config=broker_config(None)) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with open_remote(RegistryURL(f"broker://{address.host}:{address.port}")) as broker:
            yield broker, service
