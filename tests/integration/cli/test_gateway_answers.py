"""Status and fields of answers by HTTP through `fastrpc gateway`, and requests of clients that have an answer."""

from collections.abc import Iterator
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, Client, Status, current_call
from tests.support.http_talk import HttpClient, Response
from tests.support.program import Program
from tests.support.threaded_server import ThreadedServer

pytestmark = pytest.mark.one_loop

TAG = '"7"'
LONG = "fastrpc " * 1_000


@fastrpc.service("shop.pages")
class Pages:
    @fastrpc.method(safe=True)
    async def own(self) -> str:
        current_call().reply_metadata["seen"] = "yes"
        current_call().http(headers={"ETag": TAG, "Cache-Control": "max-age=60", "X-Own": "ä"})
        return "tea"

    @fastrpc.method(safe=True, public=True)
    async def everybodys(self) -> str:
        current_call().http(headers={"Cache-Control": "max-age=60", "Vary": "Accept-Language"})
        return "tea"

    @fastrpc.method(safe=True)
    async def packed(self, compress: bool) -> str:
        current_call().http(headers={"ETag": TAG, "Cache-Control": "max-age=60"}, compress=compress)
        return LONG

    @fastrpc.method
    async def create(self) -> int:
        current_call().http(status=200)
        current_call().http(status=201, headers={"Location": "/pages/7"})
        return 7

    @fastrpc.method
    def delete(self) -> None:
        current_call().http(status=204)

    @fastrpc.method(safe=True)
    async def fail(self) -> None:
        current_call().http(status=201, headers={"ETag": TAG, "Cache-Control": "max-age=60"})
        raise CallError(Status.NOT_FOUND, "nothing")

    @fastrpc.method(safe=True)
    async def large(self) -> None:
        current_call().http(headers={f"X-{number}": "a" * 1_000 for number in range(70)})


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("registry")
    with Program(["-m", "fastrpc", "registry", "-a", "tcp://127.0.0.1:0"], folder) as program:
        yield program.wait_output(r"registry at (\S+)\n")[1]


@pytest.fixture(scope="module")
def target(registry: str) -> Iterator[str]:
    with ThreadedServer(Pages(), registry=registry) as server:
        yield server.address


@pytest.fixture(scope="module")
def origin(registry: str, target: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    options = ("-a", "http://127.0.0.1:0", "--root-path", "/api/v1")
    folder = tmp_path_factory.mktemp("gateway")
    with Program(["-m", "fastrpc", "gateway", "-r", registry, *options], folder) as program:
        yield program.wait_output(r"gateway at (\S+)\n")[1].replace("http://", "tcp://")


async def ask(origin: str, verb: str, path: str, body: Any = b"", **fields: str | None) -> Response:
    async with await HttpClient.to(origin) as client:
        return await client.ask(verb, f"/shop.pages/{path}", body, **fields)


async def test_a_client_that_has_the_answer_gets_304(origin: str) -> None:
    for verb in ("GET", "HEAD"):
        answer = await ask(origin, verb, "own")
        assert (answer.status, answer["etag"], answer["meta-seen"]) == (200, TAG, "yes")
        assert answer["cache-control"] == "private, max-age=60"
        assert answer["x-own"] == "ä"
        assert [name for name, _ in answer.fields if "frpc" in name] == []
        answer = await ask(origin, verb, "own", If_None_Match='"6", W/"7"')
        assert (answer.status, answer.body, answer["etag"]) == (304, b"", TAG)
        assert "x-own" not in answer


async def test_the_server_behind_the_gateway_decides_who_may_store_an_answer(origin: str) -> None:
    answer = await ask(origin, "GET", "everybodys")
    assert (answer["cache-control"], answer["vary"]) == ("max-age=60", "Accept-Language")


async def test_an_answer_without_such_fields_is_stored_nowhere(origin: str) -> None:
    answer = await ask(origin, "GET", "fail", If_None_Match=TAG)
    assert (answer.status, answer["cache-control"], "etag" in answer) == (404, "no-store", False)


async def test_status_and_other_fields_come_back_as_well(origin: str) -> None:
    answer = await ask(origin, "POST", "create", {})
    assert (answer.status, answer["location"], answer.value) == (201, "/pages/7", 7)
    answer = await ask(origin, "POST", "delete", {})
    assert (answer.status, answer.body) == (204, b"")


async def test_the_gateway_compresses_answers_if_the_handler_asks(origin: str) -> None:
    answer = await ask(origin, "GET", "packed?compress=true", Accept_Encoding="gzip")
    assert (answer["content-encoding"], answer["etag"]) == ("gzip", f"W/{TAG}")
    answer = await ask(origin, "GET", "packed?compress=false", Accept_Encoding="gzip")
    assert ("content-encoding" in answer, answer["etag"], answer.value) == (False, TAG, LONG)


async def test_fields_over_the_limit_of_metadata_fail_the_call(origin: str) -> None:
    answer = await ask(origin, "GET", "large")
    assert (answer.status, answer["cache-control"]) == (500, "no-store")
    assert (await ask(origin, "GET", "own")).status == 200


async def test_other_callers_see_no_fields(target: str) -> None:
    async with Client(target) as client:
        reply = await client.request("shop.pages.own")
        assert dict(reply.metadata.entries) == {"seen": "yes"}
        assert reply._received.count(b"frpc") == 0
        with pytest.raises(ValueError, match="frpc-"):
            client.with_options(metadata={"frpc-http": "1"})


async def test_the_document_names_the_prefix_that_a_proxy_strips(origin: str) -> None:
    async with await HttpClient.to(origin) as client:
        assert (await client.get("/openapi.json")).value["servers"] == [{"url": "/api/v1"}]
