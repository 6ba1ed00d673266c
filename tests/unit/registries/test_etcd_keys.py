"""Records in etcd, with a member that follows the test."""

import itertools
from typing import Any

import pytest

from fastrpc import Endpoint, StoreError
from fastrpc.registries.base.layouts import FastrpcLayout
from fastrpc.registries.etcd import keys
from fastrpc.registries.etcd.gateway import Header, KeyValue, Range
from fastrpc.registries.etcd.keys import EtcdLease, SharedLease
from fastrpc.status import Status

LAYOUT = FastrpcLayout("fastrpc")


class Member:
    """Leases and keys of etcd, at an instant that the test sets."""

    def __init__(self) -> None:
        self.now = 0.0
        self.is_away = False
        self.leases: dict[int, float] = {}
        self.keys: dict[bytes, int] = {}
        self._ids = itertools.count(1)

    def expire(self) -> None:
        self.leases = {lease: ends for lease, ends in self.leases.items() if ends >= self.now}
        self.keys = {key: lease for key, lease in self.keys.items() if lease in self.leases}

    def ask(self, path: str, request: dict[str, Any], kind: Any) -> Any:
        if self.is_away:
            raise StoreError("away", status=Status.UNAVAILABLE)
        self.expire()
        lease = int(request.get("ID", 0))
        match path:
            case "lease/grant":
                lease = next(self._ids)
                self.leases[lease] = self.now + 10
                return kind(lease, 10)
            case "lease/keepalive":
                if lease in self.leases:
                    self.leases[lease] = self.now + 10
                return kind(keys._Granted(lease, 10 if lease in self.leases else 0))
            case "lease/revoke":
                self.leases.pop(lease, None)
                self.expire()
                return kind()
            case "kv/txn":
                for step in request["failure"]:
                    put = step["request_put"]
                    self.keys[put["key"]] = int(put["lease"])
                for step in request["success"]:
                    self.keys.pop(step["request_delete_range"]["key"], None)
                return kind(Header(1, 5), succeeded=bool(request["success"]))
        return Range(Header(1, 5), [KeyValue(request["key"])] if request["key"] in self.keys else [])


def test_a_record_that_could_not_be_deleted_ends_with_its_lease() -> None:
    member = Member()
    shared = SharedLease(member, 10, clock=lambda: member.now)  # type: ignore[arg-type]
    left, kept = (EtcdLease(shared, LAYOUT, name, Endpoint("tcp://10.0.0.1:80")) for name in ("left", "kept"))
    left.acquire()
    kept.acquire()
    assert len(member.keys) == 2
    member.is_away = True
    with pytest.raises(StoreError):
        left.release()
    member.is_away = False
    for _ in range(20):
        member.now += 3
        if not kept.renew():
            kept.acquire()
    member.expire()
    [key] = member.keys
    assert b"/kept/" in key
    kept.release()
    assert member.keys == {}
    assert member.leases == {}
