"""Callers by HTTP: their identity, their rights, and their limits."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import HTTP, Client, Identity, Server, ServerConfig
from fastrpc._core.base.histogram import default_registry
from fastrpc.auth import Policy, StaticTokens
from fastrpc.limits import ConcurrencyLimit, RateLimit
from tests.support.http_shop import Shop
from tests.support.http_talk import HttpClient, request, soon

pytestmark = pytest.mark.one_loop

ADA = {"Authorization": "Bearer ada-token"}
BOB = {"Authorization": "Bearer bob-token"}
TOKENS = {"ada-token": Identity("ada", roles=frozenset({"admin"})), "bob-token": Identity("bob")}


async def slow_verdict(peer: Any) -> Identity | None:
    await asyncio.sleep(0.001)
    return TOKENS.get(peer.credentials or "")


@fastrpc.service("open")
class Open:
    @fastrpc.method(public=True)
    async def ping(self) -> str:
        return "pong"

    @fastrpc.method(roles=("admin",))
    async def admin(self, text: str = "") -> int:
        return len(text)


@contextlib.asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[HttpClient]:
    config = ServerConfig(protocols=("native", "http"), **options.pop("config", {}))
    services = (Shop(), Open()) if "authenticate" in options else (Shop(),)
    async with Server(*services, config=config, **options) as server:
        async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
            yield client


@pytest.fixture(params=["tokens", "function"])
def authenticate(request: pytest.FixtureRequest) -> Any:
    return StaticTokens(TOKENS) if request.param == "tokens" else slow_verdict


async def test_each_request_says_who_it_is(authenticate: Any) -> None:
    async with serving(authenticate=authenticate) as client:
        assert (await client.post("/shop.v1/who", {}, **ADA)).value == "ada"
        assert (await client.post("/shop.v1/who", {}, **BOB)).value == "bob"
        answer = await client.post("/shop.v1/who", {})
        assert (answer.status, answer["www-authenticate"]) == (401, "Bearer")
        answer = await client.post("/shop.v1/who", {}, Authorization="Bearer wrong")
        assert (answer.status, answer.value["code"]) == (401, "UNAUTHENTICATED")
        assert (await client.post("/open/ping", {})).value == "pong"
        assert (await client.post("/open/ping", {}, Cookie="token=ada-token")).value == "pong"


async def test_roles_are_asked_for(authenticate: Any) -> None:
    async with serving(authenticate=authenticate) as client:
        assert (await client.post("/open/admin", {}, **ADA)).status == 200
        assert (await client.post("/open/admin", {}, **BOB)).status == 403


async def test_callers_learn_nothing_of_methods_they_may_not_call(authenticate: Any) -> None:
    async with serving(authenticate=authenticate) as client:
        for verb, path, kind in (
            ("POST", "/open/admin", "application/json"),
            ("POST", "/open/none", "application/json"),
            ("POST", "/none/none", "application/json"),
            ("POST", "/nowhere", "application/json"),
            ("GET", "/open/admin", None),
            ("GET", "/open/none", None),
            ("POST", "/open/admin", "text/plain"),
            ("PUT", "/open/admin", None),
        ):
            for who, status in ((BOB, 403), ({}, 401)):
                answer = await client.ask(
                    verb, path, b"{}" if verb == "POST" else b"", Content_Type=kind, **who
                )
                assert (verb, path, answer.status) == (verb, path, status)
                assert "allow" not in answer
        assert (await client.get("/open/admin", **ADA)).status == 405
        assert (
            await client.ask("POST", "/open/admin", b"{}", Content_Type="text/plain", **ADA)
        ).status == 415


async def test_a_long_body_is_read_only_from_callers_that_may_send_it(authenticate: Any) -> None:
    async with serving(authenticate=authenticate) as client:
        text = "x" * 200_000
        assert (await client.post("/open/admin", {"text": text}, **ADA)).value == 200_000
        head = request("POST", "/open/admin", b"", Content_Length="200000", **BOB)
        client.send(head)
        assert (await client.response()).status == 403
        assert await client.is_closed()


@pytest.mark.parametrize(
    "fields", [{"Expect": "100-continue"}, {"Content_Length": None, "Transfer_Encoding": "chunked"}]
)
async def test_a_body_is_asked_for_once_its_sender_is_known(
    authenticate: Any, fields: dict[str, str | None]
) -> None:
    async with serving(authenticate=authenticate) as client:
        given = {"Content_Length": "2"} | fields
        client.send(request("POST", "/open/admin", b"", **given, **ADA))
        if "Expect" in fields:
            assert (await client.head()).status == 100
        client.send(b"{}" if "Expect" in fields else b"2\r\n{}\r\n0\r\n\r\n")
        assert (await client.response()).value == 0
        client.send(request("POST", "/open/admin", b"", **given))
        assert (await client.response()).status == 401
        assert await client.is_closed()


def late_calls() -> int:
    rows = [counters.snapshot() for counters in default_registry]
    return sum(row["calls"].get("DEADLINE_EXCEEDED", 0) for row in rows if row["side"] == "server")


@pytest.mark.parametrize("path", ["/open/admin", "/jsonrpc"])
async def test_the_time_of_a_call_runs_while_its_sender_is_not_known(path: str) -> None:
    asked, decided = asyncio.Event(), asyncio.Event()

    async def authenticate(peer: Any) -> Identity | None:
        asked.set()
        await decided.wait()
        return TOKENS.get(peer.credentials or "")

    before = late_calls()
    async with serving(authenticate=authenticate, config={"http": HTTP(jsonrpc=True)}) as client:
        client.send(request("POST", path, b"", Content_Length="200000", Timeout_Ms="50", **ADA))
        await soon(asked)
        answer = await client.response()
        # A request for a fixed path is no call yet.
        assert late_calls() - before == (path == "/open/admin")
        assert (answer.status, answer.value["code"]) == (504, "DEADLINE_EXCEEDED")
        assert answer.value["processed"] == "no"
        assert not decided.is_set()
        decided.set()
        assert await client.is_closed()


async def test_a_policy_counts_by_http(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('[[rule]]\nwho = ["ada"]\nallow = ["shop.v1.*"]\n')
    async with serving(authenticate=StaticTokens(TOKENS), authorize=Policy.from_file(path)) as client:
        assert (await client.post("/shop.v1/who", {}, **ADA)).value == "ada"
        assert (await client.post("/shop.v1/who", {}, **BOB)).status == 403


async def test_an_unknown_host_is_served_where_callers_are_known() -> None:
    async with serving(authenticate=StaticTokens(TOKENS)) as client:
        assert (await client.post("/shop.v1/who", {}, Host="any.example", **ADA)).value == "ada"


async def test_a_rate_limit_says_when_to_come_again() -> None:
    async with serving(limits=[RateLimit(0.01, 2, methods="shop.v1.echo")]) as client:
        answers = [await client.post("/shop.v1/echo", {"text": "a"}) for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 429]
        assert answers[2].value["code"] == "RESOURCE_EXHAUSTED"
        assert 50 < answers[2].value["retry_after"] <= 100
        assert answers[2]["retry-after"] == str(math.ceil(answers[2].value["retry_after"]))
        assert answers[2].value["processed"] == "no"


async def test_too_many_calls_at_once_are_the_servers_load() -> None:
    shop = Shop()
    config = ServerConfig(protocols=("native", "http"))
    async with Server(shop, config=config, limits=[ConcurrencyLimit(1, methods="shop.v1.*")]) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with await HttpClient.to(address) as first, await HttpClient.to(address) as second:
            first.send(request("POST", "/shop.v1/wait", {}))
            await soon(shop.started)
            answer = await second.post("/shop.v1/echo", {"text": "a"})
            assert (answer.status, answer.value["code"]) == (503, "RESOURCE_EXHAUSTED")
            assert "retry-after" in answer


async def test_native_calls_are_unchanged_next_to_it() -> None:
    config = ServerConfig(protocols=("native", "http"))
    async with Server(Shop(), config=config, authenticate=StaticTokens(TOKENS)) as server:
        address = str(await server.listen("tcp://127.0.0.1:0"))
        async with Client(address, credentials="ada-token") as native:
            assert await native.call("shop.v1.who") == "ada"
