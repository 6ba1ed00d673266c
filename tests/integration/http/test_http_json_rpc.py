"""JSON-RPC 2.0: the examples of its specification, batches with errors, notifications."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

import fastrpc
from fastrpc import HTTP, CallError, Identity, Limits, Server, ServerConfig, Status
from fastrpc._core.server.memory_budget import bytes_held
from fastrpc.auth import StaticTokens
from tests.support.http2_client import Http2Client
from tests.support.http_shop import Shop
from tests.support.http_talk import HttpClient, Response, request, soon
from tests.support.http_versions import VERSIONS, http_client
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


@fastrpc.service("math")
class Math:
    def __init__(self) -> None:
        self.noted: list[Any] = []

    @fastrpc.method
    async def subtract(self, minuend: int, subtrahend: int) -> int:
        return minuend - subtrahend

    @fastrpc.method
    async def sum(self, a: int, b: int, c: int) -> int:
        return a + b + c

    @fastrpc.method
    async def update(self, a: int, b: int = 0) -> None:
        self.noted.append((a, b))

    @fastrpc.method
    async def get_data(self) -> list[Any]:
        return ["hello", 5]


@contextlib.asynccontextmanager
async def serving(*services: Any, **options: Any) -> AsyncIterator[HttpClient]:
    config = ServerConfig(protocols=("http",), http=HTTP(jsonrpc=True))
    async with Server(*(services or (Math(), Shop())), config=config, **options) as server:
        async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
            yield client


def entry(method: str, params: Any = None, **more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, **({} if params is None else {"params": params}), **more}


async def ask(client: HttpClient | Http2Client, body: Any, **fields: str | None) -> Response:
    return await client.post("/jsonrpc", body, **fields)


async def test_parameters_come_by_position_or_by_name() -> None:
    async with serving() as client:
        for params, identifier, result in (
            ([42, 23], 1, 19),
            ([23, 42], 2, -19),
            ({"subtrahend": 23, "minuend": 42}, "three", 19),
            ({"minuend": 42, "subtrahend": 23}, None, 19),
        ):
            answer = await ask(client, entry("math.subtract", params, id=identifier))
            assert (answer.status, answer["content-type"]) == (200, "application/json")
            assert answer.value == {"jsonrpc": "2.0", "result": result, "id": identifier}
        assert (await ask(client, entry("math.get_data", id=1))).value["result"] == ["hello", 5]
        assert (await ask(client, entry("shop.v1.later", ["a"], id=1))).value["result"] == "a"
        assert (await ask(client, entry("shop.v1.note", ["a"], id=1))).value["result"] is None


@pytest.mark.parametrize("identifier", ["1e999", "9" * 900, "-1.5e-400", '"' + "x" * 1_000 + '"', "null"])
async def test_an_id_comes_back_as_it_was_sent(identifier: str) -> None:
    """Python may have no such number: it is not decoded."""
    call = '{"jsonrpc": "2.0", "method": "math.sum", "params": [1, 2, 3], "id": %s}'
    async with serving() as client:
        answer = await client.post("/jsonrpc", f"[{call % 1},{call % identifier}]".encode())
        assert answer.body == b"[%b,%b]" % tuple(
            b'{"jsonrpc":"2.0","result":6,"id":%b}' % one for one in (b"1", identifier.encode())
        )


@pytest.mark.parametrize("identifier", ["9" * 1_025, '"' + "x" * 15_000 + '"'])
async def test_a_longer_id_is_refused_alone(identifier: str) -> None:
    """It would wait with its call, and no budget would count it."""
    call = '{"jsonrpc": "2.0", "method": "math.sum", "params": [1, 2, 3], "id": %s}'
    async with serving() as client:
        answer = await client.post("/jsonrpc", f"[{call % identifier},{call % 2}]".encode())
        (refused, made) = answer.value
        assert refused["error"] == {
            "code": -32600,
            "message": f"id has {len(identifier)} bytes of JSON, the limit is 1024",
        }
        assert made == {"jsonrpc": "2.0", "result": 6, "id": 2}


async def test_notifications_have_no_answer() -> None:
    service = Math()
    async with serving(service) as client:
        for body in (
            entry("math.update", [1, 2]),
            entry("math.none"),
            [entry("math.update", [3]), entry("math.update", {"a": "no"}), entry("math.update", {"a": 4})],
        ):
            answer = await ask(client, body)
            assert (answer.status, answer.body) == (204, b"")
        assert service.noted == [(1, 2), (3, 0), (4, 0)]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]', -32700),
        (
            b'[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},{"jsonrpc": "2.0", "method"]',
            -32700,
        ),
        (b"", -32700),
        (b"[]", -32600),
        (b"1", -32600),
        (b'{"jsonrpc": "2.0", "method": 1, "params": "bar"}', -32600),
        (b'{"jsonrpc": "1.0", "method": "math.sum", "id": 1}', -32600),
        (b'{"method": "math.sum", "id": 1}', -32600),
        (b'{"jsonrpc": "2.0", "method": "math.sum", "params": 1, "id": 1}', -32600),
        (b'{"jsonrpc": "2.0", "method": "math.sum", "id": [1]}', -32600),
        (b'{"jsonrpc": "2.0", "method": "math.sum", "id": true}', -32600),
        (b'{"jsonrpc": "2.0", "method": "math.sum", "id": false}', -32600),
        (b'{"jsonrpc": "2.0", "method": "math.sum", "id": {}}', -32600),
        (b'{"jsonrpc": "2.0", "method": "math.sum", "id": 1, "other": 1}', -32600),
        (b'{"jsonrpc": "2.0", "method": "math.sum", "id": 1, "id": 2}', -32600),
        (b"[" + b",".join([b"{}"] * 101) + b"]", -32600),
        (b"[" * 500 + b"]" * 500, -32600),
        (b'{"jsonrpc": "2.0", "method": "foobar", "id": "1"}', -32601),
        (b'{"jsonrpc": "2.0", "method": "math.sum", "params": [1], "id": "1"}', -32602),
        (b'{"jsonrpc": "2.0", "method": "math.sum", "params": [1, 2, 3, 4], "id": "1"}', -32602),
        (b'{"jsonrpc": "2.0", "method": "math.sum", "params": {"a": "x"}, "id": "1"}', -32602),
        (b'{"jsonrpc": "2.0", "method": "shop.v1.crash", "id": "1"}', -32603),
        (b'{"jsonrpc": "2.0", "method": "shop.v1.fail", "params": ["ABORTED"], "id": "1"}', -32001),
        (b'{"jsonrpc": "2.0", "method": "shop.v1.count", "params": [1], "id": "1"}', -32602),
        (b'{"jsonrpc": "2.0", "method": "shop.v1.total", "params": [1], "id": "1"}', -32602),
    ],
)
async def test_each_error_has_its_code(body: bytes, code: int) -> None:
    async with serving() as client:
        answer = await ask(client, body)
        assert answer.status == 200
        assert answer.value["jsonrpc"] == "2.0"
        assert answer.value["error"]["code"] == code
        assert answer.value["error"]["message"]


async def test_another_status_is_told_with_its_data() -> None:
    async with serving() as client:
        error = (await ask(client, entry("shop.v1.fail", ["NOT_FOUND"], id=1))).value["error"]
        assert error["message"] == "it is NOT_FOUND"
        assert error["data"] == {"code": "NOT_FOUND", "processed": "yes", "details": {"why": [1, "b"]}}


async def test_the_batch_of_the_specification() -> None:
    async with serving() as client:
        answer = await ask(
            client,
            [
                entry("math.sum", [1, 2, 4], id="1"),
                entry("math.update", [7]),
                entry("math.subtract", [42, 23], id="2"),
                {"foo": "boo"},
                entry("foo.get", {"name": "myself"}, id="5"),
                entry("math.get_data", id="9"),
                entry("shop.v1.later", ["a"], id=10),
                1,
            ],
        )
        found = answer.value
        assert [one.get("result", one.get("error", {}).get("code")) for one in found] == [
            7, 19, -32600, -32601, ["hello", 5], "a", -32600,
        ]  # fmt: skip
        assert [one["id"] for one in found] == ["1", "2", None, "5", "9", 10, None]


async def test_the_end_of_the_client_cancels_a_batch() -> None:
    shop = Shop()
    async with serving(shop) as client:
        client.send(
            request("POST", "/jsonrpc", [entry("shop.v1.wait", id=1), entry("shop.v1.echo", ["a"], id=2)])
        )
        await soon(shop.started)
        client.writer.close()
        await soon(shop.cancelled)


@fastrpc.service("stubborn")
class Stubborn:
    """Its calls outlast their cancellation."""

    def __init__(self) -> None:
        self.cancelled = 0
        self.started = 0
        self.may_end = asyncio.Event()

    @fastrpc.method
    async def work(self, text: str) -> int:
        self.started += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            await self.may_end.wait()
        return len(text)


@pytest.mark.parametrize("version", VERSIONS)
async def test_calls_of_a_batch_that_outlast_their_client_leave_nothing(version: str) -> None:
    stubborn, held_before = Stubborn(), bytes_held()
    batch = [entry("stubborn.work", ["a" * 20_000], id=number) for number in range(3)]
    config = ServerConfig(protocols=("http",), http=HTTP(jsonrpc=True))
    async with Server(stubborn, Shop(), config=config) as server:
        async with http_client(version, await server.listen("tcp://127.0.0.1:0")) as client:
            assert (await ask(client, entry("shop.v1.echo", ["a"], id=1))).value["result"] == "a"
            tasks_before = asyncio.all_tasks()
            if isinstance(client, Http2Client):
                stream = await client.start("POST", "/jsonrpc", [*batch, entry("shop.v1.echo", ["a"], id=9)])
            else:
                client.send(request("POST", "/jsonrpc", [*batch, entry("shop.v1.echo", ["a"], id=9)]))
            await eventually(lambda: stubborn.started == len(batch))
            assert bytes_held() > held_before + 60_000
            if isinstance(client, Http2Client):
                client.peer.reset(stream)
            else:
                client.writer.close()
            await eventually(lambda: stubborn.cancelled == len(batch))
            assert server.stats()["live"]["calls"] == len(batch)
            stubborn.may_end.set()
            await eventually(lambda: server.stats()["live"]["calls"] == 0)
            await eventually(lambda: asyncio.all_tasks() <= tasks_before)
            if isinstance(client, Http2Client):
                answer = await ask(client, entry("shop.v1.echo", ["b"], id=2))
                assert answer.value["result"] == "b"
        await eventually(lambda: bytes_held() == held_before)


async def test_every_entry_passes_the_gate() -> None:
    tokens = StaticTokens({"ada-token": Identity("ada")})
    ada = {"Authorization": "Bearer ada-token"}
    async with serving(Shop(), authenticate=tokens) as client:
        assert (await ask(client, entry("shop.v1.who", id=1), **ada)).value["result"] == "ada"
        assert (await ask(client, entry("shop.v1.who", id=1), Authorization="Bearer x")).status == 401
        for method in ("shop.v1.who", "shop.v1.none"):
            error = (await ask(client, entry(method, id=1))).value["error"]
            assert (error["code"], error["data"]["code"]) == (-32001, "UNAUTHENTICATED")
        assert (await ask(client, entry("shop.v1.none", id=1), **ada)).value["error"]["code"] == -32001


async def test_json_rpc_takes_only_posts_of_json() -> None:
    async with serving() as client:
        answer = await client.get("/jsonrpc")
        assert (answer.status, answer["allow"]) == (405, "POST")
        assert (await ask(client, entry("math.get_data", id=1), Content_Type="text/plain")).status == 415
        assert (await ask(client, entry("math.get_data", id=1), Origin="https://evil.example")).status == 403


async def test_json_rpc_is_off_by_default() -> None:
    async with Server(Shop(), config=ServerConfig(protocols=("http",))) as server:
        async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
            assert (await ask(client, entry("math.sum", id=1))).status == 404


@pytest.mark.parametrize("name", ["jsonrpc", "mcp", "ws", "docs", "openapi.json", "client.js"])
async def test_a_service_has_no_name_of_a_fixed_path(name: str) -> None:
    service = fastrpc.service(name)(type("Taken", (), {"ping": fastrpc.method(Math.get_data)}))
    with pytest.raises(fastrpc.ConfigError, match="fixed path"):
        async with Server(service(), config=ServerConfig(protocols=("native", "http"))):
            pass
    async with Server(service()):
        pass


async def test_results_of_a_batch_are_bounded_together() -> None:
    config = ServerConfig(protocols=("http",), http=HTTP(jsonrpc=True), limits=Limits(message_bytes=65_536))
    async with Server(Shop(), config=config) as server:
        async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
            texts = ("a" * 20_000, "b" * 20_000, "c")
            call = [entry("shop.v1.threaded", {"text": text}, id=text[0]) for text in texts]
            answers = {answer["id"]: answer for answer in (await ask(client, call)).value}
            refused = [answer["error"] for answer in answers.values() if "error" in answer]
            # Each is sent twice, and the second one no longer fits.
            assert [(error["code"], error["data"]["code"]) for error in refused] == [
                (-32001, "RESOURCE_EXHAUSTED")
            ]
            assert answers["c"]["result"] == "cc"
            assert (await ask(client, entry("shop.v1.echo", {"text": "a"}, id=1))).value["result"] == "a"


async def test_errors_of_a_batch_are_bounded_with_its_results() -> None:
    @fastrpc.service("failing")
    class Failing:
        @fastrpc.method
        async def fail(self, text: str) -> None:
            raise CallError(Status.NOT_FOUND, text, details="d" * 20_000, retry_after=2)

    limit = 65_536
    config = ServerConfig(protocols=("http",), http=HTTP(jsonrpc=True), limits=Limits(message_bytes=limit))
    async with Server(Failing(), config=config) as server:
        async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
            answer = await ask(client, [entry("failing.fail", ["x"], id=number) for number in range(20)])
            assert len(answer.body) < limit + 20 * 300
            errors = [one["error"] for one in answer.value]
            assert {error["code"] for error in errors} == {-32001}
            assert {error["data"]["code"] for error in errors} == {"NOT_FOUND"}
            assert {error["data"]["retry_after"] for error in errors} == {2}
            assert [len(error["data"]["details"]) for error in errors if "details" in error["data"]] == [
                20_000
            ] * 3
            assert "Limits.message_bytes" in errors[-1]["message"]
