"""Which members of a group a change wakes in Redis, and the commands that many acknowledgements take."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from fastrpc.brokers.base import Delivery, GroupSettings
from fastrpc.brokers.redis.backend import RedisBroker
from fastrpc.brokers.redis.membership import RedisMembership
from tests.services.test_redis_broker_losses import member_process
from tests.support.cluster import until
from tests.support.kept_redis import LOG, bodies, opened_redis, publish, taken
from tests.support.registry_servers import RedisServer

pytestmark = pytest.mark.one_loop

GROUP = GroupSettings("billing", LOG.name, "oldest")
WAITING = "fastrpc:{orders.new}:waiting:billing"

#: Less than a third of the lease, after which a member looks by itself.
SOON_SECONDS = 8


@pytest.fixture
def server(kept_redis: RedisServer) -> RedisServer:
    """A server that keeps its data, without any."""
    kept_redis.ask("FLUSHALL")
    return kept_redis


@pytest.fixture
async def broker(server: RedisServer) -> AsyncIterator[RedisBroker]:
    async with opened_redis(server) as broker:
        await broker.declare(LOG)
        yield broker


async def joined(broker: RedisBroker, group: GroupSettings = GROUP) -> RedisMembership:
    member = await broker.join(group)
    assert isinstance(member, RedisMembership)
    return member


async def waiting_takes(
    server: RedisServer, members: list[RedisMembership]
) -> list["asyncio.Task[list[Delivery]]"]:
    """Return takes of all members, once they wait."""
    takes = [asyncio.create_task(taken(member, 1)) for member in members]
    # Other waiters may stop meanwhile.
    await until(lambda: all(server.ask("HEXISTS", WAITING, member.name) for member in members))
    return takes


async def ended(takes: list["asyncio.Task[list[Delivery]]"]) -> None:
    for take in takes:
        take.cancel()
    await asyncio.wait(takes)


@pytest.mark.parametrize("count", [1, 3])
async def test_a_publication_wakes_as_many_members_of_each_group_as_it_has_messages(
    server: RedisServer, broker: RedisBroker, count: int
) -> None:
    async with opened_redis(server) as other:
        members = [await joined(one) for one in (broker, other) for _ in range(10)]
        audit = await joined(broker, GroupSettings("audit", LOG.name, "oldest"))
        auditing = asyncio.create_task(taken(audit, count))
        takes = await waiting_takes(server, members)
        rung = [member.bell.count for member in members]
        await publish(other, *[b"%d" % number for number in range(count)])
        assert len(await auditing) == count
        async with asyncio.timeout(SOON_SECONDS):
            await asyncio.wait(takes, return_when=asyncio.FIRST_COMPLETED)
            await until(
                lambda: server.ask("XPENDING", "fastrpc:{orders.new}:log", "billing")["pending"] == count
            )
        assert sum(member.bell.count for member in members) - sum(rung) <= count
        await ended(takes)


async def test_a_message_that_is_given_back_wakes_one_member(
    server: RedisServer, broker: RedisBroker
) -> None:
    holder = await joined(broker)
    await publish(broker, b"1")
    (one,) = await taken(holder, 1)
    members = [await joined(broker) for _ in range(10)]
    takes = await waiting_takes(server, members)
    rung = sum(member.bell.count for member in members)
    assert await holder.hand_back(one.token)
    async with asyncio.timeout(SOON_SECONDS):
        await asyncio.wait(takes, return_when=asyncio.FIRST_COMPLETED)
    assert sum(member.bell.count for member in members) - rung == 1
    await ended(takes)


async def test_a_member_that_does_not_take_wakes_another_one(
    server: RedisServer, broker: RedisBroker
) -> None:
    still = [await joined(broker) for _ in range(8)]
    for member in still:
        await publish(broker, b"first")
        # Less than it asked for, so that it counts as one that waits.
        assert len(await member.take(2)) == 1
    (take,) = await waiting_takes(server, [await joined(broker)])
    await publish(broker, b"second")
    async with asyncio.timeout(SOON_SECONDS):
        assert bodies(await take) == [b"second"]


async def test_takes_that_are_cancelled_when_they_are_woken_wake_another_one(
    server: RedisServer, broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = [await joined(broker) for _ in range(8)]
    leaving = await waiting_takes(server, members)
    for member, take in zip(members, leaving, strict=True):
        monkeypatch.setattr(member.bell, "ring", take.cancel)
    (staying,) = await waiting_takes(server, [await joined(broker)])
    # Each of them may be the one that is woken.
    for number in range(8):
        await publish(broker, b"%d" % number)
        async with asyncio.timeout(SOON_SECONDS):
            assert bodies(await staying) == [b"%d" % number]
        (staying,) = await waiting_takes(server, [await joined(broker)])
    await ended([*leaving, staying])


async def test_a_member_whose_process_is_dead_is_not_woken(server: RedisServer, broker: RedisBroker) -> None:
    async with member_process(server) as process:
        await until(lambda: server.ask("HLEN", WAITING) == 1)
        (dead,) = server.ask("HVALS", WAITING)
        process.kill()
        await until(lambda: dead not in server.ask("PUBSUB", "CHANNELS"))
    (take,) = await waiting_takes(server, [await joined(broker)])
    await publish(broker, b"1")
    async with asyncio.timeout(SOON_SECONDS):
        assert bodies(await take) == [b"1"]


async def test_many_acknowledgements_are_one_command(server: RedisServer, broker: RedisBroker) -> None:
    def scripts() -> int:
        return int(server.ask("INFO", "commandstats")["cmdstat_evalsha"]["calls"])

    member = await joined(broker)
    await publish(broker, *[b"%d" % number for number in range(101)])
    first, *tokens = [one.token for one in await taken(member, 101)]
    # The server has the script from now on.
    assert await member.ack(first)
    before = scripts()
    assert await member.ack_many(tokens) == [True] * 100
    assert scripts() == before + 1
    assert broker.counts[LOG.name].acked == 101


async def test_many_acknowledgements_of_a_broadcast_are_counted(broker: RedisBroker) -> None:
    member = await broker.join(GroupSettings(None, LOG.name))
    await publish(broker, b"1", b"2")
    assert await member.ack_many([one.token for one in await taken(member, 2)]) == [True, True]
    assert broker.counts[LOG.name].acked == 2
