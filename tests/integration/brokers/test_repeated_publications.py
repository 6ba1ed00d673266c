"""Publications without ids over `broker://` whose answers are lost: each value is kept once."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

import fastrpc
from fastrpc import Topic
from fastrpc.brokers import Broker, open_broker
from fastrpc.brokers.base import OutgoingMessage, Published
from fastrpc.brokers.remote.messages import PublishedMessage, outgoing, sent
from fastrpc.brokers.remote.server import BrokerServer
from fastrpc.errors import ConfigError
from tests.support.messages.broker_process import HostedBroker
from tests.support.proxy import FaultProxy
from tests.support.waiting import eventually

LOG = Topic("orders.new", int)
QUEUE = Topic("orders.new", int, keep_seconds=None, groups=("g",))
GROUP = "g"


async def lose_answers(proxy: FaultProxy) -> None:
    """Break the connections of a publisher, with all that came from the broker and was held."""
    cut = set(proxy.relays)
    proxy.reset_all()
    await eventually(lambda: cut.isdisjoint(proxy.relays))
    proxy.downstream.resume()


async def settle(broker: Broker, count: int) -> list[int]:
    """Acknowledge messages; return their values."""
    async with broker.subscribe("orders.new", int, group=GROUP, in_flight=count) as messages:
        found = [await anext(messages) for _ in range(count)]
        for one in found:
            assert await one.ack()
    return [one.value for one in found]


@pytest.mark.parametrize("topic", [LOG, QUEUE], ids=["log", "queue"])
@pytest.mark.parametrize("handled", [0, 40])
async def test_publications_whose_answers_were_lost_by_a_kill_are_kept_once(
    tmp_path: Path, topic: Topic[int], handled: int
) -> None:
    server = HostedBroker(tmp_path)
    await asyncio.to_thread(server.start)
    try:
        target = server.url.replace("broker://", "tcp://")
        async with FaultProxy(target) as proxy, open_broker(server.url) as reader:
            async with open_broker(str(proxy.address).replace("tcp://", "broker://")) as broker:
                await broker.declare(topic)
                async with reader.subscribe(topic, group=GROUP):
                    pass
                proxy.downstream.hold()
                with fastrpc.timeout(60):
                    publishing = [
                        asyncio.ensure_future(broker.publish(topic, number)) for number in range(64)
                    ]
                while (await reader.groups())[0].lag < 64:
                    pass
                values = await settle(reader, handled) if handled else []
                server.kill()
                await lose_answers(proxy)
                await asyncio.to_thread(server.start)
                published = await asyncio.gather(*publishing)
                assert all(one.is_duplicate for one in published)
                assert len({one.sequence for one in published}) == 64
                with fastrpc.timeout(60):
                    await broker.publish(topic, 64)
                values += await settle(reader, 65 - handled)
                assert sorted(values) == list(range(65))
    finally:
        server.kill()


@pytest.mark.parametrize("folder", [True, False], ids=["sqlite", "memory"])
async def test_publications_that_share_a_call_are_repeated_when_its_answer_is_lost(
    tmp_path: Path, folder: bool
) -> None:
    async with BrokerServer("tcp://127.0.0.1:0", data_dir=tmp_path / "kept" if folder else None) as server:
        async with FaultProxy(str(server.address)) as proxy, open_broker(server.url) as reader:
            async with open_broker(str(proxy.address).replace("tcp://", "broker://")) as broker:
                await broker.declare(QUEUE)
                proxy.downstream.hold()
                publishing = [asyncio.ensure_future(broker.publish(QUEUE, number)) for number in range(64)]
                many = asyncio.ensure_future(broker.publish_many(QUEUE, range(64, 70)))
                while (await reader.groups())[0].lag < 70:
                    pass
                values = await settle(reader, 50)
                await lose_answers(proxy)
                published: list[Published] = [*await asyncio.gather(*publishing), *await many]
                assert all(one.is_duplicate for one in published)
                await broker.publish(QUEUE, 70)
                values += await settle(reader, 21)
                assert sorted(values) == list(range(71))


def test_an_id_that_the_client_made_travels_with_its_age() -> None:
    first = OutgoingMessage("a", b"", made_id="r-1")
    for one in (first, OutgoingMessage("a", b"", made_id="r-1", age=2.5), OutgoingMessage("a", b"", id="x")):
        assert outgoing(sent(one), None) == one
    # A server of an earlier version takes it as the publisher's.
    assert (sent(first).id, sent(first).age) == ("r-1", 0.0)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: PublishedMessage("a", b"", age=1.0),
        lambda: PublishedMessage("a", b"", id="r", age=-1.0),
        lambda: PublishedMessage("a", b"", id="r", age=float("nan")),
    ],
)
def test_an_invalid_age_is_refused(wrong: Callable[[], PublishedMessage]) -> None:
    with pytest.raises(ConfigError, match="the age of a message is"):
        outgoing(wrong(), None)
