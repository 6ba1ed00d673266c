"""A member of etcd does its worst: each answer is bounded, no list changes by it, and no secret goes elsewhere."""

import base64
import itertools
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from fastrpc import Endpoint, StoreError
from fastrpc.registries.base.layouts import FastrpcLayout
from fastrpc.registries.base.shared import SingleLookup
from fastrpc.registries.etcd.gateway import EtcdAccess
from fastrpc.registries.etcd.keys import EtcdKeys
from fastrpc.status import Status
from tests.support.hostile_http import HostileHttpServer, Reply, answer

PREFIX = "fastrpc/services/arith/"
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PASSWORD = "planted-password"


def header(revision: int = 5, cluster: int = 1) -> dict[str, str]:
    return {"cluster_id": str(cluster), "revision": str(revision)}


def pair(port: int, revision: int = 5) -> dict[str, str]:
    record = json.dumps({"v": 1, "address": f"tcp://10.0.0.1:{port}"})
    key = f"{PREFIX}tcp@10.0.0.1:{port}"
    return {"key": encoded(key), "value": encoded(record), "mod_revision": str(revision)}


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def listing(*ports: int, revision: int = 5, cluster: int = 1, **more: Any) -> Reply:
    kvs = [pair(port) for port in ports]
    return answer({"header": header(revision, cluster), "kvs": kvs, "count": str(len(kvs)), **more})


def refusal(code: int, message: str, field: str = "code") -> Reply:
    return answer({"error": message, "message": message, field: code}, status="400 Bad Request")


def streamed_refusal(code: int, message: str) -> Reply:
    """Return the answer of etcd 3.7 where it is a stream."""
    return answer({"error": {"code": code, "message": message}}, status="401 Unauthorized")


def lines(*results: Any) -> Reply:
    """Return the answer to a watch; text is sent as it is."""

    def reply() -> Iterator[bytes | None]:
        for result in results:
            text = result if isinstance(result, bytes) else json.dumps({"result": result}).encode()
            yield (
                (HEAD if result is results[0] else b"") + f"{len(text) + 1:x}\r\n".encode() + text + b"\n\r\n"
            )
        yield from itertools.repeat(None)

    return reply


CREATED = {"header": header(), "created": True}


def backend(*servers: HostileHttpServer, has_user: bool = False, ttl_seconds: int = 10) -> EtcdKeys:
    places = [("127.0.0.1", int(server.place.partition(":")[2])) for server in servers]
    user = ("server", lambda: PASSWORD) if has_user else None
    return EtcdKeys(EtcdAccess(places, user=user), FastrpcLayout("fastrpc"), ttl_seconds)


def ports(lookup: SingleLookup, wait_seconds: float = 0.0) -> list[int]:
    found = [value for _, value in lookup.fetch(wait_seconds).entries]
    return [one.address.port for one in found if isinstance(one, Endpoint)]


def test_events_of_a_watch_change_the_list() -> None:
    put, delete = {"kv": pair(2, 6)}, {"type": "DELETE", "kv": {**pair(1, 7), "value": ""}}
    watched = lines(CREATED, {"events": [put]}, {"header": header()}, {"events": [delete]})
    with HostileHttpServer(listing(1), watched) as server:
        lookup = backend(server).open_lookup("arith")
        assert ports(lookup) == [1]
        assert ports(lookup, 5.0) in ([1, 2], [2])
        lookup.close()


def test_pages_are_of_the_revision_of_the_first() -> None:
    with HostileHttpServer(listing(1, more=True), listing(2, revision=9)) as server:
        lookup = backend(server).open_lookup("arith")
        assert ports(lookup) == [1, 2]
        assert lookup._shared._revision == 5
        lookup.close()


@pytest.mark.parametrize("after", [listing(1, revision=4), listing(1, cluster=2)])
def test_revision_that_goes_back_and_another_cluster_are_restarts(after: Reply) -> None:
    with HostileHttpServer(listing(1), after) as server:
        lookup = backend(server).open_lookup("arith")
        assert not lookup.fetch(0.0).is_restart
        assert lookup.fetch(0.0).is_restart
        assert not lookup.fetch(0.0).is_restart
        lookup.close()


BAD = {
    "no JSON": answer(b"hello"),
    "not UTF-8": answer(b'{"header":"\xff"}'),
    "deep": answer(b"[" * 100_000),
    "other types": answer({"header": 5}),
    "no header": answer({"kvs": []}),
    "keys that are not base64": answer({"header": header(), "kvs": [{"key": "?"}]}),
    "many values": answer(b'{"header":{},"kvs":[' + b"{}," * 2_000_000 + b"{}]}"),
    "redirect": answer(b"", status="307 Temporary", Location="http://127.0.0.1:1/"),
    "error without words": answer(b"{}", status="500 Oops"),
    "error page": answer(b"<html>", status="502 Bad Gateway"),
    "unknown code": refusal(99, "what"),
    "no leader": refusal(14, "etcdserver: no leader"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_answer_is_an_outage(name: str) -> None:
    with HostileHttpServer(BAD[name], listing(1)) as server:
        lookup = backend(server).open_lookup("arith")
        tracemalloc.start()
        with pytest.raises(StoreError) as caught:
            lookup.fetch(0.0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert caught.value.status is Status.UNAVAILABLE
        assert caught.value.message.startswith(f"etcd at {server.place}: ")
        assert caught.value.message.isprintable()
        assert peak < 64 * 1024 * 1024
        assert ports(lookup) == [1]
        lookup.close()


@pytest.mark.parametrize(
    "watched",
    [
        lines(b"what"),
        lines(b"{}"),
        lines(b'{"result":{"events":5}}'),
        lines(CREATED, b'{"error":{"code":14,"message":"gone"}}'),
        lines({"created": True, "canceled": True, "cancel_reason": "for some reason"}),
        answer(b"", status="503 Busy"),
    ],
)
def test_bad_watch_is_an_outage_and_the_list_is_read_again(watched: Reply) -> None:
    with HostileHttpServer(listing(1), watched, listing(2)) as server:
        lookup = backend(server).open_lookup("arith")
        lookup.fetch(0.0)
        with pytest.raises(StoreError):
            for _ in range(3):
                lookup.fetch(1.0)
        assert ports(lookup) == [2]
        lookup.close()


def test_compacted_watch_is_read_again_at_once() -> None:
    compacted = lines(CREATED, {"canceled": True, "compact_revision": "9"})
    with HostileHttpServer(listing(1), compacted, listing(2)) as server:
        lookup = backend(server).open_lookup("arith")
        lookup.fetch(0.0)
        assert ports(lookup, 5.0) == [2]
        lookup.close()


@pytest.mark.parametrize("field", ["code", "grpc_code"])
def test_refusal_is_believed_only_after_a_new_login(field: str) -> None:
    denied = refusal(7, "etcdserver: permission denied", field)
    with HostileHttpServer(
        answer({"token": "one"}), listing(1), denied, answer({"token": "two"}), denied
    ) as server:
        lookup = backend(server, has_user=True).open_lookup("arith")
        assert ports(lookup) == [1]
        with pytest.raises(StoreError, match="permission denied") as caught:
            lookup.fetch(0.0)
        assert caught.value.status is Status.PERMISSION_DENIED
        paths = [request.split()[1] for request in server.requests]
        assert paths == [
            "/v3/auth/authenticate",
            "/v3/kv/range",
            "/v3/kv/range",
            "/v3/auth/authenticate",
            "/v3/kv/range",
        ]
        assert ["two" in request for request in server.requests] == [False, False, False, False, True]
        lookup.close()


def test_renewal_with_a_token_that_ended_logs_in_again() -> None:
    granted, written = answer({"ID": "7", "TTL": "2"}), answer({"header": header()})
    renewed = answer({"result": {"ID": "7", "TTL": "2"}})
    ended = streamed_refusal(16, "etcdserver: invalid auth token")
    replies = (
        answer({"token": "one"}),
        granted,
        written,
        ended,
        answer({"token": "two"}),
        renewed,
        listing(1),
    )
    with HostileHttpServer(*replies) as server:
        keys = backend(server, has_user=True, ttl_seconds=0)
        lease = keys.open_lease("arith", Endpoint("tcp://10.0.0.1:1"))
        lease.acquire()
        assert lease.renew()
        keys.close()
        renewals = [request for request in server.requests if "keepalive" in request]
        assert ["two" in request for request in renewals] == [False, True]


def test_watch_with_a_token_that_ended_logs_in_again() -> None:
    reason = "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token"
    ended = lines({"created": True, "canceled": True, "cancel_reason": reason})
    watched = lines(CREATED, {"events": [{"kv": pair(2, 6)}]})
    with HostileHttpServer(
        answer({"token": "one"}), listing(1), ended, answer({"token": "two"}), watched
    ) as server:
        lookup = backend(server, has_user=True).open_lookup("arith")
        assert ports(lookup) == [1]
        assert ports(lookup, 5.0) == [1, 2]
        lookup.close()


def test_token_goes_to_no_other_place() -> None:
    with (
        HostileHttpServer(answer({"token": "of-one"}), BAD["no leader"]) as one,
        HostileHttpServer(answer({"token": "of-two"}), BAD["no leader"]) as two,
    ):
        lookup = backend(one, two, has_user=True).open_lookup("arith")
        for _ in range(4):
            with pytest.raises(StoreError) as caught:
                lookup.fetch(0.0)
            assert "planted" not in str(caught.value)
        assert len(one.requests) > 2 < len(two.requests)
        assert not any("of-two" in request for request in one.requests)
        assert not any("of-one" in request for request in two.requests)
        lookup.close()


def test_token_that_no_header_may_have_is_refused() -> None:
    with HostileHttpServer(answer({"token": "a\r\nb: c"})) as server:
        lookup = backend(server, has_user=True).open_lookup("arith")
        with pytest.raises(StoreError, match="no header may have"):
            lookup.fetch(0.0)
        lookup.close()


def test_next_place_answers_for_one_that_does_not() -> None:
    with HostileHttpServer(BAD["no leader"]) as one, HostileHttpServer(listing(2)) as two:
        lookup = backend(one, two).open_lookup("arith")
        for _ in range(3):
            assert ports(lookup) == [2]
        lookup.close()
