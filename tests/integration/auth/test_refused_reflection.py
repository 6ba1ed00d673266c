"""A caller without the right to reflection is no attacker: the audit log reports it once a minute, at INFO."""

import logging
from typing import Any

import pytest

from fastrpc import CallError, Server, ServerConfig
from tests.support.either_client import CLIENTS, connected
from tests.support.guarded import TOKENS, Shop
from tests.support.ways_in import WAYS, Asked

pytestmark = pytest.mark.one_loop

METHOD = "fastrpc.reflection.services"


def guarded() -> Server:
    config = ServerConfig(protocols=("native", "http", "rpcx", "grpc"))
    return Server(
        Shop, config=config, authenticate=TOKENS, authorize=lambda _, route: route.service == "shop"
    )


def told(caplog: pytest.LogCaptureFixture, method: str = METHOD) -> list[str]:
    audit = [one for one in caplog.records if one.name == "fastrpc.audit"]
    return [one.levelname for one in audit if getattr(one, "method", "") == method]


@pytest.mark.parametrize("token", [None, "token-of-bob"])
@pytest.mark.parametrize("kind", CLIENTS)
async def test_refused_reflection_of_either_client_is_told_once(
    kind: str, token: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "fastrpc.audit")
    async with guarded() as server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        options: dict[str, Any] = {} if token is None else {"credentials": token}
        for _ in range(3):
            async with connected(kind, target, **options) as client:
                for _ in range(3):
                    with pytest.raises(CallError):
                        await client.call(METHOD)
        assert told(caplog) == ["INFO"]
        async with connected(kind, target) as client:
            with pytest.raises(CallError):
                await client.call("shop.who")
            bad = client.with_options(metadata={"authorization": "Bearer wrong"})
            with pytest.raises(CallError):
                await bad.call(METHOD)
    assert told(caplog, "shop.who") == ["WARNING"]
    # A wrong token is a refused login, for every method.
    assert told(caplog) == ["INFO", "WARNING"]


@pytest.mark.parametrize("name", ["JSON", "rpcx", "gRPC"])
async def test_refused_reflection_by_other_protocols_is_reported_once(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "fastrpc.audit")
    async with guarded() as server:
        address = await server.listen("tcp://127.0.0.1:0")
        for _ in range(5):
            await WAYS[name].ask(Asked(address, None, "Bearer token-of-bob", METHOD, "unary"))
            await WAYS[name].ask(Asked(address, None, "Bearer token-of-bob", "shop.forbidden", "unary"))
    assert told(caplog) == ["INFO"]
    others = told(caplog, "shop.forbidden")
    assert set(others) == {"WARNING"}
    assert len(others) >= 5
