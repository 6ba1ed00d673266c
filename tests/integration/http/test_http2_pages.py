"""One table of every way in by HTTP: HTTP/2 answers each request as HTTP/1.1 does, in status, fields and content."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from fastrpc import Server, ServerConfig
from tests.support.every_way import REQUESTS, Ways, every_way
from tests.support.grpc_bytes import message, text_field
from tests.support.http2_client import http2_client
from tests.support.http_versions import VERSIONS, compared, http_client
from tests.support.web_talk import trailers_of

pytestmark = pytest.mark.one_loop

PROTOCOLS = [("http",), ("native", "http"), ("http", "grpc")]


@pytest.mark.parametrize("name", REQUESTS)
async def test_both_versions_answer_a_request_in_the_same_way(name: str) -> None:
    asking = REQUESTS[name]
    async with every_way() as served:
        answers = []
        for version in VERSIONS:
            async with http_client(version, served.address) as client:
                answers.append(await client.ask(*asking.line, **asking.fields))
    assert [answer.status for answer in answers] == [asking.status] * 2, answers
    assert asking.part in answers[0].body
    # Calls by Connect have the end of their stream for a length, as calls of gRPC.
    others = ["content-length"] if name == "Connect" else []
    assert compared(answers[1], *others) == compared(answers[0], *others)


@pytest.mark.parametrize("protocols", PROTOCOLS, ids="+".join)
async def test_requests_of_every_way_share_a_connection(protocols: tuple[str, ...]) -> None:
    async with every_way(protocols) as served, http2_client(served.address) as client:
        streams = {
            name: await client.start(*asking.line, **asking.fields) for name, asking in REQUESTS.items()
        }
        answers = {name: await client.end(stream) for name, stream in streams.items()}
    assert {name: answer.status for name, answer in answers.items()} == {
        name: asking.status for name, asking in REQUESTS.items()
    }


async def test_requests_share_a_connection_with_calls_of_grpc_connect_and_grpc_web() -> None:
    async with every_way(holds=True) as served, http2_client(served.address) as client:
        body = message(text_field("a"))
        waiting = [await client.start("POST", "/ways/wait", {}), client.peer.request("/ways/Wait", b"")]
        for kind in ("application/proto", "application/grpc-web+proto"):
            for path, data in (("/ways/Wait", b""), ("/ways/Echo", text_field("a"))):
                framed = data if kind == "application/proto" else message(data)
                stream = client.begin("POST", path, Content_Type=kind, Content_Length=str(len(framed)))
                client.send(stream, framed, ends=True)
                if path == "/ways/Wait":
                    waiting.append(stream)
                    continue
                answer = await client.end(stream)
                assert answer.status == 200
                assert text_field("a") in answer.body
                if kind != "application/proto":
                    assert trailers_of(answer.body)["grpc-status"] == "0"
        assert (await client.peer.call("/ways/Echo", text_field("a"))).data == body
        assert (await client.post("/ways/echo", {"text": "a"})).value == "a"
        assert not any(client.peer.answers[stream].is_over for stream in waiting)
        served.ways.may_go_on.set()
        for stream in waiting:
            assert b"waited" in (await client.end(stream)).body


async def test_many_requests_at_once_have_each_its_answer() -> None:
    async with every_way() as served, http2_client(served.address) as client:
        bodies = [{"text": f"{number} " * (number % 50)} for number in range(500)]
        answers = await asyncio.gather(*(client.post("/ways/echo", body) for body in bodies))
        assert [answer.value for answer in answers] == [body["text"] for body in bodies]


async def test_grpc_alone_serves_no_pages() -> None:
    async with Server(Ways(), config=ServerConfig(protocols=("native", "grpc"))) as server:
        async with http2_client(await server.listen("tcp://127.0.0.1:0")) as client:
            answer = await client.get("/docs")
            assert (answer.status, answer["allow"]) == (405, "POST")
            assert (await client.post("/ways/echo", {"text": "a"})).status == 415


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_call_of_grpc_is_refused_where_grpc_is_not_served(version: str) -> None:
    async with every_way(("http",)) as served, http_client(version, served.address) as client:
        answer = await client.post("/ways/Echo", message(b""), Content_Type="application/grpc+proto")
        assert answer.status == (505 if version == "1.1" else 415)
        assert '"grpc" in ServerConfig.protocols' in answer.value["detail"]
        assert (await client.post("/ways/echo", {"text": "a"})).value == "a"


async def test_a_mounted_application_is_told_the_version() -> None:
    async with every_way() as served:
        for version in VERSIONS:
            async with http_client(version, served.address) as client:
                answer = await client.get("/app/a%20b?q=%201", Host="127.0.0.1", X_Mixed="1", Cookie="a=1")
                assert answer.status == 201
    first, second = (dict(scope) for scope in served.application.scopes)
    assert (first.pop("http_version"), second.pop("http_version")) == ("1.1", "2")
    for scope in (first, second):
        del scope["extensions"]
        assert scope.pop("client")[0] == "127.0.0.1"
    # The client sends it for gRPC.
    second["headers"].remove((b"te", b"trailers"))
    assert sorted(second.pop("headers")) == sorted(first.pop("headers"))
    assert second == first


async def test_cookies_that_come_in_parts_are_one_field() -> None:
    """RFC 9113, section 8.2.3."""
    async with every_way() as served, http2_client(served.address) as client:
        head = [
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/app/x"),
            (":authority", "127.0.0.1"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
        ]
        assert (await client.end(client.peer.begin(head, ends=True))).status == 201
        (scope,) = served.application.scopes
        assert Counter(scope["headers"])[(b"cookie", b"a=1; b=2")] == 1


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_peer_of_a_call_is_an_http_peer(version: str) -> None:
    async with every_way() as served, http_client(version, served.address) as client:
        assert (await client.post("/ways/who", {})).value[0] == "http"


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_server_at_a_unix_socket_takes_both_versions(version: str, tmp_path: Any) -> None:
    async with every_way(("http",), address=f"unix://{tmp_path}/socket") as served:
        async with http_client(version, served.address) as client:
            assert (await client.post("/ways/echo", {"text": "a"})).value == "a"


def test_no_request_stands_twice_in_the_table() -> None:
    lines = Counter((*map(str, asking.line), str(asking.fields)) for asking in REQUESTS.values())
    assert [line for line, count in lines.items() if count > 1] == []
