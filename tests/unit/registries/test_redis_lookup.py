"""Lists of many services in Redis, with a server that does what the test says."""

import time
from collections.abc import Sequence
from typing import Any

import pytest

pytest.importorskip("redis", reason="redis is not installed")

from fastrpc import Endpoint, StoreError
from fastrpc.registries.base.backend import Listing
from fastrpc.registries.base.layouts import FastrpcLayout
from fastrpc.registries.base.record import encode_record
from fastrpc.registries.redis.records import RedisLookup

RECORD = encode_record(Endpoint("tcp://10.0.0.1:1"))
LONGEST_SECONDS = 5.0


class Server:
    """Each service has one record; the keys of some hold another program's values."""

    def __init__(self) -> None:
        self.now = 0.0
        self.foreign: set[str] = set()
        self.is_away = False
        self.channels: set[str] = set()
        #: The commands that changed them, with their number of channels; messages that come with the next ones.
        self.commands: list[tuple[str, int]] = []
        self.messages: set[bytes] = set()
        self.read: list[str] = []

    def connect(self) -> "Server":
        return self

    def ask(self, kind: Any, command: str, *arguments: Any) -> Any:
        if self.is_away:
            raise StoreError("away")
        if command == "TIME":
            return b"%d" % (time.time() + self.now), b"0"
        if command == "ZRANGEBYSCORE":
            self.read.append(arguments[0].split(":")[1])
            if self.read[-1] in self.foreign:
                raise StoreError("Redis at a:1: WRONGTYPE Operation against a key")
            return [b"tcp://10.0.0.1:1"]
        return [RECORD]

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


def test_a_list_that_cannot_be_read_holds_up_no_other() -> None:
    server = Server()
    lookup = lookup_at(server)
    server.foreign.add("bad")
    lookup.follow(frozenset({"a", "bad", "c"}), frozenset())
    told = lookup.fetch(0.0)
    assert isinstance(told["bad"], StoreError)
    assert isinstance(told["a"], Listing)
    assert isinstance(told["c"], Listing)
    # It is read again with the others, not at once.
    assert lookup.fetch(LONGEST_SECONDS / 2) == {}
    assert list(lookup.fetch(LONGEST_SECONDS)) == ["bad"]
    server.foreign.clear()
    told = lookup.fetch(LONGEST_SECONDS)
    assert list(told) == ["bad"]
    assert isinstance(told["bad"], Listing)
    server.is_away = True
    with pytest.raises(StoreError, match="away"):
        lookup.fetch(LONGEST_SECONDS)


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
