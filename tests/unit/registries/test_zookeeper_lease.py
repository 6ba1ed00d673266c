"""The node of a server in ZooKeeper, with a session that loses requests when the test says."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("kazoo", reason="kazoo is not installed")

from fastrpc import Endpoint, StoreError
from fastrpc.registries.base.layouts import RpcxLayout
from fastrpc.registries.zookeeper.nodes import NodeLease


class Session:
    """One client's nodes."""

    id = 5
    ttl_seconds = 6.0

    def __init__(self) -> None:
        self.nodes: dict[str, tuple[int, bytes]] = {}
        #: How many transactions are lost from now on.
        self.lost = 0
        self._number = 0

    def ask(self, begin: Callable[[Any], Any]) -> Any:
        return begin(self)

    def exists_async(self, path: str) -> Any:
        if path in self.nodes:
            return SimpleNamespace(czxid=self.nodes[path][0], ephemeralOwner=self.id)
        return SimpleNamespace(czxid=1, ephemeralOwner=0) if path.endswith("/arith") else None

    def transaction(self) -> "Session":
        self._begun: list[Callable[[], object]] = []
        return self

    def delete(self, path: str) -> None:
        self._begun.append(lambda: self.nodes.pop(path))

    def create(self, path: str, value: bytes, *, ephemeral: bool) -> None:
        assert ephemeral
        self._begun.append(lambda: self.nodes.update({path: (self._number, value)}))

    def commit_async(self) -> list[object]:
        if self.lost:
            self.lost -= 1
            raise StoreError("ZooKeeper: the connection is lost")
        self._number += 1
        return [step() for step in self._begun]


def written(session: Session) -> list[str]:
    return [value.decode() for _, value in session.nodes.values()]


def test_a_change_that_was_lost_on_its_way_is_written_by_the_next_attempt() -> None:
    session = Session()
    lease = NodeLease(session, RpcxLayout("rpcx"), "arith", Endpoint("tcp://10.0.0.1:1", weight=3))  # type: ignore[arg-type]
    lease.acquire()
    [before] = written(session)
    lease.record = Endpoint("tcp://10.0.0.1:1", weight=7)
    session.lost = 1
    with pytest.raises(StoreError):
        lease.rewrite()
    assert written(session) == [before]
    # The keeper registers it anew.
    lease.acquire()
    [after] = written(session)
    assert ("weight=3" in before, "weight=7" in after) == (True, True)
