"""The connection of the registry of NATS with streams and pull consumers in place of a bucket, as a broker uses it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, PubAck
from nats.js.errors import APIError

from fastrpc import BrokerError
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.registries.nats.connection import NatsConnection, take_access
from tests.support.registry_servers import NatsServer

pytestmark = pytest.mark.one_loop

Connection = NatsConnection[JetStreamContext]


@pytest.fixture
async def connection(own_nats: NatsServer) -> AsyncIterator[Connection]:
    """A connection that has a stream of `orders` once it is open."""

    async def enter(client: Client) -> JetStreamContext:
        stream = client.jetstream()
        await stream.add_stream(name="orders", subjects=["orders.*"])
        return stream

    made = NatsConnection(take_access(RegistryURL(own_nats.url), BrokerError), enter)
    yield made
    made.end()
    await made.drop()


def publishing(number: int) -> Callable[[JetStreamContext], Awaitable[PubAck]]:
    return lambda stream: stream.publish("orders.new", b"%d" % number)


async def pulled(stream: JetStreamContext) -> list[bytes]:
    """Return the messages of a pull consumer, acknowledged."""
    wanted = ConsumerConfig(durable_name="audit")
    consumer = await stream.pull_subscribe("orders.*", durable="audit", stream="orders", config=wanted)
    messages = await consumer.fetch(100, timeout=1)
    for message in messages:
        await message.ack_sync()
    await consumer.unsubscribe()
    return [message.data for message in messages]


async def test_publishes_in_flight_share_one_connection_with_a_pull_consumer(connection: Connection) -> None:
    acknowledged = await asyncio.gather(*(connection.run(publishing(number)) for number in range(64)))
    assert sorted(one.seq for one in acknowledged) == [*range(1, 65)]
    assert sorted(await connection.run(pulled), key=int) == [b"%d" % number for number in range(64)]
    assert connection.generation == 1


async def test_work_that_the_server_refuses_leaves_the_connection_to_other_work(
    connection: Connection,
) -> None:
    with pytest.raises(BrokerError, match="consumer not found") as caught:
        await connection.run(lambda stream: stream.consumer_info("orders", "none"))
    assert isinstance(caught.value.__cause__, APIError)
    assert (await connection.run(publishing(1))).seq == 1
    assert connection.generation == 1


@pytest.mark.parametrize("end", ["cancelled", "failed"])
async def test_work_that_ends_by_itself_leaves_the_connection_to_other_work(
    connection: Connection, end: str
) -> None:
    begun = asyncio.Event()

    async def endless(stream: JetStreamContext) -> None:
        begun.set()
        await asyncio.Event().wait()

    async def failing(stream: JetStreamContext) -> None:
        raise KeyError("orders")

    if end == "failed":
        with pytest.raises(KeyError):
            await connection.run(failing)
    else:
        waiting = asyncio.ensure_future(connection.run(endless))
        await begun.wait()
        waiting.cancel()
        await asyncio.wait([waiting])
    assert (await connection.run(publishing(1))).seq == 1
    assert connection.generation == 1


async def test_a_lost_connection_is_told_and_made_anew_with_all_that_was_kept(
    own_nats: NatsServer, connection: Connection
) -> None:
    lost = asyncio.Event()
    connection.listeners.add(lost.set)
    await connection.run(publishing(1))
    own_nats.kill()
    async with asyncio.timeout(20):
        await lost.wait()
    with pytest.raises(BrokerError):
        await connection.run(publishing(2))
    before = connection.generation
    own_nats.start()
    assert (await connection.run(publishing(2))).seq == 2
    assert connection.generation > before
    assert await connection.run(pulled) == [b"1", b"2"]
