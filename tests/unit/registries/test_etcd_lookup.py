"""Keys of many services in etcd, with a member that follows the test."""

import itertools
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest

from fastrpc import Endpoint, StoreError
from fastrpc.registries.base.backend import Listing
from fastrpc.registries.base.layouts import FastrpcLayout
from fastrpc.registries.base.rules import MOST_ENDPOINTS
from fastrpc.registries.etcd.gateway import Header, KeyChange, KeyValue, Range
from fastrpc.registries.etcd.lookup import PROOF_SECONDS, EtcdLookup
from fastrpc.status import Status

LAYOUT = FastrpcLayout("fastrpc")


class Watch:
    """The changes that one watch has not reported yet."""

    def __init__(self, prefix: bytes, changes: list[KeyChange]) -> None:
        self.prefix = prefix
        self.changes = deque(changes)
        self.is_dead = False
        self.is_closed = self.is_lost = False
        #: Called by a wait without a change.
        self.idle: Any = None

    def receive(self, wait_seconds: float) -> list[KeyChange] | None:
        if not self.changes and wait_seconds > 0 and self.idle is not None:
            self.idle()
        if self.is_closed or self.is_lost:
            raise StoreError("the connection is lost")
        return [self.changes.popleft()] if self.changes else None


class Member:
    """Keys with their history, at an instant that the test sets."""

    def __init__(self) -> None:
        self.now = 0.0
        self.revision = 1
        self.cluster = 1
        self.compacted = 0
        self.is_away = False
        self.unreadable: set[str] = set()
        self.keys: dict[bytes, KeyValue] = {}
        self.history: list[KeyChange] = []
        self.watches: list[tuple[str, int]] = []
        self.read: list[str] = []
        self.watch_now: Watch | None = None

    def put(self, service: str, port: int, weight: int = 1) -> None:
        name, value = LAYOUT.record(Endpoint(f"tcp://10.0.0.1:{port}", weight=weight))
        key = f"{LAYOUT.prefix}{service}/{name}".encode()
        self.revision += 1
        version = self.keys[key].version + 1 if key in self.keys else 1
        self.keys[key] = KeyValue(key, value, self.revision, version=version)
        self._tell(KeyChange(self.keys[key]))

    def delete(self, service: str, port: int) -> None:
        key = f"{LAYOUT.prefix}{service}/tcp@10.0.0.1:{port}".encode()
        self.revision += 1
        del self.keys[key]
        self._tell(KeyChange(KeyValue(key, b"", self.revision), "DELETE"))

    def _tell(self, change: KeyChange) -> None:
        self.history.append(change)
        watch = self.watch_now
        if watch is not None and not watch.is_dead and change.kv.key.startswith(watch.prefix):
            watch.changes.append(change)

    def pages(self, prefix: str) -> Iterator[Range]:
        if self.is_away:
            raise StoreError("away")
        self.read.append(prefix)
        if prefix in self.unreadable:
            raise StoreError("the answer has more bytes than the limit")
        found = [one for key, one in self.keys.items() if key.startswith(prefix.encode())]
        yield Range(Header(self.cluster, self.revision), found, len(found))

    def ask(self, path: str, request: dict[str, Any], kind: Any) -> Range:
        if self.is_away:
            raise StoreError("away")
        found = [one for key, one in self.keys.items() if key.startswith(request["key"])]
        header = Header(self.cluster, self.revision)
        if "min_mod_revision" in request:
            newer = [one for one in found if one.mod_revision >= request["min_mod_revision"]]
            return Range(header, newer[:1], len(found))
        assert request["count_only"]
        until = request.get("revision", self.revision)
        if until < self.compacted:
            raise StoreError("compacted", status=Status.OUT_OF_RANGE)
        present: dict[bytes, bool] = {}
        for change in self.history:
            if change.kv.mod_revision <= until and change.kv.key.startswith(request["key"]):
                present[change.kv.key] = change.type == "PUT"
        return Range(header, count=sum(present.values()))

    def watch(self, prefix: str, revision: int) -> Watch:
        if revision <= self.compacted:
            raise StoreError("compacted", status=Status.OUT_OF_RANGE)
        self.watches.append((prefix, revision))
        start = prefix.encode()
        later = [one for one in self.history if one.kv.mod_revision >= revision]
        self.watch_now = Watch(start, [one for one in later if one.kv.key.startswith(start)])
        return self.watch_now

    def interrupt(self) -> None:
        assert self.watch_now is not None
        self.watch_now.is_closed = True


class Following:
    """A lookup at a member."""

    def __init__(self, *services: str) -> None:
        self.member = Member()
        self.lookup = EtcdLookup(
            self.member,  # type: ignore[arg-type]
            LAYOUT.prefix,
            LAYOUT.read,
            clock=lambda: self.member.now,
        )
        self.follow(*services)

    def follow(self, *services: str, again: tuple[str, ...] = ()) -> None:
        self.lookup.follow(frozenset(services), frozenset(again))

    def lists(self) -> dict[str, Listing]:
        """Return the reported lists."""
        return {name: one for name, one in self.lookup.fetch(5.0).items() if isinstance(one, Listing)}

    def fetch(self, wait_seconds: float = 5.0) -> dict[str, list[int]]:
        """Return the ports of the reported lists, and 0 for one with an error."""
        return {
            service: [0]
            if isinstance(listing, StoreError)
            else sorted(one.address.port for _, one in listing.entries if isinstance(one, Endpoint))
            for service, listing in self.lookup.fetch(wait_seconds).items()
        }


def test_one_watch_tells_of_all_services_and_of_no_other() -> None:
    following = Following("a", "b")
    member = following.member
    member.put("a", 1)
    member.put("other", 9)
    assert following.fetch() == {"a": [1], "b": []}
    assert following.fetch() == {}
    member.put("b", 2)
    member.put("other", 8)
    assert following.fetch() == {"b": [2]}
    member.put("b", 3)
    member.delete("a", 1)
    assert following.fetch() == {"a": [], "b": [2, 3]}
    assert member.watches == [(LAYOUT.prefix, 4)]
    assert len(member.read) == 2


def test_the_only_service_is_watched_alone() -> None:
    following = Following("a")
    following.member.put("a", 1)
    assert following.fetch() == {"a": [1]}
    assert following.fetch() == {}
    following.follow("a", "b")
    following.member.put("b", 2)
    assert following.fetch() == {"b": [2]}
    following.member.put("a", 3)
    assert following.fetch() == {"a": [1, 3]}
    assert [prefix for prefix, _ in following.member.watches] == [f"{LAYOUT.prefix}a/", LAYOUT.prefix]


def test_a_list_that_was_read_later_than_the_watch_is_not_changed_by_older_events() -> None:
    following = Following("a", "b")
    member = following.member
    following.fetch()
    following.fetch()
    member.put("c", 1)
    member.delete("c", 1)
    member.put("c", 2)
    following.follow("a", "b", "c")
    assert following.fetch() == {"c": [2]}
    # The watch reports the older ones now.
    assert following.fetch() == {}
    member.put("c", 3)
    assert following.fetch() == {"c": [2, 3]}
    assert len(member.watches) == 1


def test_a_list_that_is_asked_for_again_keeps_its_endpoints() -> None:
    following = Following("a", "b")
    following.member.put("a", 1)
    before = dict(following.lists()["a"].entries)
    following.fetch()
    following.follow("a", "b", again=("a",))
    told = following.lists()
    assert list(told) == ["a"]
    assert dict(told["a"].entries)["tcp@10.0.0.1:1"] is before["tcp@10.0.0.1:1"]


def test_a_wait_that_is_woken_ends_and_its_watch_continues() -> None:
    following = Following("a", "b")
    member = following.member
    following.fetch()
    following.fetch()
    assert member.watch_now is not None
    member.watch_now.idle = following.lookup.wake
    member.put("a", 1)
    following.fetch()
    # Woken while it waits, its connection is cut.
    assert following.fetch() == {}
    member.put("b", 2)
    assert following.fetch() == {"b": [2]}
    assert [revision for _, revision in member.watches] == [2, 3]


def test_a_wake_before_the_wait_ends_it() -> None:
    following = Following("a", "b")
    following.fetch()
    following.member.put("a", 1)
    following.lookup.wake()
    assert following.fetch() == {}
    assert following.fetch() == {"a": [1]}


def test_changes_of_a_watch_that_fails_are_read() -> None:
    following = Following("a", "b")
    following.fetch()
    following.fetch()
    following.member.put("a", 1)
    assert following.member.watch_now is not None
    following.member.watch_now.is_lost = True
    with pytest.raises(StoreError):
        following.fetch()
    following.member.is_away = True
    with pytest.raises(StoreError):
        following.fetch()
    following.member.is_away = False
    assert following.fetch() == {"a": [1], "b": []}


def test_compacted_changes_are_read() -> None:
    following = Following("a", "b")
    following.fetch()
    following.member.put("a", 1)
    following.member.compacted = following.member.revision
    assert following.fetch() == {"a": [1], "b": []}


def test_a_revision_that_goes_back_is_a_restart_of_all_lists() -> None:
    following = Following("a", "b")
    following.member.put("a", 1)
    assert not any(one.is_restart for one in following.lists().values())
    following.member.cluster = 2
    following.follow("a", "b", again=("b",))
    told = following.lists()
    assert set(told) == {"a", "b"}
    assert all(one.is_restart for one in told.values())
    following.member.put("a", 2)
    told = following.lists()
    assert [one.is_restart for one in told.values()] == [False]


def test_lists_of_a_cluster_that_changed_while_they_were_read_are_told_later() -> None:
    following = Following("a", "b")
    member = following.member
    following.fetch()
    pages = member.pages

    def changing(prefix: str) -> Iterator[Range]:
        member.cluster += 1
        return pages(prefix)

    member.pages = changing  # type: ignore[method-assign]
    following.follow("a", "b", again=("a", "b"))
    with pytest.raises(StoreError, match="again and again"):
        following.lookup.fetch(5.0)
    member.pages = pages  # type: ignore[method-assign]
    told = following.lists()
    assert set(told) == {"a", "b"}
    assert all(one.is_restart for one in told.values())
    member.put("a", 1)
    assert following.fetch() == {"a": [1]}


@pytest.mark.parametrize("is_dead", [False, True])
def test_a_watch_that_lost_a_deletion_is_found_by_the_number_of_keys(is_dead: bool) -> None:
    following = Following("a", "b")
    member = following.member
    member.put("a", 1)
    member.put("other", 1)
    following.fetch()
    following.fetch()
    member.put("other", 2)
    member.put("other", 2)
    member.delete("other", 1)
    following.fetch()
    assert member.watch_now is not None
    member.watch_now.is_dead = is_dead
    if is_dead:
        member.delete("a", 1)
    reads = len(member.read)
    member.now += PROOF_SECONDS
    told = following.fetch() | following.fetch()
    assert told == ({"a": [], "b": []} if is_dead else {})
    assert len(member.read) == reads + (2 if is_dead else 0)


class Endless:
    """A watch that always has one more change."""

    is_closed = False

    def __init__(self) -> None:
        self.numbers = itertools.count(1)

    def receive(self, wait_seconds: float) -> list[KeyChange]:
        number = next(self.numbers)
        assert number <= 3 * MOST_ENDPOINTS
        return [KeyChange(KeyValue(b"fastrpc/services/a/tcp@10.0.0.1:%d" % number, b"{}", number + 1))]


def test_an_endless_watch_delays_no_list_and_is_bounded() -> None:
    following = Following("a")
    endless = Endless()
    following.member.watch = lambda prefix, revision: endless  # type: ignore[assignment,method-assign,return-value]
    following.fetch(0.0)
    following.fetch(30.0)
    assert next(endless.numbers) <= MOST_ENDPOINTS + 2
    following.fetch(30.0)
    assert len(following.lookup._keys["a"].records) == MOST_ENDPOINTS + 1


def test_a_list_that_cannot_be_read_delays_no_other() -> None:
    following = Following("a", "bad", "c")
    member = following.member
    member.unreadable.add(f"{LAYOUT.prefix}bad/")
    for service in ("a", "bad", "c"):
        member.put(service, 1)
    assert following.fetch() == {"a": [1], "bad": [0], "c": [1]}
    # Its changes do not make a list of their own.
    member.put("bad", 2)
    member.put("a", 2)
    assert following.fetch() == {"a": [1, 2]}
    following.follow("a", "bad", "c", again=("bad",))
    assert following.fetch() == {"bad": [0]}
    member.unreadable.clear()
    following.follow("a", "bad", "c", again=("bad",))
    assert following.fetch() == {"bad": [1, 2]}
    member.put("bad", 3)
    assert following.fetch() == {"bad": [1, 2, 3]}
    assert len(member.watches) == 1


def test_lists_that_cannot_be_read_are_not_asked_for_at_once() -> None:
    following = Following("bad", "worse")
    member = following.member
    member.unreadable |= {f"{LAYOUT.prefix}bad/", f"{LAYOUT.prefix}worse/"}
    member.put("bad", 1)
    member.compacted = member.revision
    assert following.fetch() == {"bad": [0], "worse": [0]}
    assert following.fetch() == following.fetch() == {}
    assert len(member.read) == 2


def test_a_list_that_cannot_be_read_while_the_cluster_is_away_is_an_outage() -> None:
    following = Following("a", "b")
    following.fetch()
    following.member.is_away = True
    following.follow("a", "b", again=("a",))
    with pytest.raises(StoreError, match="away"):
        following.fetch()
