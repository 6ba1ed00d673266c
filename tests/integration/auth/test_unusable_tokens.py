"""Signed tokens with claims that cannot be used: UNAUTHENTICATED by every protocol, never INTERNAL."""

import logging
import time
from typing import Any

import jwt
import pytest

from fastrpc import HTTP, CallError, Server, ServerConfig, Status
from fastrpc.auth import JWT
from fastrpc.handlers.auth import failed_logins
from tests.support.either_client import CLIENTS, connected
from tests.support.guarded import Shop
from tests.support.ways_in import WAYS, Asked

pytestmark = pytest.mark.one_loop

SECRET = b"planted-5ecret-of-32-bytes-or-so"


def token(**claims: Any) -> str:
    known = {"iss": "login", "aud": "shop", "sub": "ada", "exp": time.time() + 600}
    return jwt.encode({**known, **claims}, SECRET, "HS256")


CLAIMS = {
    "exp": 10**309,
    "nbf": 10**400,
    "iat": float("nan"),
}


def guarded() -> Server:
    verifier = JWT(SECRET, issuer="login", audience="shop", algorithms=["HS256"])
    http = HTTP(jsonrpc=True, websocket=True, mcp=True, rpcx=True, phobos=True, grpc_web=True, connect=True)
    config = ServerConfig(protocols=("native", "http", "rpcx", "phobos", "grpc"), http=http)
    return Server(Shop, config=config, authenticate=verifier)


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("name", WAYS)
async def test_an_invalid_instant_is_no_login_by_any_protocol(
    name: str, claim: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failed_logins, "PAUSE_SECONDS", 0.0)
    bad, far = token(**{claim: CLAIMS[claim]}), token(exp=1e308)
    method, kind = ("shop.both", "both_ways") if WAYS[name].form == "lines" else ("shop.who", "unary")
    async with guarded() as server:
        address = await server.listen("tcp://127.0.0.1:0")
        asked = Asked(address, None, f"Bearer {bad}", method, kind)
        assert await WAYS[name].ask(asked) in {Status.UNAUTHENTICATED, None}
        asked = Asked(address, None, f"Bearer {far}", method, kind)
        assert await WAYS[name].ask(asked) in {Status.OK, None}
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR]


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("kind", CLIENTS)
async def test_an_invalid_instant_is_no_login_of_either_client(
    kind: str, claim: str, caplog: pytest.LogCaptureFixture
) -> None:
    bad, far = token(**{claim: CLAIMS[claim]}), token(exp=1e308)
    async with guarded() as server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        async with connected(kind, target, credentials=far) as client:
            assert await client.call(Shop.who) == "ada"
            per_call = client.with_options(metadata={"authorization": f"Bearer {bad}"})
            with pytest.raises(CallError) as refused:
                await per_call.call(Shop.who)
    assert refused.value.status is Status.UNAUTHENTICATED
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR]
