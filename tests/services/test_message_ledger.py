"""Kill −9 of brokers, subscribers and publishers under 500 messages a second: nothing that was kept is lost."""

import os
from pathlib import Path

import pytest

from tests.support.messages.kept import kept_broker
from tests.support.messages.killing import Crowd

SCALE = float(os.environ.get("FASTRPC_TEST_SCALE", "1"))

#: For each kind of process.
KILLS = {"broker-sqlite": 15, "nats": 3, "redis": 3}
MOST_KILLS = {"broker-sqlite": 300, "nats": 50, "redis": 50}


@pytest.mark.parametrize(
    ("kind", "ordered"),
    [
        pytest.param("broker-sqlite", True, id="broker-ordered"),
        pytest.param("nats", False, id="nats"),
        pytest.param("redis", False, id="redis"),
    ],
)
def test_kills_lose_no_message_that_was_kept(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    kind: str,
    ordered: bool,
) -> None:
    kills = min(MOST_KILLS[kind], int(KILLS[kind] * SCALE**1.5))
    broker = kept_broker(kind, request, tmp_path)
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
