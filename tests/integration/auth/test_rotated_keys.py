"""An issuer that rotates its keys: the first call with a new token finds the new key."""

import json
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from fastrpc import CallError, Server, ServerConfig, Status
from fastrpc.auth import JWT
from tests.support.either_client import CLIENTS, connected
from tests.support.guarded import Shop
from tests.support.key_server import KeyServer, key_server
from tests.support.ways_in import WAYS, Asked

pytestmark = pytest.mark.one_loop

OLD, NEW = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))


def key_set(id: str, key: Any) -> bytes:
    entry = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
    return json.dumps({"keys": [{**entry, "kid": id}]}).encode()


def token(id: str, key: Any) -> str:
    claims = {"iss": "login", "aud": "shop", "sub": "ada", "exp": time.time() + 600}
    return jwt.encode(claims, key, "RS256", headers={"kid": id})


@pytest.fixture
def issuer() -> Iterator[KeyServer]:
    with key_server() as found:
        found.body = key_set("old", OLD)
        yield found


def guarded(issuer: KeyServer) -> tuple[Server, list[float]]:
    """Return a server, and the clock of its keys."""
    verifier = JWT(issuer.url, issuer="login", audience="shop", algorithms=["RS256"])
    now = [1_000.0]
    assert verifier._set is not None
    verifier._set._clock = lambda: now[0]
    config = ServerConfig(protocols=("native", "http", "rpcx", "grpc"))
    return Server(Shop, config=config, authenticate=verifier), now


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_client_with_a_new_token_is_known_within_seconds(issuer: KeyServer, kind: str) -> None:
    server, now = guarded(issuer)
    async with server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        async with connected(kind, target, credentials=token("old", OLD)) as client:
            assert await client.call(Shop.who) == "ada"
            issuer.body = key_set("new", NEW)
            rotated = client.with_options(metadata={"authorization": f"Bearer {token('new', NEW)}"})
            with pytest.raises(CallError) as refused:
                await rotated.call(Shop.who)
            assert refused.value.status is Status.UNAUTHENTICATED
            now[0] += 5.1
            assert await rotated.call(Shop.who) == "ada"
    assert len(issuer.asked) == 2


@pytest.mark.parametrize("name", ["JSON", "rpcx", "gRPC"])
async def test_a_request_with_a_new_token_is_known_within_seconds(issuer: KeyServer, name: str) -> None:
    server, now = guarded(issuer)
    async with server:
        address = await server.listen("tcp://127.0.0.1:0")

        async def asked(shown: str) -> Status | None:
            return await WAYS[name].ask(Asked(address, None, f"Bearer {shown}", "shop.who", "unary"))

        assert await asked(token("old", OLD)) is Status.OK
        issuer.body = key_set("new", NEW)
        assert await asked(token("new", NEW)) is Status.UNAUTHENTICATED
        now[0] += 5.1
        assert await asked(token("new", NEW)) is Status.OK
    assert len(issuer.asked) == 2
