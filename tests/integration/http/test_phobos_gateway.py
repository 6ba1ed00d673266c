"""`HTTP(phobos=True)`: cases that the recordings of Phobos's header gateway do not show."""

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest

import fastrpc
from fastrpc import HTTP, CallError, Server, ServerConfig, Status, Timeouts, current_call
from fastrpc.auth import Identity, StaticTokens
from tests.support.http_talk import HttpClient, Response
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


@fastrpc.service("shop")
class Shop:
    def __init__(self) -> None:
        self.told: list[str] = []
        self.may_end = asyncio.Event()

    @fastrpc.method
    async def echo(self, text: str) -> str:
        return text

    @fastrpc.method
    async def remaining(self) -> float | None:
        return current_call().remaining()

    @fastrpc.method
    async def seen(self) -> dict[str, str]:
        return dict(current_call().metadata)

    @fastrpc.method
    async def tell(self, text: str) -> None:
        await self.may_end.wait()
        self.told.append(text)

    @fastrpc.method
    async def fail(self) -> None:
        metadata = current_call().reply_metadata
        metadata["reason"] = "a\r\nb"
        metadata["content-length"] = "7"
        metadata["transfer-encoding"] = "chunked"
        raise CallError(Status.NOT_FOUND, "no such\r\nthing")


@contextlib.asynccontextmanager
async def serving(http: HTTP | None = None, **options: Any) -> AsyncIterator[tuple[Shop, HttpClient]]:
    shop = Shop()
    timeouts = Timeouts(call=5.0)
    config = ServerConfig(protocols=("http",), http=http or HTTP(phobos=True), timeouts=timeouts)
    async with Server(shop, config=config, **options) as server:
        async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
            yield shop, client


async def call(client: HttpClient, method: str | None, body: bytes = b"null", **fields: Any) -> Response:
    """Call a method; further fields are for the gateway, None leaves one out."""
    others = {name: fields.pop(name) for name in ("Authorization", "Content_Encoding") if name in fields}
    given = {"ServiceMethod": method, "SerializeType": "1", "MessageID": "7"} | fields
    named = {f"PHOBOS-Gateway-{name}": value for name, value in given.items()}
    length = str(len(body))
    return await client.ask(
        "POST", "/shop", body, Content_Type=None, Content_Length=length, **named, **others
    )


async def test_a_failure_has_its_metadata_as_fields_except_fields_of_http() -> None:
    async with serving() as (_, client):
        answer = await call(client, "fail")
        assert (answer.status, answer.body) == (200, b"")
        assert answer["phobos-gateway-messagestatustype"] == "Error"
        assert answer["phobos-gateway-errormessage"] == answer["__phobos_error__"] == "no such  thing"
        assert (answer["reason"], answer["content-length"]) == ("a  b", "0")
        assert "transfer-encoding" not in answer
        # The connection stays usable.
        assert (await call(client, "echo", b'"a"')).value == "a"


async def test_the_token_is_an_entry_of_the_metadata() -> None:
    tokens = StaticTokens({"secret": Identity("gopher")})
    async with serving(authenticate=tokens) as (_, client):
        for fields, is_good in (
            ({"Meta": "__AUTH=secret"}, True),
            ({"Authorization": "secret"}, False),
            ({}, False),
        ):
            answer = await call(client, "echo", b'"a"', **fields)
            assert answer.status == 200
            assert ("phobos-gateway-messagestatustype" in answer) is not is_good


async def test_a_one_way_call_is_answered_before_it_ends() -> None:
    async with serving() as (shop, client):
        answer = await call(client, "tell", b'"told"', Oneway="1")
        assert (answer.status, answer.body) == (200, b"")
        assert not shop.told
        assert (await call(client, "echo", b'"a"')).value == "a"
        shop.may_end.set()
        await eventually(lambda: shop.told == ["told"])


async def test_a_one_way_call_that_fails_is_answered_all_the_same() -> None:
    async with serving() as (_, client):
        for method in ("nothing", "fail"):
            answer = await call(client, method, Oneway="1")
            assert (answer.status, answer.body, "__phobos_error__" in answer) == (200, b"", False)


async def test_a_call_has_no_deadline_unless_http_states_one() -> None:
    async with serving() as (_, client):
        assert (await call(client, "remaining")).value is None
        meta = "__ServerTimeout=20000&User=Ada+L"
        seen = (await call(client, "seen", Meta=meta)).value
        assert seen == {"__servertimeout": "20000", "user": "Ada L"}


async def test_a_compressed_body_is_inflated() -> None:
    async with serving() as (_, client):
        packed = gzip.compress(b'"packed"')
        answer = await call(client, "echo", packed, Content_Encoding="gzip")
        assert answer.value == "packed"


async def test_both_header_gateways_work_next_to_each_other() -> None:
    async with serving(HTTP(rpcx=True, phobos=True)) as (_, client):
        assert (await call(client, "echo", b'"a"')).value == "a"
        fields = {"X-RPCX-ServiceMethod": "echo", "X-RPCX-SerializeType": "1"}
        answer = await client.ask("POST", "/shop", b'"b"', Content_Length="3", Content_Type=None, **fields)
        assert (answer.value, answer["x-rpcx-servicemethod"]) == ("b", "echo")
        assert (await client.post("/shop/echo", {"text": "c"})).value == "c"


async def test_the_fields_say_nothing_where_the_gateway_is_off() -> None:
    async with serving(HTTP()) as (_, client):
        assert (await call(client, "echo", b'"a"')).status == 404
