"""Nodes of many services in ZooKeeper, with a session that follows the test."""

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("kazoo", reason="kazoo is not installed")

from kazoo.exceptions import KazooException, MarshallingError, NoNodeError

from fastrpc import Endpoint, StoreError
from fastrpc.registries.base.backend import Listing
from fastrpc.registries.base.layouts import RpcxLayout
from fastrpc.registries.base.poller import WAIT_SECONDS
from fastrpc.registries.zookeeper.nodes import NodeLookup
from fastrpc.status import Status


class Session:
    """Services with the names of their nodes; some cannot be read."""

    def __init__(self, nodes: Mapping[str, list[str]]) -> None:
        self.nodes = dict(nodes)
        self.unreadable: dict[str, Exception] = {}
        self.is_away = False
        self.listeners: set[Callable[[], None]] = set()
        self.now = 0.0
        self.read: list[str] = []
        #: The transaction that made the parents.
        self.made = 7
        #: The service after whose nodes the session goes away.
        self.last: str | None = None

    def ask(self, begin: Callable[[Any], Any]) -> Any:
        if self.is_away:
            raise StoreError("ZooKeeper: the connection is lost")
        return begin(self)

    def ask_all(self, begins: Sequence[Callable[[Any], Any]]) -> list[Any]:
        answers: list[Any] = []
        for begin in begins:
            try:
                answers.append(self.ask(begin))
            except KazooException as error:
                answers.append(error)
        return answers

    def get_children_async(
        self, path: str, watch: Callable[[Any], None], include_data: bool
    ) -> tuple[list[str], Any]:
        assert include_data
        service = path.rpartition("/")[2]
        self.read.append(service)
        if service not in self.nodes:
            raise NoNodeError
        return self.nodes[service], SimpleNamespace(czxid=self.made)

    def exists_async(self, path: str, watch: Callable[[Any], None] | None = None) -> Any:
        return None

    def get_async(self, path: str) -> tuple[bytes, None]:
        for service, error in self.unreadable.items():
            if f"/{service}/" in path:
                raise error
        if path.split("/")[-2] == self.last:
            self.is_away = True
        return b"", None


def followed(session: Session) -> NodeLookup:
    lookup = NodeLookup(session, RpcxLayout("rpcx"), clock=lambda: session.now)  # type: ignore[arg-type]
    lookup.follow(frozenset({"a", "bad", "c"}), frozenset())
    return lookup


def ports(listing: Listing | StoreError) -> list[int]:
    assert isinstance(listing, Listing)
    return [one.address.port for _, one in listing.entries if isinstance(one, Endpoint)]


@pytest.mark.parametrize(
    "error", [StoreError("the login is refused", status=Status.PERMISSION_DENIED), MarshallingError()]
)
def test_a_list_that_cannot_be_read_delays_no_other(error: Exception) -> None:
    session = Session({name: ["tcp@10.0.0.1:1"] for name in ("a", "bad", "c")})
    lookup = followed(session)
    session.unreadable["bad"] = error
    told = lookup.fetch(0.0)
    assert isinstance(told["bad"], StoreError)
    assert [ports(told[name]) for name in ("a", "c")] == [[1], [1]]
    # It is read again with the other lists, not at once.
    assert lookup.fetch(0.0) == {}
    session.unreadable.clear()
    lookup.follow(frozenset({"a", "bad", "c"}), frozenset({"bad"}))
    assert ports(lookup.fetch(0.0)["bad"]) == [1]
    assert sorted(session.read) == ["a", "bad", "bad", "c"]


def test_a_list_that_cannot_be_read_while_the_servers_are_away_is_an_outage() -> None:
    session = Session({name: ["tcp@10.0.0.1:1"] for name in ("a", "c")})
    lookup = followed(session)
    assert set(lookup.fetch(0.0)) == {"a", "bad", "c"}
    session.now += WAIT_SECONDS
    session.is_away = True
    with pytest.raises(StoreError, match="the connection is lost"):
        lookup.fetch(0.0)
    session.is_away = False
    assert set(lookup.fetch(0.0)) == {"a", "bad", "c"}


def test_parents_that_were_made_anew_are_a_restart() -> None:
    session = Session({name: ["tcp@10.0.0.1:1"] for name in ("a", "bad", "c")})
    lookup = followed(session)

    def restarts() -> dict[str, bool]:
        session.now += WAIT_SECONDS
        return {name: isinstance(one, Listing) and one.is_restart for name, one in lookup.fetch(0.0).items()}

    assert restarts() == {"a": False, "bad": False, "c": False}
    del session.nodes["bad"]
    assert restarts() == {"bad": True}
    session.nodes["bad"] = []
    assert restarts() == {}
    session.made += 1
    assert restarts() == {"a": True, "bad": True, "c": True}


@pytest.mark.parametrize("last", ["a", "bad", "c"])
def test_a_restart_that_an_outage_hides_is_told_with_the_next_lists(last: str) -> None:
    session = Session({name: ["tcp@10.0.0.1:1"] for name in ("a", "bad", "c")})
    lookup = followed(session)
    lookup.fetch(0.0)
    session.now += WAIT_SECONDS
    session.made += 1
    session.last = last
    # The three are read in any order: two were read before one of them.
    with pytest.raises(StoreError, match="the connection is lost"):
        lookup.fetch(0.0)
    session.last, session.is_away = None, False
    told = lookup.fetch(0.0)
    assert {name: isinstance(one, Listing) and one.is_restart for name, one in told.items()} == dict.fromkeys(
        ("a", "bad", "c"), True
    )
    session.now += WAIT_SECONDS
    assert lookup.fetch(0.0) == {}
