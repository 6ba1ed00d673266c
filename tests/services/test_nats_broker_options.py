"""Options of the broker over NATS, and settings and messages that it refuses."""

from dataclasses import replace
from typing import Any

import pytest
from nats.js.api import StreamConfig

from fastrpc.brokers.base import BrokerBackend, GroupSettings, OutgoingMessage, TopicSettings
from fastrpc.brokers.broker_urls import open_backend
from fastrpc.errors import BrokerError, ConfigError
from fastrpc.status import Status
from tests.support.nats_streams import on_streams
from tests.support.registry_servers import NatsServer

pytestmark = pytest.mark.one_loop

LOG = TopicSettings("orders.new")
GROUP = GroupSettings("a", "orders.new")


async def test_bases_share_a_server_and_nothing_else(nats_broker: BrokerBackend, nats_url: str) -> None:
    await nats_broker.declare(LOG)
    async with open_backend(f"{nats_url}-other") as other:
        assert list(await other.topics()) == []
        await other.declare(TopicSettings("orders.*"))


async def test_unmanaged_streams_are_never_created(
    nats_broker: BrokerBackend, nats_url: str, nats_base: str
) -> None:
    async with open_backend(f"{nats_url}&manage=false") as other:
        with pytest.raises(
            ConfigError, match=rf"manage=false.*{nats_base}\+orders-new .*nats stream add.*max_age"
        ):
            await other.declare(LOG)
        await nats_broker.declare(LOG)
        await other.declare(LOG)
        with pytest.raises(
            ConfigError, match=rf"manage=false.*stream {nats_base}\+dead\+a .*nats stream add"
        ):
            await other.join(GROUP)
        await nats_broker.join(GROUP)
        member = await other.join(GROUP)
        await other.publish([OutgoingMessage("orders.new", b"1")])
        assert [one.body for one in await member.take(1)] == [b"1"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("sync=full", "sync=full.*monitor=http://host:8222"),
        ("monitor=http://127.0.0.1:8222", "monitor has no effect.*sync=full"),
        ("sync=full&monitor=nats://127.0.0.1", "monitor is 'nats://127.0.0.1'.*http://host:8222"),
        ("sync=always", "sync is 'always'.*normal, full"),
        ("replicas=9", "replicas is '9'.*1 to 5"),
        ("base=a.b", "base is 'a.b'.*letters"),
        ("lease=1", "lease is '1'.*seconds"),
        ("ttl=5", "no option ttl.*lease"),
    ],
)
def test_a_wrong_option_names_the_backend_and_the_way_out(options: str, told: str) -> None:
    with pytest.raises(ConfigError, match=f"nats://.*{told}"):
        open_backend(f"nats://127.0.0.1:4222?{options}")


def test_a_path_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"path.*\?base="):
        open_backend("nats://127.0.0.1:4222/shop")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"keep_seconds": 1e12}, "keep_seconds .* nats:// has at most 9e\\+09.*keep_seconds=None"),
        ({"keep_seconds": 0.01}, "keep_seconds .* nats:// has at least 0.1"),
        ({"dedupe_seconds": 1e12}, "dedupe_seconds"),
    ],
)
async def test_seconds_beyond_the_limits_of_jetstream_are_refused(
    nats_broker: BrokerBackend, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        await nats_broker.declare(replace(LOG, **changes))


async def test_a_stream_of_another_program_is_named(
    nats_broker: BrokerBackend, nats: NatsServer, nats_base: str
) -> None:
    config = StreamConfig(name=f"{nats_base}-mine", subjects=[f"{nats_base}.topic.orders.*"])
    await on_streams(nats, lambda streams: streams.add_stream(config))
    with pytest.raises(ConfigError, match=f"overlaps with the stream {nats_base}-mine"):
        await nats_broker.declare(LOG)
    with pytest.raises(ConfigError, match=f"{nats_base}-mine.*another program.*base="):
        await nats_broker.topics()


async def test_a_message_above_the_limit_of_the_server_is_refused(nats_broker: BrokerBackend) -> None:
    await nats_broker.declare(LOG)
    with pytest.raises(BrokerError, match="max_payload") as caught:
        await nats_broker.publish([OutgoingMessage("orders.new", b"x" * 1024 * 1024)])
    assert (caught.value.status, caught.value.processed) == (Status.INVALID_ARGUMENT, "no")
    await nats_broker.publish([OutgoingMessage("orders.new", b"x" * 1_020_000)])
