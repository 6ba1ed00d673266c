"""`HTTP(rpcx=True)`: requests as Go's header gateway of rpcx takes them, and answers as it gives them."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

import fastrpc
from fastrpc import HTTP, CallError, Limits, Server, ServerConfig, Status, current_call
from fastrpc.auth import Identity, StaticTokens
from tests.support.http_talk import HttpClient, Response

pytestmark = pytest.mark.one_loop


class Pair(msgspec.Struct, rename="pascal"):
    a: int
    b: int


@fastrpc.service("Arith", rpcx="go")
class Arith:
    @fastrpc.method
    async def mul(self, pair: Pair) -> dict[str, int]:
        return {"C": pair.a * pair.b}

    @fastrpc.method
    async def echo_bytes(self, data: bytes) -> bytes:
        return data

    @fastrpc.method
    async def meta(self) -> dict[str, Any]:
        call = current_call()
        call.reply_metadata["z"] = "a b&c"
        call.reply_metadata["a"] = "é\n"
        left = call.remaining()
        return {**call.metadata, "time": None if left is None else left < 60}

    @fastrpc.method
    async def fail(self) -> None:
        raise CallError(Status.NOT_FOUND, "no such\r\nthing: é")

    @fastrpc.method
    async def count(self) -> AsyncIterator[int]:
        yield 1


@contextlib.asynccontextmanager
async def serving(http: HTTP | None = None, **options: Any) -> AsyncIterator[HttpClient]:
    config = ServerConfig(protocols=("native", "http"), http=http or HTTP(rpcx=True))
    async with Server(Arith(), config=config, **options) as server:
        async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
            yield client


async def call(
    client: HttpClient,
    method: str,
    body: Any = b"",
    *,
    verb: str = "POST",
    path: str = "/Arith",
    **fields: Any,
) -> Response:
    """Call a method; further fields are for rpcx, None leaves one out."""
    given = {"ServiceMethod": method, "SerializeType": "1"} | fields
    named = {f"X-RPCX-{name}": value for name, value in given.items()}
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    length = str(len(content))
    return await client.ask(verb, path, content, Content_Type=None, Content_Length=length, **named)


@pytest.mark.parametrize("verb", ["POST", "GET", "PUT"])
@pytest.mark.parametrize("path", ["/Arith", "/anything"])
async def test_a_method_is_called_by_its_fields(verb: str, path: str) -> None:
    async with serving() as client:
        fields = {"Version": "1", "MessageID": "7"}
        if path != "/Arith":
            fields["ServicePath"] = "Arith"
        answer = await call(client, "Mul", {"A": 6, "B": 7}, verb=verb, path=path, **fields)
        assert (answer.status, answer.value) == (200, {"C": 42})
        assert (answer["x-rpcx-version"], answer["x-rpcx-messageid"]) == ("1", "7")
        assert (answer["x-rpcx-servicepath"], answer["x-rpcx-servicemethod"]) == ("Arith", "Mul")
        assert (answer["x-rpcx-serializetype"], answer["x-rpcx-meta"]) == ("1", "")
        assert "x-rpcx-messagestatustype" not in answer


async def test_the_type_of_a_body_decides_how_it_is_read() -> None:
    async with serving() as client:
        packed = msgspec.msgpack.encode({"A": 2, "B": 3})
        answer = await call(client, "Mul", packed, SerializeType="3")
        assert msgspec.msgpack.decode(answer.body) == {"C": 6}
        assert (await call(client, "EchoBytes", b"\x00\xff", SerializeType="0")).body == b"\x00\xff"
        answer = await call(client, "Mul", {"A": 1, "B": 1}, Oneway="true")
        assert (answer.status, answer.body) == (200, b"")


async def test_metadata_goes_both_ways_as_a_query() -> None:
    async with serving() as client:
        answer = await call(client, "Meta", b"", Meta="User=Ada+L%2E&__ServerTimeout=20000&empty=")
        assert answer.value == {"user": "Ada L.", "empty": "", "time": True}
        assert answer["x-rpcx-meta"] == "a=%C3%A9%0A&z=a+b%26c"
        assert not any(name.startswith("meta-") for name, _ in answer.fields)


async def test_metadata_has_the_limit_of_every_way_in() -> None:
    async with serving() as client:
        limit = Limits().metadata_bytes
        assert (await call(client, "Meta", Meta=f"a={'x' * (limit - 100)}")).status == 200
        answer = await call(client, "Meta", Meta=f"a={'x' * limit}")
        assert (answer.body, answer["x-rpcx-messagestatustype"]) == (b"", "Error")
        assert "Limits.metadata_bytes" in answer["x-rpcx-errormessage"]


@pytest.mark.parametrize(
    ("method", "body", "fields", "told"),
    [
        ("None", b"{}", {}, "rpcx: can't find method None"),
        ("Mul", b"{}", {"ServicePath": "Nothing"}, "rpcx: can't find service Nothing"),
        ("x.Mul", b"{}", {}, ""),
        ("Mul", b"{", {}, "Arith.mul"),
        ("Mul", b"{}", {"SerializeType": "4"}, "can not find codec for 4"),
        ("Count", b"", {}, "stream"),
        ("Fail", b"", {}, "no such  thing: \xc3\xa9"),
    ],
)
async def test_failures_have_a_text_and_no_body(
    method: str, body: bytes, fields: dict[str, Any], told: str
) -> None:
    async with serving() as client:
        answer = await call(client, method, body, **fields)
        assert (answer.status, answer.body) == (500, b"")
        assert answer["x-rpcx-messagestatustype"] == "Error"
        assert told in answer["x-rpcx-errormessage"]
        # The connection stays usable.
        assert (await call(client, "Mul", {"A": 1, "B": 2})).value == {"C": 2}


@pytest.mark.parametrize("path", ["/", "/?a=1"])
@pytest.mark.parametrize(
    "fields", [{}, {"ServicePath": ""}, {"ServiceMethod": None}], ids=["none", "empty", "two"]
)
async def test_a_request_without_a_path_is_answered_as_in_go(path: str, fields: dict[str, Any]) -> None:
    async with serving() as client:
        answer = await call(client, "Mul", {"A": 1, "B": 2}, path=path, MessageID="7", **fields)
        assert (answer.status, answer.body) == (200, b"")
        assert answer["x-rpcx-messagestatustype"] == "Error"
        assert answer["x-rpcx-messageid"] == "7"
        assert "ServicePath" in answer["x-rpcx-errormessage"]
        # The connection goes on.
        assert (await call(client, "Mul", {"A": 1, "B": 2})).value == {"C": 2}


async def test_a_token_is_the_whole_authorization() -> None:
    async with serving(authenticate=StaticTokens({"secret": Identity("gopher")})) as client:
        for fields in ({"Authorization": "secret"}, {"Authorization": "Bearer secret"}, {}):
            named = {"X-RPCX-ServiceMethod": "Mul", "X-RPCX-SerializeType": "1", **fields}
            answer = await client.ask("POST", "/Arith", {"A": 2, "B": 2}, **named)
            assert answer.status == (200 if fields else 401)
        assert (await call(client, "Mul", {"A": 1, "B": 3}, Meta="__AUTH=secret")).value == {"C": 3}
        twice = {"X-RPCX-Meta": "__AUTH=secret", "Authorization": "secret"}
        answer = await client.ask("POST", "/Arith", {"A": 2, "B": 2}, **{**named, **twice})
        assert "two tokens" in answer["x-rpcx-errormessage"]


async def test_other_requests_are_not_of_rpcx() -> None:
    async with serving() as client:
        assert (await client.post("/Arith/mul", {"pair": {"A": 2, "B": 3}})).value == {"C": 6}
        assert (await call(client, "Mul", b"{}", verb="DELETE")).status == 405
    async with serving(HTTP()) as client:
        assert (await call(client, "Mul", {"A": 1, "B": 1})).status == 404
