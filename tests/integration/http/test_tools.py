"""`POST /mcp`: tools are listed and called as their callers may, and calls go before the gate like any other."""

import json
from typing import Any

import aiohttp
import pytest

import fastrpc
from fastrpc import ConfigError, Server, ServerConfig
from fastrpc.auth import Identity, Policy, StaticTokens
from fastrpc.config import HTTP
from fastrpc.limits import RateLimit
from tests.support.described import described, session

pytestmark = pytest.mark.one_loop

MODERN = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
}


class Asking:
    """Sends messages to a server."""

    def __init__(self, client: aiohttp.ClientSession, origin: str, token: str | None = None) -> None:
        self._client = client
        self._url = f"{origin}/mcp"
        self._fields = {} if token is None else {"Authorization": f"Bearer {token}"}

    async def ask(self, method: str, *, is_modern: bool = True, **params: Any) -> tuple[int, Any]:
        """Return the status and the message of the answer."""
        fields = dict(self._fields)
        if is_modern:
            params["_meta"] = META
            fields |= {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
            if "name" in params:
                fields["Mcp-Name"] = params["name"]
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        async with self._client.post(self._url, json=body, headers=fields) as answer:
            content = await answer.read()
            return answer.status, json.loads(content) if content else None

    async def call(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Return the result of a tool."""
        status, message = await self.ask("tools/call", name=name, arguments=arguments)
        assert status == 200
        found: dict[str, Any] = message["result"]
        return found

    async def names(self) -> list[str]:
        """Return the names of the tools."""
        _, message = await self.ask("tools/list")
        return [tool["name"] for tool in message["result"]["tools"]]


async def test_tools_are_listed_and_called() -> None:
    async with described() as serving, session() as client:
        asking = Asking(client, serving.origin)
        assert await asking.names() == ["arith_mul", "arith_product", "arith_fail"]
        assert (await asking.call("arith_mul", a=6, b=7))["structuredContent"] == 42
        product = await asking.call("arith_product", factors=[2, 3])
        assert product["structuredContent"] == {"value": 6, "factors": [2, 3]}
        assert json.loads(product["content"][0]["text"]) == product["structuredContent"]


async def test_errors_of_handlers_and_wrong_arguments_are_results_that_models_read() -> None:
    async with described() as serving, session() as client:
        asking = Asking(client, serving.origin)
        failed = await asking.call("arith_fail", text="no such thing")
        assert (failed["isError"], failed["content"][0]["text"]) == (True, "no such thing")
        for arguments in ({"a": "x"}, {}, {"a": 1, "c": 2}):
            wrong = await asking.call("arith_mul", **arguments)
            assert wrong["isError"] is True
            assert "arith.mul" in wrong["content"][0]["text"]


async def test_a_body_with_a_key_twice_is_refused() -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"arith_mul","arguments":{"a":1,"a":2}}}'
    async with described() as serving, session() as client:
        fields = {"Content-Type": "application/json"}
        async with client.post(f"{serving.origin}/mcp", data=body, headers=fields) as answer:
            assert answer.status == 400
            assert "twice" in (await answer.json())["error"]["message"]


@pytest.mark.parametrize(
    ("verb", "fields", "status"),
    [
        ("GET", {}, 405),
        ("DELETE", {}, 405),
        ("POST", {"Content-Type": "text/plain"}, 415),
        ("POST", {"Content-Type": "application/json", "Origin": "https://evil.example"}, 403),
        ("POST", {"Content-Type": "application/json", "Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
async def test_requests_of_foreign_pages_are_refused(verb: str, fields: dict[str, str], status: int) -> None:
    async with described() as serving, session() as client:
        async with client.request(verb, f"{serving.origin}/mcp", data=b"{}", headers=fields) as answer:
            assert answer.status == status


async def test_callers_see_and_call_the_tools_that_they_may_call() -> None:
    tokens = StaticTokens({"all": Identity("ada"), "one": Identity("bob")})
    policy = Policy(
        [{"who": ["ada"], "allow": ["**"]}, {"who": ["bob", "anonymous"], "allow": ["arith.mul"]}]
    )
    async with described(authenticate=tokens, authorize=policy) as serving, session() as client:
        ada, bob = (Asking(client, serving.origin, token) for token in ("all", "one"))
        nobody, wrong = Asking(client, serving.origin), Asking(client, serving.origin, "wrong")
        assert await ada.names() == ["arith_mul", "arith_product", "arith_fail"]
        assert await bob.names() == await nobody.names() == ["arith_mul"]
        assert (await bob.call("arith_mul", a=1))["structuredContent"] == 2
        status, message = await bob.ask("tools/call", name="arith_fail")
        _, unknown = await bob.ask("tools/call", name="arith_none")
        assert (status, message["error"]["code"]) == (200, -32602)
        assert message["error"]["message"] == unknown["error"]["message"].replace("none", "fail")
        # A token might help a caller without one.
        for name in ("arith_fail", "arith_none"):
            assert (await nobody.ask("tools/call", name=name))[0] == 401
        assert (await wrong.ask("tools/list"))[0] == 401


async def test_a_caller_without_a_token_is_asked_for_one() -> None:
    @fastrpc.service("hidden")
    class Hidden:
        @fastrpc.method(tool=True)
        async def f(self) -> None: ...

    config = ServerConfig(protocols=("native", "http"), http=HTTP(mcp=True))
    tokens = StaticTokens({"all": Identity("ada")})
    async with Server(Hidden(), config=config, authenticate=tokens) as server, session() as client:
        address = await server.listen("tcp://127.0.0.1:0")
        origin = f"http://127.0.0.1:{address.port}"
        assert (await Asking(client, origin).ask("tools/list"))[0] == 401
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "hidden_f"}}
        async with client.post(f"{origin}/mcp", json=body) as answer:
            assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert await Asking(client, origin, "all").names() == ["hidden_f"]


async def test_limits_hold_for_tools() -> None:
    limit = RateLimit(0.001, 1, methods="arith.mul")
    async with described(limits=[limit]) as serving, session() as client:
        asking = Asking(client, serving.origin)
        assert (await asking.call("arith_mul", a=1))["isError"] is False
        status, message = await asking.ask("tools/call", name="arith_mul", arguments={"a": 1})
        assert (status, message["error"]["code"]) == (200, -32001)
        assert message["error"]["data"]["code"] == "RESOURCE_EXHAUSTED"
        assert message["error"]["data"]["processed"] == "no"


async def test_without_the_setting_there_are_no_tools() -> None:
    async with described(http=HTTP()) as serving, session() as client:
        assert (await Asking(client, serving.origin).ask("tools/list"))[0] == 404


async def test_two_methods_of_one_tool_are_refused_at_the_start_and_later() -> None:
    @fastrpc.service("arith_mul")
    class Clash:
        @fastrpc.method("x", tool=True)
        async def f(self) -> None: ...

    @fastrpc.service("arith")
    class First:
        @fastrpc.method("mul_x", tool=True)
        async def f(self) -> None: ...

    config = ServerConfig(protocols=("native", "http"), http=HTTP(mcp=True))
    with pytest.raises(ConfigError, match="are one tool, 'arith_mul_x'"):
        await Server(First, Clash, config=config).start()
    async with Server(First, config=config) as server:
        with pytest.raises(ConfigError, match="are one tool, 'arith_mul_x'"):
            server.add(Clash())
        assert [one.name for one in server.services] == ["arith"]
