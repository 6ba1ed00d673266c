"""Tokens and keys that misled other verifiers."""

import hmac
import json
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from fastrpc.auth.verdict import Refusal, Verdict
from tests.support.key_server import KeyServer, key_server
from tests.support.signed_tokens import (
    OTHER,
    PEM,
    RSA,
    SECRET,
    answer,
    base64url,
    fetching,
    key_set,
    peer,
    token,
    verifier,
)


@pytest.fixture
def server() -> Iterator[KeyServer]:
    with key_server() as state:
        yield state


@pytest.mark.parametrize(
    "nest",
    [lambda key: key, lambda key: [key], lambda key: {"keys": [key]}, lambda key: {"a": {"b": [key]}}],
    ids=["key", "list", "set", "deep"],
)
def test_a_public_key_in_json_is_never_taken_for_a_secret(nest: Callable[[Any], Any]) -> None:
    """The library recognizes nested ones since 2.14."""
    public = json.dumps(nest(json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(RSA.public_key())))).encode()
    head = base64url(b'{"alg":"HS256"}')
    signed = f"{head}.{token().split('.')[1]}"
    mac = hmac.digest(public, signed.encode(), "sha256")
    forged = peer(f"{signed}.{base64url(mac)}")
    assert isinstance(verifier(public, algorithms=["HS256"]).verify(forged), Refusal)


@pytest.mark.parametrize("critical", [["x"], ["exp"], [], ["b64"], "x", None, {}, 5, [1], [["x"]]])
@pytest.mark.parametrize("algorithm", ["RS256", "HS256"])
def test_a_critical_header_of_any_shape_refuses_the_token(critical: Any, algorithm: str) -> None:
    """The library writes no such header, and read past it below 2.12."""
    key: Any = RSA if algorithm == "RS256" else SECRET
    head = base64url(json.dumps({"alg": algorithm, "typ": "JWT", "crit": critical, "x": 1}).encode())
    signed = f"{head}.{token(key, algorithm).split('.')[1]}"
    sign = jwt.algorithms.get_default_algorithms()[algorithm].sign
    forged = f"{signed}.{base64url(sign(signed.encode(), key))}"
    keys = PEM if algorithm == "RS256" else SECRET
    assert isinstance(verifier(keys, algorithms=[algorithm]).verify(peer(forged)), Refusal)


def spoilt(field: str, *values: Any) -> list[dict[str, Any]]:
    return [{field: value} for value in values]


#: What replaces fields of an RSA key in a set; None leaves one out.
MALFORMED: list[dict[str, Any]] = [
    *spoilt("n", "", "AA", "AQ", "!", "\ud800", "A" * 100_000, 5, None, [], {}),
    *spoilt("e", "", "AA", "AQ", "Ag", "!", "A" * 100_000, 5, None, []),
    *spoilt("d", "AQ", "!", "", 5),
    {"d": "AQ", "p": "AQ", "q": "AQ", "dp": "AQ", "dq": "AQ", "qi": "AQ"},
    {"d": "AQ", "oth": []},
    *spoilt("kty", 5, "EC"),
    {"kty": "OKP", "crv": "Ed25519", "x": "AQ"},
    *spoilt("alg", 5, "RS999"),
    {"kid": [1]},
]


@pytest.mark.parametrize("fields", MALFORMED, ids=lambda fields: json.dumps(fields)[:40])
async def test_a_malformed_key_leaves_the_other_keys_of_its_set_usable(
    server: KeyServer, fields: dict[str, Any]
) -> None:
    content = json.loads(key_set(("bad", OTHER), ("one", RSA)))
    bad = content["keys"][0] | fields
    content["keys"][0] = {name: value for name, value in bad.items() if value is not None}
    server.body = json.dumps(content).encode()
    found, _ = fetching(server)
    assert isinstance(await answer(found, token(headers={"kid": "one"})), Verdict)
    assert isinstance(await answer(found, token(RSA, headers={"kid": "bad"})), Refusal)
    # Alone it makes no set, and the issuer counts as away.
    server.body = json.dumps({"keys": content["keys"][:1]}).encode()
    found, _ = fetching(server)
    assert isinstance(await answer(found, token(RSA, headers={"kid": "bad"})), Refusal)


async def test_a_private_key_in_a_set_verifies_nothing(server: KeyServer) -> None:
    """Not even next to the public part of another key."""
    ours, other = ed25519.Ed25519PrivateKey.generate(), ed25519.Ed25519PrivateKey.generate()
    write = jwt.algorithms.OKPAlgorithm.to_jwk
    private, public = json.loads(write(ours)), json.loads(write(other.public_key()))
    for entry in (private, private | {"x": public["x"]}, public | {"d": private["d"]}):
        server.body = json.dumps({"keys": [entry | {"kid": "one"}]}).encode()
        found = verifier(server.url, algorithms=["EdDSA"])
        for key in (ours, other):
            shown = token(key, "EdDSA", headers={"kid": "one"})
            assert isinstance(await answer(found, shown), Refusal)
