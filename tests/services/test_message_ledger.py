"""Kill −9 of brokers, subscribers and publishers under 500 messages a second: nothing that was kept is lost."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.messages.broker_process import HostedBroker
from tests.support.messages.killing import BrokerProcess, Crowd
from tests.support.registry_servers import NatsServer, RedisServer

SCALE = float(os.environ.get("FASTRPC_TEST_SCALE", "1"))

#: For each kind of process.
KILLS = {"broker": 15, "nats": 3, "redis": 3}
MOST_KILLS = {"broker": 300, "nats": 50, "redis": 50}


class PersistentNats(NatsServer):
    """Its clients end the lease of a lost subscriber soon."""

    @property
    def url(self) -> str:
        return f"{super().url}?lease=2"


class PersistentRedis(RedisServer):
    """It appends to a file, which outlives its process."""

    @property
    def url(self) -> str:
        return f"{super().url}?lease=2"


def hosted(request: pytest.FixtureRequest, folder: Path) -> BrokerProcess:
    return HostedBroker(folder)


def nats(request: pytest.FixtureRequest, folder: Path) -> BrokerProcess:
    return PersistentNats(request.getfixturevalue("nats_path"), folder)


def redis(request: pytest.FixtureRequest, folder: Path) -> BrokerProcess:
    options = ["--appendonly", "yes", "--appendfsync", "everysec"]
    return PersistentRedis(request.getfixturevalue("redis_path"), folder, options=options)


@pytest.mark.parametrize(
    ("make", "kind", "ordered"),
    [
        pytest.param(hosted, "broker", True, id="broker-ordered"),
        pytest.param(nats, "nats", False, id="nats"),
        pytest.param(redis, "redis", False, id="redis"),
    ],
)
def test_kills_lose_no_message_that_was_kept(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    make: Callable[[pytest.FixtureRequest, Path], BrokerProcess],
    kind: str,
    ordered: bool,
) -> None:
    kills = min(MOST_KILLS[kind], int(KILLS[kind] * SCALE**1.5))
    broker = make(request, tmp_path)
    events = tmp_path / "events"
    events.mkdir()
    try:
        broker.start()
        # nats-server writes the state of a consumer some time behind the ack that it has confirmed.
        crowd = Crowd(broker, events, is_ordered=ordered, keeps_acks=kind != "nats")
        assert crowd.survive(kills, seed=1) == []
        assert crowd.count("acked") > 100 * kills
    finally:
        broker.kill()
