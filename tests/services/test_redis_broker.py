"""The broker in Redis: each cell of its column in the table of backends; test_brokers.py has the contract."""

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastrpc import BrokerError, ConfigError
from fastrpc.brokers import Message, Subscription, open_broker
from fastrpc.brokers.base import GroupSettings, OutgoingMessage, TopicSettings
from fastrpc.brokers.redis.backend import RedisBroker
from fastrpc.brokers.redis.member_scripts import BEGIN
from fastrpc.status import Status
from tests.support.cluster import in_thread, until
from tests.support.kept_redis import LOG, bodies, kept_server, opened_redis, publish, taken
from tests.support.registry_servers import RedisSentinel, RedisServer

pytestmark = pytest.mark.one_loop

GROUP = GroupSettings("billing", LOG.name, "oldest")
KEY = "fastrpc:{orders.new}"


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


# A kept message survives kill -9


async def test_kept_messages_groups_and_ids_survive_a_kill_of_the_server(
    redis_path: str, tmp_path: Path
) -> None:
    with kept_server(redis_path, tmp_path, fsync="always").running() as server:
        async with opened_redis(server) as broker:
            await broker.declare(LOG)
            member = await broker.join(GROUP)
            await broker.publish([OutgoingMessage(LOG.name, b"\x00\r\n\xff", id="one")])
            await publish(broker, b"2", b"3")
            first, second, third = await taken(member, 3)
            assert await member.ack(first.token)
            assert await member.reject(second.token, "no", "")
            assert await member.nack(third.token, 0.0)
        await in_thread(server.kill)
        await in_thread(server.start)
        async with opened_redis(server) as broker:
            assert list(await broker.topics()) == [LOG]
            (again,) = await broker.publish([OutgoingMessage(LOG.name, b"", id="one")])
            assert (again.is_duplicate, again.sequence) == (True, first.sequence)
            member = await broker.join(GROUP)
            (found,) = await taken(member, 1)
            assert (found.body, found.delivery) == (b"3", 2)
            assert [one.body for one in await broker.dead_letters("billing")] == [b"2"]


# A machine is lost


async def test_replicas_are_told_at_each_start(
    redis_path: str, tmp_path: Path, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    replica = RedisServer(redis_path, tmp_path, options=("--replicaof", "127.0.0.1", str(server.port)))
    with replica.running():
        await until(lambda: server.ask("ROLE")[2])
        async with opened_redis(server):
            pass
        assert "has replicas: a fail-over may lose kept messages" in caplog.text
    await until(lambda: not server.ask("ROLE")[2])
    caplog.clear()
    async with opened_redis(server):
        pass
    assert caplog.text == ""


async def test_the_master_that_sentinels_name_is_followed(
    redis_path: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
    with kept_server(redis_path, folders[0]).running() as first:
        options = ("--replicaof", "127.0.0.1", str(first.port))
        with kept_server(redis_path, folders[1], options=options).running() as second:
            await until(lambda: first.ask("ROLE")[2])
            with RedisSentinel(redis_path, tmp_path, first).running() as sentinel:
                await until(lambda: sentinel.ask("SENTINEL", "REPLICAS", "records"))
                async with open_broker(sentinel.url) as broker:
                    assert "has sentinels: a fail-over may lose kept messages" in caplog.text
                    async with broker.subscribe("orders.new", group="billing") as messages:
                        await broker.publish("orders.new", 1, id="1")
                        assert await (await anext(messages)).ack()
                        await until(lambda: second.ask("XLEN", f"{KEY}:log") == 1)
                        await in_thread(first.kill)
                        await until(lambda: second.ask("ROLE")[0] == b"master", 20)
                        await broker.publish("orders.new", 2, id="2")
                        while (message := await next_of(messages)).value != 2:
                            pass
                        assert await message.ack()


async def next_of(messages: Subscription[Any]) -> Message[Any]:
    """Return the next message; the broker may be away for longer than a subscriber waits."""
    while True:
        with contextlib.suppress(BrokerError):
            return await anext(messages)


# Refused options


async def test_messages_of_two_topics_and_delays_are_refused_below_types(broker: RedisBroker) -> None:
    both = [OutgoingMessage(LOG.name, b""), OutgoingMessage("other", b"")]
    for messages, text in (
        (both, "published together"),
        ([OutgoingMessage(LOG.name, b"", delay=1.0)], "a delay"),
    ):
        with pytest.raises(BrokerError, match=text) as caught:
            await broker.publish(messages)
        assert (caught.value.status, caught.value.processed) == (Status.INVALID_ARGUMENT, "no")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis://127.0.0.1?sync=some", "the option sync is 'some': it must be one of normal, full"),
        ("redis://127.0.0.1?appendfsync=2", "the option appendfsync is '2'"),
        ("redis://127.0.0.1?lease=1", "from 2 to 86400"),
        ("redis://127.0.0.1?manage=maybe", "true or false"),
        ("redis://127.0.0.1?base=/", "the option base is empty"),
        ("redis://127.0.0.1?replicas=3", "has no option replicas"),
        ("redis://127.0.0.1/orders", "is more than a broker"),
        ("redis://127.0.0.1,127.0.0.2", "names 2 servers"),
        ("rediss://10.0.0.1?tls=true", "has no option tls"),
        ("valkey://10.0.0.1?password=a", "travel in the clear"),
    ],
)
def test_an_option_that_cannot_work_is_refused(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_broker(url)


async def test_without_manage_nothing_is_made(server: RedisServer) -> None:
    async with opened_redis(server, "manage=false") as reader, opened_redis(server) as maker:
        with pytest.raises(ConfigError, match="no topic orders.new, and manage=false"):
            await reader.declare(LOG)
        assert server.ask("KEYS", "*") == []
        await maker.declare(LOG)
        await reader.declare(LOG)
        with pytest.raises(ConfigError, match="other settings|with keep_seconds"):
            await reader.declare(replace(LOG, keep_seconds=1.0))
        with pytest.raises(ConfigError, match="no group billing, and manage=false"):
            await reader.join(GROUP)
        await (await maker.join(GROUP)).close()
        member = await reader.join(GROUP)
        await publish(reader, b"1")
        assert bodies(await taken(member, 1)) == [b"1"]


# Ids, retries, dead letters


def clock_of(server: RedisServer) -> int:
    """Return milliseconds of the server's clock."""
    seconds, microseconds = server.ask("TIME")
    return int(seconds * 1_000 + microseconds // 1_000)


async def test_a_retry_waits_for_longer_than_a_lease(server: RedisServer) -> None:
    async with opened_redis(server, "lease=2") as broker:
        await broker.declare(LOG)
        member = await broker.join(GROUP)
        await publish(broker, b"1")
        (one,) = await taken(member, 1)
        began = clock_of(server)
        assert await member.nack(one.token, 3.0)
        due = server.ask("ZRANGE", f"{KEY}:leases:billing", "0", "-1", "WITHSCORES")[0][1]
        assert due >= began + 3_000
        (again,) = await taken(member, 1)
        # Never early.
        assert clock_of(server) >= due
        assert again.delivery == 2


async def test_a_dead_letter_is_in_one_place(server: RedisServer, broker: RedisBroker) -> None:
    member = await broker.join(GROUP)
    await publish(broker, b"1")
    (one,) = await taken(member, 1)
    assert await member.reject(one.token, "no", "ValueError: \u00e9")
    assert server.ask("XPENDING", f"{KEY}:log", "billing")["pending"] == 0
    assert server.ask("ZCARD", f"{KEY}:leases:billing") == 0
    assert server.ask("XLEN", f"{KEY}:dead:billing") == 1
    assert await broker.replay("billing", ["unknown"]) == 0
    assert await broker.replay("billing", []) == 1
    assert server.ask("XLEN", f"{KEY}:dead:billing") == 0
    (again,) = await taken(member, 1)
    assert (again.id, again.sequence, again.published_at) == (one.id, one.sequence, one.published_at)
    # A dead letter that dies again is itself.
    assert await member.reject(again.token, "again", "")
    (letter,) = await broker.dead_letters("billing")
    assert (letter.id, letter.sequence, letter.reason, letter.deliveries) == (
        one.id,
        one.sequence,
        "again",
        1,
    )
    assert server.ask("XLEN", f"{KEY}:replays:billing") == 0


async def test_a_text_that_is_not_utf_8_fails_no_other_command(broker: RedisBroker) -> None:
    member = await broker.join(GROUP)
    await publish(broker, b"1", b"2")
    first, second = await taken(member, 2)
    outcomes = await asyncio.gather(
        broker.dead_letters("\ud800"),
        member.ack(first.token),
        member.reject(second.token, "why \ud800", "bad \ud800"),
        return_exceptions=True,
    )
    refused, *others = outcomes
    assert isinstance(refused, BrokerError)
    assert (refused.status, refused.processed, refused.retryable) == (Status.INVALID_ARGUMENT, "no", False)
    assert others == [True, True]
    (letter,) = await broker.dead_letters("billing")
    assert (letter.reason, letter.error) == ("why ?", "bad ?")


async def test_a_replay_outlives_its_message(server: RedisServer) -> None:
    async with opened_redis(server) as broker:
        await broker.declare(TopicSettings("jobs", None, ("work",)))
        member = await broker.join(GroupSettings("work", "jobs"))
        await publish(broker, b"1", topic="jobs")
        (one,) = await taken(member, 1)
        assert await member.reject(one.token, "no", "")
        assert server.ask("XLEN", "fastrpc:{jobs}:log") == 0
        assert await broker.replay("work", []) == 1
        (again,) = await taken(member, 1)
        assert await member.nack(again.token, 0.0)
        (last,) = await taken(member, 1)
        assert (last.body, last.id, last.delivery) == (b"1", one.id, 2)
        assert await member.ack(last.token)


# Logs and queues


async def test_a_log_is_trimmed_by_age_alone(server: RedisServer, broker: RedisBroker) -> None:
    for _ in range(10):
        await broker.publish([OutgoingMessage(LOG.name, b"x" * 100)] * 300)
    assert server.ask("XLEN", f"{KEY}:log") == 3_000
    member = await broker.join(GROUP)
    assert len(await taken(member, 3_000)) == 3_000


async def test_a_queue_deletes_a_message_when_its_group_has_handled_it(server: RedisServer) -> None:
    async with opened_redis(server) as broker:
        await broker.declare(TopicSettings("jobs", None, ("work",)))
        await publish(broker, b"1", b"2", topic="jobs")
        member = await broker.join(GroupSettings("work", "jobs"))
        first, _ = await taken(member, 2)
        assert server.ask("XLEN", "fastrpc:{jobs}:log") == 2
        assert await member.ack(first.token)
        assert server.ask("XLEN", "fastrpc:{jobs}:log") == 1
        (state,) = await broker.groups()
        assert (state.lag, state.under_way) == (1, 1)
        await broker.seek("work", "oldest")
        assert bodies(await taken(member, 1)) == [b"2"]
        await broker.seek("work", "new")
        assert server.ask("XLEN", "fastrpc:{jobs}:log") == 0
        assert [one.lag for one in await broker.groups()] == [0]


async def test_a_full_server_refuses_messages_and_keeps_acknowledgements(
    redis_path: str, tmp_path: Path
) -> None:
    with kept_server(redis_path, tmp_path, options=["--maxmemory", "3mb"]).running() as server:
        async with opened_redis(server) as broker:
            await broker.declare(TopicSettings("jobs", None, ("work",)))
            member = await broker.join(GroupSettings("work", "jobs"))
            with pytest.raises(BrokerError) as caught:
                while True:
                    await publish(broker, b"x" * 100_000, topic="jobs")
            told = caught.value
            assert (told.status, told.processed, told.retryable) == (Status.RESOURCE_EXHAUSTED, "no", True)
            assert told.retry_after
            for one in await member.take(100):
                assert await member.ack(one.token)
            await publish(broker, b"x" * 100_000, topic="jobs")


async def test_long_messages_come_in_parts(broker: RedisBroker) -> None:
    for number in range(30):
        await publish(broker, bytes([number]) * 1_000_000)
    members = [await broker.join(GroupSettings(f"group-{number}", LOG.name, "oldest")) for number in range(4)]
    found = await asyncio.gather(*[taken(member, 30) for member in members])
    assert [[one.body[0] for one in part] for part in found] == [list(range(30))] * 4


# Keys


async def test_keys_begin_with_the_base_and_keys_of_a_topic_share_a_hash_tag(server: RedisServer) -> None:
    async with opened_redis(server, "base=shop") as broker:
        await broker.declare(replace(LOG, name="a{b}c"))
        member = await broker.join(GroupSettings("billing", "a{b}c"))
        await broker.publish([OutgoingMessage("a{b}c", b"1", id="{x}")])
        (one,) = await taken(member, 1)
        assert await member.reject(one.token, "no", "")
        await broker.replay("billing", [])
    keys = {key.decode() for key in server.ask("KEYS", "*")}
    own = {key for key in keys if key.startswith("shop:{")}
    assert keys - own == {"shop:topics", "shop:groups"}
    # The server hashes the text between the first brace and the next one that closes.
    assert {re.findall(r"{(.*?)}", key)[0] for key in own} == {"a{b%7Dc"}
    assert len(own) >= 6


async def test_another_declaration_is_refused_in_the_words_of_all_brokers(broker: RedisBroker) -> None:
    told = r"the topic orders.new was declared with dedupe_seconds=120.0, not 5.0.*by one Topic"
    with pytest.raises(ConfigError, match=told):
        await broker.declare(replace(LOG, dedupe_seconds=5.0))


async def test_a_sequence_is_a_place_to_begin(broker: RedisBroker) -> None:
    kept = await broker.publish([OutgoingMessage(LOG.name, bytes([number])) for number in range(3)])
    for number, one in enumerate(kept):
        member = await broker.join(GroupSettings(f"from-{number}", LOG.name, one.sequence))
        assert bodies(await taken(member, 3 - number)) == [bytes([each]) for each in range(number, 3)]


async def test_entries_of_other_programs_with_any_id_come_out(
    server: RedisServer, broker: RedisBroker
) -> None:
    group, broadcast = [await broker.join(replace(GROUP, name=name)) for name in ("billing", None)]
    for entry in (f"{2**43}-0", f"{2**64 - 2}-{2**64 - 1}"):
        server.ask("XADD", f"{KEY}:log", entry, "body", "far")
    for member in (group, broadcast):
        found = await taken(member, 2)
        assert [(one.body, one.sequence) for one in found] == [(b"far", 2**63 - 1)] * 2
        assert await member.reject(found[0].token, "no", "")
        assert await member.ack(found[1].token)
    assert [one.sequence for one in await broker.dead_letters("billing")] == [2**63 - 1]
    assert await broker.replay("billing", []) == 1
    assert bodies(await taken(group, 1)) == [b"far"]


async def test_fields_of_other_programs_hide_no_dead_letter(server: RedisServer, broker: RedisBroker) -> None:
    member = await broker.join(GROUP)
    server.ask("XADD", f"{KEY}:log", "*", "deliveries", "x", "reason", "y", "entry", "z", "body", "1")
    (one,) = await taken(member, 1)
    assert await member.reject(one.token, "no", "")
    server.ask("XADD", f"{KEY}:dead:billing", "*", "deliveries", "x")
    letter, foreign = await broker.dead_letters("billing")
    assert (letter.body, letter.id, letter.deliveries, letter.reason) == (b"1", one.id, 1, "no")
    assert (foreign.body, foreign.deliveries, foreign.reason) == (b"", 0, "")
    assert await broker.replay("billing", [letter.id]) == 1
    assert bodies(await taken(member, 1)) == [b"1"]
    assert await broker.discard("billing", []) == 1


# Groups


async def test_a_group_that_the_server_has_lost_begins_at_the_oldest_message(
    server: RedisServer, broker: RedisBroker, caplog: pytest.LogCaptureFixture
) -> None:
    member = await broker.join(GroupSettings("billing", LOG.name))
    await publish(broker, b"1", b"2")
    first, second = await taken(member, 2)
    assert await member.ack(first.token)
    server.ask("XGROUP", "DESTROY", f"{KEY}:log", "billing")
    assert bodies(await taken(member, 2)) == [b"1", b"2"]
    assert member.is_lost(second.token)
    assert not await member.ack(second.token)
    errors = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
    assert errors == ["the group billing was lost at the server: it begins at the oldest message"]


async def test_a_member_continues_at_a_server_that_has_lost_everything(
    server: RedisServer, broker: RedisBroker, caplog: pytest.LogCaptureFixture
) -> None:
    member = await broker.join(GROUP)
    waiting = asyncio.ensure_future(member.take(5))
    await asyncio.sleep(0)
    server.ask("FLUSHALL")
    async with opened_redis(server) as other:
        await other.declare(LOG)
        await publish(other, b"1")
        # Its bell was lost with the other data.
        member.bell.ring()  # type: ignore[attr-defined]
        assert bodies(await waiting) == [b"1"]
    assert "the group billing was lost" in caplog.text


async def test_a_group_that_two_programs_begin_at_once_has_one_topic(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened_redis(server) as slow, opened_redis(server) as quick:
        for name in ("a{b}%c", "other"):
            await slow.declare(TopicSettings(name))
        run, may_begin, begins = slow.link.run, asyncio.Event(), asyncio.Event()

        async def begin_later(*words: Any) -> Any:
            begins.set()
            await may_begin.wait()
            return await run(*words)

        def run_later(kind: Any, script: Any, *words: Any) -> "asyncio.Future[Any]":
            later = begin_later if script is BEGIN else run
            return asyncio.ensure_future(later(kind, script, *words))

        monkeypatch.setattr(slow.link, "run", run_later)
        joining = asyncio.ensure_future(slow.join(GroupSettings("billing", "other")))
        await begins.wait()
        await quick.join(GroupSettings("billing", "a{b}%c"))
        may_begin.set()
        with pytest.raises(ConfigError, match=r"the group billing has the pattern a\{b\}%c, not other"):
            await joining
        assert [(state.name, state.topic) for state in await quick.groups()] == [("billing", "a{b}%c")]


async def test_a_group_that_begins_again_while_it_is_removed_keeps_its_topic(
    server: RedisServer, broker: RedisBroker
) -> None:
    await broker.join(GROUP)
    await broker.remove_group("billing")
    await broker.join(GROUP)
    # The end of the removal, which comes late.
    await broker._groups.forget("billing", LOG.name)
    assert [state.name for state in await broker.groups()] == ["billing"]


async def test_a_seek_of_another_process_takes_messages_away_at_once(
    server: RedisServer, broker: RedisBroker
) -> None:
    member = await broker.join(GROUP)
    await publish(broker, b"1")
    (one,) = await taken(member, 1)
    async with opened_redis(server) as other:
        await other.seek("billing", "oldest")
        await until(lambda: member.is_lost(one.token))
        assert not await member.ack(one.token)
        (again,) = await taken(member, 1)
        assert again.delivery == 1
        waiting = asyncio.ensure_future(member.take(1))
        await asyncio.sleep(0)
        await other.remove_group("billing")
        with pytest.raises(BrokerError, match="was removed") as caught:
            await waiting
        assert (caught.value.status, caught.value.retryable) == (Status.NOT_FOUND, False)


async def test_dropped_messages_of_a_group_that_is_too_slow_are_logged(
    server: RedisServer, broker: RedisBroker, caplog: pytest.LogCaptureFixture
) -> None:
    await broker.declare(TopicSettings("short", keep_seconds=1.0))
    member = await broker.join(GroupSettings("slow", "short"))
    await publish(broker, b"1", b"2", topic="short")
    # Old by the server's clock.
    last = server.ask("XREVRANGE", "fastrpc:{short}:log", "+", "-", "COUNT", "1")[0][0]
    await until(lambda: clock_of(server) > int(last.split(b"-")[0]) + 1_000)
    await publish(broker, b"3", topic="short")
    assert bodies(await taken(member, 1)) == [b"3"]
    errors = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
    assert errors == ["the group slow is too slow: 2 messages of short were dropped before it handled them"]


async def test_a_broadcast_repeats_messages_that_it_gave_back(broker: RedisBroker) -> None:
    member = await broker.join(GroupSettings(None, LOG.name))
    await publish(broker, b"1", b"2")
    first, second = await taken(member, 2)
    assert await member.hand_back(first.token)
    assert await member.nack(second.token, 0.0)
    assert not await member.ack(second.token)
    again = await taken(member, 2)
    assert [(one.body, one.delivery) for one in again] == [(b"1", 1), (b"2", 2)]
    assert await member.reject(again[0].token, "no", "")
    await member.close()
    assert member.is_lost(again[1].token)
    assert not member.is_lost(again[0].token)
    with pytest.raises(BrokerError, match="has left"):
        await member.take(1)
