"""Parts of the broker in Redis that need no server."""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import exceptions as redis_exceptions

from fastrpc import BrokerError, ConfigError
from fastrpc.brokers.base import GroupSettings, OutgoingMessage, TopicSettings
from fastrpc.brokers.local.counts import TopicCounts
from fastrpc.brokers.redis.bells import Bells, TopicBell
from fastrpc.brokers.redis.durability import check_settings
from fastrpc.brokers.redis.entries import delivery_of, fields_of, words_of
from fastrpc.brokers.redis.keys import entry_before, milliseconds, published_at, sequence_of, topic_key
from fastrpc.brokers.redis.link import RedisLink
from fastrpc.brokers.redis.lua import Script
from fastrpc.brokers.redis.member_scripts import LEAVE
from fastrpc.brokers.redis.membership import RedisMembership
from fastrpc.status import Status
from tests.support.waiting import eventually

LAST = 2**64 - 1
KEPT = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory": "0", "maxmemory-policy": "allkeys-lru"}


# Places


def test_a_sequence_has_both_parts_of_an_entry() -> None:
    assert sequence_of(b"1764357600123-7") == (1764357600123 << 20) + 7
    assert sequence_of(b"1-1048575") + 1 == sequence_of(b"2-0")
    # Databases and other protocols have 64 bits; this is the year 2200.
    assert sequence_of(b"7258118400000-1048575") < 2**63


@pytest.mark.parametrize("entry", [b"%d-%d" % (LAST, LAST), b"%d-0" % 2**43, b"5-%d" % LAST])
def test_an_entry_id_of_another_program_has_a_sequence_of_63_bits_and_a_time_of_day(entry: bytes) -> None:
    assert sequence_of(entry) == 2**63 - 1
    assert published_at(entry).year <= 9999


@pytest.mark.parametrize(
    "place", [2**63 - 1, datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)]
)
def test_the_ends_of_all_places_are_entry_ids(place: int | datetime) -> None:
    numbers = [int(part) for part in entry_before(place).split("-")]
    assert all(0 <= number <= LAST for number in numbers)


@pytest.mark.parametrize(
    ("place", "entry"),
    [
        ("oldest", "0"),
        ("new", "$"),
        (0, "0"),
        ((5 << 20) + 3, "5-2"),
        (5 << 20, f"4-{LAST}"),
        (datetime(1970, 1, 1, 0, 0, 5, 3000, UTC), f"5002-{LAST}"),
        # A message of the same millisecond is older than an instant within.
        (datetime(1970, 1, 1, 0, 0, 5, 3001, UTC), f"5003-{LAST}"),
        (datetime(1960, 1, 1, tzinfo=UTC), "0"),
    ],
)
def test_a_group_begins_after_the_entry_before_its_place(place: str | int | datetime, entry: str) -> None:
    assert entry_before(place) == entry


def test_the_time_of_an_entry_is_the_place_of_it() -> None:
    for instant in (1764357600123, 1764357600999, 1, 4102444800001):
        at = published_at(f"{instant}-5".encode())
        assert at - datetime(1970, 1, 1, tzinfo=UTC) == timedelta(milliseconds=instant)
        assert entry_before(at) == f"{instant - 1}-{LAST}"


def test_times_have_whole_milliseconds_that_the_server_can_count() -> None:
    assert [milliseconds(one) for one in (0.0001, 1.0, 1.0004, 1e300)] == [1, 1000, 1001, 3_155_760_000_000]


@pytest.mark.parametrize("name", ["orders.new", "}", "a}b", "{x}", "%7D"])
def test_keys_of_a_topic_have_one_hash_tag(name: str) -> None:
    key = topic_key("fastrpc", name)
    tag = key[key.index("{") + 1 : key.index("}")]
    assert tag
    assert f"{key}:log"[: len(key)] == f"fastrpc:{{{tag}}}"


def test_names_of_topics_have_separate_keys() -> None:
    names = ["a}", "a%7D", "a%257D", "a"]
    assert len({topic_key("fastrpc", name) for name in names}) == len(names)


# Entries


def test_a_message_comes_out_of_its_entry() -> None:
    message = OutgoingMessage("a", b"\x00\xff\r\n", "k\u00e9", "1", headers={"x": "\u00e9"}, publisher="shop")
    words = [word if isinstance(word, bytes) else word.encode() for word in words_of(message, "1")]
    one = delivery_of("a", b"5-1", fields_of(words), 3, None)
    assert (one.body, one.key, one.id, dict(one.headers), one.publisher, one.delivery) == (
        message.body,
        message.key,
        "1",
        {"x": "\u00e9"},
        "shop",
        3,
    )


def test_an_entry_of_another_program_is_a_message_as_well() -> None:
    one = delivery_of("a", b"5-1", {b"id": b"\xff", b"headers": b"[", b"else": b"1"}, 1, None)
    assert (one.body, one.key, one.id, dict(one.headers)) == (b"", None, "\ufffd", {})
    assert delivery_of("a", b"5-1", {}, 1, None).id == "5-1"


# Settings of servers


def check(shown: dict[str, str], *, sync: str = "normal", stated: str | None = None) -> None:
    check_settings(shown, "redis://a", sync=sync, stated=stated)


@pytest.mark.parametrize(
    ("shown", "options"),
    [
        (KEPT, {}),
        (KEPT | {"appendfsync": "no"}, {}),
        (KEPT | {"appendfsync": "always"}, {"sync": "full"}),
        (KEPT, {"stated": "everysec"}),
        ({}, {"stated": "everysec"}),
        ({}, {"stated": "always", "sync": "full"}),
        (KEPT | {"maxmemory": "1", "maxmemory-policy": "noeviction"}, {}),
    ],
)
def test_a_server_that_keeps_messages_is_taken(shown: dict[str, str], options: dict[str, str]) -> None:
    check(shown, **options)


@pytest.mark.parametrize(
    ("shown", "options", "text"),
    [
        (KEPT | {"appendonly": "no"}, {}, r"redis://a has appendonly no.*set appendonly yes"),
        ({}, {}, r"CONFIG GET is refused.*\?appendfsync=everysec"),
        ({}, {"stated": "everysec", "sync": "full"}, "appendfsync everysec: with sync=full"),
        (KEPT, {"sync": "full"}, "set appendfsync always"),
        (
            KEPT | {"appendfsync": "always", "no-appendfsync-on-rewrite": "yes"},
            {"sync": "full"},
            "set no-appendfsync-on-rewrite no",
        ),
        (KEPT, {"stated": "always"}, "the option appendfsync says always"),
        (KEPT | {"maxmemory": "1"}, {}, "set maxmemory-policy noeviction"),
        (KEPT | {"maxmemory": "1", "maxmemory-policy": "volatile-ttl"}, {}, "volatile-ttl"),
    ],
)
def test_a_server_that_keeps_less_is_refused(
    shown: dict[str, str], options: dict[str, str], text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        check(shown, **options)


# Bells


async def test_a_bell_that_rang_before_the_wait_ends_it() -> None:
    bell = TopicBell()
    since = bell.count
    bell.ring()
    async with asyncio.timeout(60):
        await bell.wait(since, 3600.0)


async def test_a_bell_ends_all_waits_and_time_ends_one() -> None:
    bell = TopicBell()
    waits = [asyncio.ensure_future(bell.wait(bell.count, 3600.0)) for _ in range(3)]
    await asyncio.sleep(0)
    bell.ring()
    async with asyncio.timeout(60):
        await asyncio.gather(*waits)
        await bell.wait(bell.count, 0.0)


class FaultyChannel:
    """A client with a fault in its first subscription, and another one in its first read; then it hears a message."""

    def __init__(self) -> None:
        self._steps = iter([False, True, False, True, True])
        self._is_over = threading.Event()

    def subscribe(self, verb: str, channels: Sequence[str]) -> None:
        if not next(self._steps):
            raise AttributeError("planted in subscribe")

    def messages(self, wait_seconds: float, *, more_seconds: float) -> set[tuple[bytes, bytes]]:
        if not next(self._steps, False):
            if not self._is_over.is_set():
                raise AttributeError("planted in messages")
            return set()
        self._is_over.set()
        return {(b"bell", b"topic")}

    def close(self) -> None:
        self._is_over.set()


async def test_a_fault_of_the_client_ends_no_bells(caplog: pytest.LogCaptureFixture) -> None:
    heard: asyncio.Queue[set[bytes] | None] = asyncio.Queue()
    channel: Any = FaultyChannel()
    bells = Bells(channel, "bell", heard.put_nowait)
    async with asyncio.timeout(60):
        await bells.hear()
        while await heard.get() != {b"topic"}:
            pass
        await bells.close()
    assert "planted in subscribe" in caplog.text
    assert "planted in messages" in caplog.text


# The thread of commands


class Client:
    """Notes the commands of each write, once it may; answers with their numbers."""

    def __init__(self, answer: Callable[[Sequence[Any]], Any] = lambda words: int(words[-1])) -> None:
        self.writes: list[list[Any]] = []
        self.may_write = threading.Event()
        self.may_write.set()
        self._is_writing = threading.Event()
        self.is_closed = False
        self._answer = answer

    def pipeline(self, commands: Sequence[tuple[Any, Sequence[Any]]]) -> list[Any]:
        self._is_writing.set()
        self.may_write.wait(60)
        self.writes.append([words[-1] for _, words in commands])
        return [self._answer(words) for _, words in commands]

    def close(self) -> None:
        self.is_closed = True

    async def writes_now(self) -> None:
        """Return once a write has begun."""
        assert await asyncio.to_thread(self._is_writing.wait, 60)


async def turns() -> None:
    """Let the loop hand over commands."""
    for _ in range(3):
        await asyncio.sleep(0)


def linked(client: Any) -> RedisLink:
    return RedisLink(client)


async def test_commands_that_come_during_a_write_leave_in_the_next_one() -> None:
    client = Client()
    link = linked(client)
    client.may_write.clear()
    first = asyncio.ensure_future(link.ask(int, "GET", 0))
    await client.writes_now()
    others = [asyncio.ensure_future(link.ask(int, "GET", number)) for number in range(1, 40)]
    await turns()
    client.may_write.set()
    assert await asyncio.gather(first, *others) == list(range(40))
    assert client.writes == [[0], list(range(1, 40))]
    await link.close()
    assert client.is_closed
    with pytest.raises(BrokerError, match="is closed"):
        await link.ask(int, "GET", 1)


async def test_a_write_has_a_bound_of_bytes_and_of_long_answers() -> None:
    client = Client()
    link = linked(client)
    client.may_write.clear()
    long = [asyncio.ensure_future(link.ask(list, "TAKE", number)) for number in range(10)]
    large = [asyncio.ensure_future(link.ask(int, b"x" * 3_000_000, number)) for number in range(10, 13)]
    await turns()
    client.may_write.set()
    await asyncio.gather(*long, *large)
    assert client.writes == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10], [11], [12]]
    await link.close()


async def test_a_command_of_a_cancelled_caller_is_not_sent() -> None:
    client = Client()
    link = linked(client)
    client.may_write.clear()
    first = asyncio.ensure_future(link.ask(int, "GET", 0))
    await client.writes_now()
    second, third = [asyncio.ensure_future(link.ask(int, "GET", number)) for number in (1, 2)]
    await turns()
    second.cancel()
    await turns()
    client.may_write.set()
    assert [await first, await third] == [0, 2]
    assert [number for write in client.writes for number in write] == [0, 2]
    await link.close()


async def test_a_fault_of_the_client_is_told_and_ends_nothing() -> None:
    def answer(words: Sequence[Any]) -> int:
        if words[-1] == 0:
            raise ZeroDivisionError("planted")
        return int(words[-1])

    link = linked(Client(answer))
    with pytest.raises(BrokerError, match="planted") as caught:
        await link.ask(int, "GET", 0)
    assert (caught.value.status, caught.value.processed) == (Status.INTERNAL, "unknown")
    assert await link.ask(int, "GET", 1) == 1
    await link.close()


class ShortClient(Client):
    """Has no answer to the last command of its first write."""

    def pipeline(self, commands: Sequence[tuple[Any, Sequence[Any]]]) -> list[Any]:
        found = super().pipeline(commands)
        return found[:-1] if len(self.writes) == 1 else found


async def test_an_answer_that_is_missing_fails_the_commands_of_its_write() -> None:
    link = linked(ShortClient())
    outcomes = await asyncio.gather(
        *(link.ask(int, "GET", number) for number in range(3)), return_exceptions=True
    )
    assert [(type(one), getattr(one, "processed", "")) for one in outcomes] == [(BrokerError, "unknown")] * 3
    assert await link.ask(int, "GET", 3) == 3
    await link.close()


# Members


class FakeOwner:
    """A broker whose server answers when the test says so."""

    lease, channel = 30.0, "bell"

    def __init__(self) -> None:
        self.counts: defaultdict[str, TopicCounts] = defaultdict(TopicCounts)
        self.link: Any = self
        self.asked: list[tuple[Script, asyncio.Future[Any]]] = []

    def run(self, kind: Any, script: Script, keys: Sequence[str], words: Sequence[Any]) -> Any:
        answer = asyncio.get_running_loop().create_future()
        self.asked.append((script, answer))
        return answer

    def forget(self, membership: Any) -> None:
        """No lease is renewed here."""


@pytest.mark.parametrize(
    ("cause", "leaves"),
    [(TimeoutError(), False), (redis_exceptions.TimeoutError(), False), (ConnectionError("cut"), True)],
)
async def test_a_member_of_a_silent_server_waits_for_one_answer_at_its_end(
    cause: Exception, leaves: bool
) -> None:
    owner = FakeOwner()
    settings = GroupSettings("audit", "orders", "new", False)
    member = RedisMembership(owner, TopicSettings("orders"), "key", settings, "one", b"1")  # type: ignore[arg-type]
    taking = asyncio.ensure_future(member.take(1))
    await eventually(lambda: owner.asked != [])
    taking.cancel()
    closing = asyncio.ensure_future(member.close())
    failure = BrokerError("no answer", retryable=True)
    failure.__cause__ = cause
    owner.asked[0][1].set_exception(failure)
    if leaves:
        await eventually(lambda: owner.asked[-1][0] is LEAVE)
        owner.asked[-1][1].set_result(1)
        await closing
    else:
        with pytest.raises(BrokerError, match="no answer"):
            await closing
        assert LEAVE not in [script for script, _ in owner.asked]
    assert taking.cancelled()
