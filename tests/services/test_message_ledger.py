"""Kill −9 of brokers, subscribers and publishers under 500 messages a second: nothing that was kept is lost."""

from pathlib import Path

import pytest

from tests.conftest import SCALE
from tests.support.messages.kept import KeptRedis, kept_broker, losses_of
from tests.support.messages.killing import Crowd

#: For each kind of process: at scale 1, and the most.
KILLS = {"broker-sqlite": (15, 300), "nats": (3, 50), "redis": (3, 50), "redis-everysec": (3, 50)}


@pytest.mark.parametrize(
    ("kind", "ordered"),
    [
        pytest.param("broker-sqlite", True, id="broker-ordered"),
        pytest.param("nats", False, id="nats"),
        pytest.param("redis", False, id="redis"),
        pytest.param("redis-everysec", False, id="redis-everysec"),
    ],
)
def test_kills_lose_no_message_that_was_kept(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    kind: str,
    ordered: bool,
) -> None:
    least, most = KILLS[kind]
    kills = min(most, int(least * SCALE**1.5))
    broker = kept_broker(kind, request, tmp_path)
    events = tmp_path / "events"
    events.mkdir()
    ids = broker.ids if isinstance(broker, KeptRedis) else None
    try:
        broker.start()
        crowd = Crowd(broker, events, is_ordered=ordered, losses=losses_of(kind), ids=ids)
        assert crowd.survive(kills, seed=1) == []
        assert crowd.count("acked") > 100 * kills
    finally:
        broker.kill()
