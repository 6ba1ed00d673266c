"""Signed tokens of an issuer, and their verifier."""

import base64
import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from fastrpc.auth import JWT
from fastrpc.auth.verdict import Answer, Refusal, Verdict
from fastrpc.endpoint import Address
from fastrpc.peers.peer import Peer
from tests.support.key_server import KeyServer

__all__ = [
    "OTHER",
    "PEM",
    "RSA",
    "SECRET",
    "answer",
    "base64url",
    "fetching",
    "key_set",
    "peer",
    "public_pem",
    "token",
    "verifier",
]

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SECRET = b"planted-5ecret-of-32-bytes-or-so"


def public_pem(key: Any) -> bytes:
    kind = serialization.PublicFormat.SubjectPublicKeyInfo
    return bytes(key.public_key().public_bytes(serialization.Encoding.PEM, kind))


PEM = public_pem(RSA)


def token(key: Any = RSA, algorithm: str = "RS256", headers: Any = None, **claims: Any) -> str:
    payload = {"iss": "login", "aud": "shop", "sub": "ada", "exp": time.time() + 600, **claims}
    payload = {name: value for name, value in payload.items() if value is not None}
    return jwt.encode(payload, key, algorithm, headers=headers)


def base64url(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def peer(credentials: str) -> Peer:
    return Peer(Address.parse("tcp://127.0.0.1:4000"), "bearer", credentials)


def verifier(keys: Any = PEM, **options: Any) -> JWT:
    return JWT(keys, **{"issuer": "login", "audience": "shop", "algorithms": ["RS256"], **options})


async def answer(verifier: JWT, credentials: str) -> Answer:
    found = verifier.verify(peer(credentials))
    return found if isinstance(found, Verdict | Refusal) else await found


def key_set(*keys: tuple[str, Any]) -> bytes:
    entries = []
    for id, key in keys:
        entry = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
        entries.append({**entry, "kid": id, "use": "sig", "alg": "RS256"})
    return json.dumps({"keys": entries}).encode()


def fetching(server: KeyServer) -> tuple[JWT, list[float]]:
    """Return a verifier by the server's keys, and its clock."""
    found = verifier(server.url)
    now = [1_000.0]
    assert found._set is not None
    found._set._clock = lambda: now[0]
    return found, now
