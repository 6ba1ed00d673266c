"""Lists of many services in Redis, with a server that follows the test."""

from collections.abc import Sequence
from typing import Any
from unittest.mock import Mock

import pytest

pytest.importorskip("redis", reason="redis is not installed")

from fastrpc import Endpoint, StoreError
from fastrpc.registries.base.backend import Listing
from fastrpc.registries.base.decoded import DecodedRecords
from fastrpc.registries.base.layouts import FastrpcLayout
from fastrpc.registries.base.record import encode_record
from fastrpc.registries.redis.records import RedisLookup

RECORD = encode_record(Endpoint("tcp://10.0.0.1:1"))
LONGEST_SECONDS = 5.0


class Server:
    """Each service has as many records; the keys of some hold another program's values."""

    def __init__(self) -> None:
        self.now = 0.0
        self.endpoints = 1
        self.foreign: set[str] = set()
        self.is_away = False
        self.channels: set[str] = set()
        #: The commands that changed them, with their number of channels; messages that come with the next ones.
        self.commands: list[tuple[str, int]] = []
        self.messages: set[bytes] = set()
        self.read: list[str] = []
        self.requests = 0
        self.run = "first"

    def connect(self) -> "Server":
        return self

    def ask(self, kind: Any, *command: Any) -> Any:
        assert command == ("TIME",)
        if self.is_away:
            raise StoreError("away")
        return b"%d" % self.now, b"0"

    def run_id(self) -> str:
        return self.run

    def ask_all(self, kind: Any, commands: Sequence[Sequence[Any]]) -> list[Any]:
        self.requests += 1
        return [self._answer(*command) for command in commands]

    def _answer(self, command: str, key: str, *arguments: Any) -> list[bytes] | StoreError:
        if command == "HMGET":
            return [RECORD] * len(arguments)
        self.read.append(key.split(":")[1])
        if self.read[-1] in self.foreign:
            return StoreError("Redis at a:1: WRONGTYPE Operation against a key")
        return [b"tcp://10.0.0.1:%d" % number for number in range(1, self.endpoints + 1)]

    def subscribe(self, verb: str, channels: Sequence[str]) -> set[bytes]:
        if self.is_away:
            raise StoreError("away")
        assert channels
        self.commands.append((verb, len(channels)))
        self.channels = self.channels.union(channels) if verb == "SUBSCRIBE" else self.channels - {*channels}
        return self.receive(0.0)

    def receive(self, wait_seconds: float) -> set[bytes]:
        self.now += wait_seconds
        messages, self.messages = self.messages, set()
        return messages

    def drop(self) -> None:
        self.channels = set()


def lookup_at(server: Server) -> RedisLookup:
    read = FastrpcLayout("fastrpc").read
    return RedisLookup(server, "fastrpc", LONGEST_SECONDS, read, clock=lambda: server.now)  # type: ignore[arg-type]


def test_a_list_that_cannot_be_read_delays_no_other() -> None:
    server = Server()
    lookup = lookup_at(server)
    server.foreign.add("bad")
    lookup.follow(frozenset({"a", "bad", "c"}), frozenset())
    told = lookup.fetch(0.0)
    assert isinstance(told["bad"], StoreError)
    assert isinstance(told["a"], Listing)
    assert isinstance(told["c"], Listing)
    # It is read again with the other lists, not at once.
    assert lookup.fetch(LONGEST_SECONDS / 2) == {}
    assert list(lookup.fetch(LONGEST_SECONDS)) == ["bad"]
    server.foreign.clear()
    told = lookup.fetch(LONGEST_SECONDS)
    assert list(told) == ["bad"]
    assert isinstance(told["bad"], Listing)
    server.is_away = True
    with pytest.raises(StoreError, match="away"):
        lookup.fetch(LONGEST_SECONDS)


def test_lists_of_a_read_that_failed_are_told_by_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    lookup = lookup_at(server)
    lookup.follow(frozenset({"a", "b"}), frozenset())
    with monkeypatch.context() as patch, pytest.raises(TypeError, match="a defect"):
        patch.setattr(DecodedRecords, "entries", Mock(side_effect=TypeError("a defect")))
        lookup.fetch(0.0)
    assert lookup.fetch(0.0).keys() == {"a", "b"}


def test_lists_are_read_in_parts_of_several_lists() -> None:
    server = Server()
    server.endpoints = 3
    lookup = lookup_at(server)
    names = frozenset(f"s{number}" for number in range(640))
    lookup.follow(names, frozenset())
    told = lookup.fetch(0.0)
    assert told.keys() == names
    assert all(isinstance(one, Listing) and len(one.entries) == 3 for one in told.values())
    # For each 64 lists one request for addresses, and two for 192 records.
    assert server.requests == 30
    # They do not change, and are read again one part after the other.
    read = [lookup.fetch(LONGEST_SECONDS) or len(server.read) for _ in range(20)]
    assert read == [640 + 64 * (1 + number) for number in range(20)]


def test_a_long_list_is_read_in_pages() -> None:
    server = Server()
    server.endpoints = 300
    lookup = lookup_at(server)
    lookup.follow(frozenset({"a"}), frozenset())
    told = lookup.fetch(0.0)["a"]
    assert isinstance(told, Listing)
    assert len(told.entries) == 300
    assert server.requests == 1 + 3


def test_only_the_channels_of_followed_services_are_subscribed() -> None:
    server = Server()
    lookup = lookup_at(server)
    for services in ({"a"}, {"a", "b", "c"}, {"c", "d"}):
        lookup.follow(frozenset(services), frozenset())
        lookup.fetch(0.0)
        assert server.channels == {f"fastrpc:{name}" for name in services}
    assert server.commands == [
        ("SUBSCRIBE", 1),
        ("SUBSCRIBE", 2),
        ("SUBSCRIBE", 1),
        ("UNSUBSCRIBE", 2),
    ]
    # Each list was read when it was first followed, after its subscription, and not again.
    assert sorted(server.read) == ["a", "b", "c", "d"]


def test_a_message_that_comes_while_channels_are_subscribed_counts() -> None:
    server = Server()
    lookup = lookup_at(server)
    lookup.follow(frozenset({"a", "b"}), frozenset())
    lookup.fetch(0.0)
    server.messages = {b"fastrpc:a", b"fastrpc:other"}
    lookup.follow(frozenset({"a", "b", "c"}), frozenset())
    lookup.fetch(0.0)
    assert sorted(server.read) == ["a", "a", "b", "c"]


def test_all_channels_are_subscribed_again_after_an_error() -> None:
    server = Server()
    lookup = lookup_at(server)
    lookup.follow(frozenset({"a", "b"}), frozenset())
    lookup.fetch(0.0)
    server.is_away = True
    with pytest.raises(StoreError):
        lookup.fetch(LONGEST_SECONDS)
    assert server.channels == set()
    server.is_away = False
    assert set(lookup.fetch(0.0)) == {"a", "b"}
    assert server.channels == {"fastrpc:a", "fastrpc:b"}


@pytest.mark.parametrize(
    ("before", "after", "is_restart"),
    [("one", "one", False), ("one", "two", True), ("one", "", False), ("", "two", False)],
)
def test_another_run_after_an_outage_is_a_restart(before: str, after: str, is_restart: bool) -> None:
    server = Server()
    lookup = lookup_at(server)
    lookup.follow(frozenset({"a"}), frozenset())
    server.run = before
    lookup.fetch(0.0)
    server.is_away = True
    with pytest.raises(StoreError):
        lookup.fetch(LONGEST_SECONDS)
    server.is_away, server.run = False, after
    found = lookup.fetch(0.0)["a"]
    assert isinstance(found, Listing)
    assert found.is_restart == is_restart
