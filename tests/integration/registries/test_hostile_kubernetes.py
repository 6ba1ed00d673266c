"""An apiserver does its worst: each answer is bounded, no list changes by it, and no token goes elsewhere."""

import itertools
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from fastrpc import StoreError
from fastrpc.registries.base.rules import MOST_ENDPOINTS
from fastrpc.registries.base.shared import SingleLookup
from fastrpc.registries.kubernetes.api import ApiAccess
from fastrpc.registries.kubernetes.lookup import SliceLookup
from fastrpc.registries.kubernetes.slices import Reading
from fastrpc.status import Status
from tests.support.apiserver import pod, slice_of, status
from tests.support.apiserver_scenes import hosts
from tests.support.hostile_http import HostileHttpServer, Reply, answer, dripping

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def listing(*hosts: str, version: str = "5", **more: Any) -> Reply:
    return answer({"metadata": {"resourceVersion": version, **more}, "items": [sliced(*hosts)]})


def sliced(*hosts: str, name: str = "a", version: str = "5") -> dict[str, Any]:
    found = slice_of(name, "arith", *(pod(host) for host in hosts))
    found["metadata"]["resourceVersion"] = version
    return found


def chunk(text: bytes) -> bytes:
    return f"{len(text):x}\r\n".encode() + text + b"\r\n"


def watched(*lines: Any, ends: bool = False) -> Reply:
    """Return the answer to a watch; bytes are sent as they are, without the end of a line."""

    def reply() -> Iterator[bytes | None]:
        yield HEAD
        for one in lines:
            yield chunk(one if isinstance(one, bytes) else json.dumps(one).encode() + b"\n")
        if ends:
            yield b"0\r\n\r\n"
        yield from itertools.repeat(None)

    return reply


def lookup_at(server: HostileHttpServer) -> SingleLookup:
    place = "127.0.0.1", int(server.place.partition(":")[2])
    access = ApiAccess(place, "shop", base="/prefix", tls=None, token=lambda: "planted-token")
    return SingleLookup(SliceLookup(access, Reading()), "arith")


BAD = {
    "no JSON": answer(b"hello"),
    "not UTF-8": answer(b'{"metadata":"\xff"}'),
    "deep": answer(b"[" * 100_000),
    "other types": answer({"metadata": 5}),
    "no version": answer({"metadata": {}, "items": []}),
    "slice without metadata": answer({"metadata": {"resourceVersion": "1"}, "items": [{"endpoints": []}]}),
    "many values": answer(b'{"metadata":{},"items":[' + b"{}," * 2_000_000 + b"{}]}"),
    "redirect": answer(b"", status="307 Temporary", Location="http://127.0.0.1:1/"),
    "error page": answer(b"<html>", status="502 Bad Gateway"),
    "error without words": answer(b"", status="500 Oops"),
    "too many requests": answer(status(429, "TooManyRequests", "later"), status="429 Too Many Requests"),
    "truncated": lambda: iter([b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{", None]),
    "dripping": dripping(HEAD + b"1\r\n{\r\n", chunk(b" ")),
    "expired for ever": answer(status(410, "Expired", "too old"), status="410 Gone"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_list_is_an_outage_without_the_token_in_its_text(name: str) -> None:
    replies = [BAD[name]] * (2 if name == "expired for ever" else 1)
    with HostileHttpServer(*replies, listing("10.0.0.1")) as server:
        lookup = lookup_at(server)
        tracemalloc.start()
        with pytest.raises(StoreError) as caught:
            lookup.fetch(0.0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert caught.value.status in (Status.UNAVAILABLE, Status.OUT_OF_RANGE)
        assert caught.value.message.startswith(f"the apiserver at {server.place}: ")
        assert caught.value.message.isprintable()
        assert "planted" not in caught.value.message
        assert peak < 64 * 1024 * 1024
        assert hosts(lookup) == ["10.0.0.1"]
        assert server.requests[0].startswith(
            "GET /prefix/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices?labelSelector="
        )
        lookup.close()


@pytest.mark.parametrize(
    "reply",
    [
        watched(b"what\n"),
        watched(b"{}\n"),
        watched({"type": "ADDED", "object": 5}),
        watched({"type": "ADDED", "object": {"metadata": {"name": "a"}}}),
        watched({"type": "BOOKMARK", "object": {}}),
        watched({"type": 5, "object": {}}),
        watched(b'{"type":"ADDED",'),
        watched(b"[" * 100_000 + b"\n"),
        answer(b"", status="503 Busy"),
        answer(b"", status="307 Temporary", Location="http://127.0.0.1:1/"),
    ],
)
def test_bad_watch_is_an_outage_and_the_slices_are_listed_again(reply: Reply) -> None:
    with HostileHttpServer(listing("10.0.0.1"), reply, listing("10.0.0.2")) as server:
        lookup = lookup_at(server)
        assert hosts(lookup) == ["10.0.0.1"]
        with pytest.raises(StoreError) as caught:
            for _ in range(3):
                assert hosts(lookup, 1.0) == ["10.0.0.1"]
        assert caught.value.status is Status.UNAVAILABLE
        assert hosts(lookup) == ["10.0.0.2"]
        lookup.close()


@pytest.mark.parametrize("content", [(), (b'{"type":"ADDED",',)])
def test_watch_that_ends_at_once_is_answered_by_a_list_and_a_pause(content: tuple[bytes, ...]) -> None:
    with HostileHttpServer(listing("10.0.0.1"), watched(*content, ends=True), listing("10.0.0.2")) as server:
        lookup = lookup_at(server)
        hosts(lookup)
        found = lookup.fetch(1.0)
        assert [key for key, _ in found.entries] == ["tcp://10.0.0.2:8972"]
        assert found.pause_seconds > 0
        lookup.close()


def test_events_that_never_end_delay_no_list_and_are_bounded() -> None:
    def reply() -> Iterator[bytes | None]:
        yield HEAD
        for number in itertools.count(1):
            event = {
                "type": "ADDED",
                "object": sliced("10.0.0.1", name=f"s{number}", version=str(number + 5)),
            }
            yield chunk(json.dumps(event).encode() + b"\n")
            if number > MOST_ENDPOINTS + 2_000:
                yield from itertools.repeat(None)

    with HostileHttpServer(listing("10.0.0.1"), reply) as server:
        lookup = lookup_at(server)
        hosts(lookup)
        fetched = 0
        while int(lookup._shared._slices.version) < MOST_ENDPOINTS + 2_000:
            lookup.fetch(1.0)
            fetched += 1
        assert fetched > 10
        assert len(lookup._shared._slices.found) == MOST_ENDPOINTS + 1
        lookup.close()


def test_pages_that_never_end_are_cut() -> None:
    def more() -> Iterator[bytes | None]:
        items = [sliced(*(f"10.0.{number}.{last}" for last in range(200))) for number in range(10)]
        for number, one in enumerate(items):
            one["metadata"]["name"] = f"{next(numbers)}-{number}"
        return answer({"metadata": {"resourceVersion": "5", "continue": "more"}, "items": items})()

    numbers = itertools.count(1)
    with HostileHttpServer(more) as server:
        lookup = lookup_at(server)
        assert len(hosts(lookup)) >= 2_000
        assert len(server.requests) < 10
        lookup.close()
