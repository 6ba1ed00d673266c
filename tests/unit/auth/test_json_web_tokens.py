"""Signed tokens: their checks, and the life of the issuer's keys."""

import asyncio
import base64
import hmac
import json
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from fastrpc.auth import JWT
from fastrpc.auth.key_set import (
    KEEP_SECONDS,
    MOST_TRIED,
    RENEW_SECONDS,
    RETRY_SECONDS,
    UNKNOWN_LOOKS,
    UNKNOWN_SECONDS,
)
from fastrpc.auth.verdict import Refusal, Verdict
from fastrpc.config import TLS
from fastrpc.errors import ConfigError
from fastrpc.status import Status
from tests.support.certificates import Authority
from tests.support.key_server import KeyServer, key_server
from tests.support.signed_tokens import (
    OTHER,
    PEM,
    RSA,
    SECRET,
    answer,
    fetching,
    key_set,
    peer,
    public_pem,
    token,
    verifier,
)

#: Not numbers of seconds, or above the range of a float.
NO_INSTANTS: tuple[Any, ...] = (
    "1",
    "4102444800",
    "never",
    True,
    [1],
    {},
    float("nan"),
    float("inf"),
    10**309,
    -(10**309),
)


def test_a_signed_token_gives_name_roles_and_claims() -> None:
    expires = 4_102_444_800
    found = verifier().verify(peer(token(exp=expires, roles=["admin"], tenant="acme")))
    assert isinstance(found, Verdict)
    assert (found.identity.name, found.identity.roles) == ("ada", frozenset({"admin"}))
    assert found.identity.claims["tenant"] == "acme"
    assert found.valid_until == expires + 30


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (ec.generate_private_key(ec.SECP256R1()), "ES256"),
        (ed25519.Ed25519PrivateKey.generate(), "EdDSA"),
        (RSA, "PS256"),
    ],
)
def test_other_algorithms_are_accepted_if_named(key: Any, algorithm: str) -> None:
    assert isinstance(
        verifier(public_pem(key), algorithms=[algorithm]).verify(peer(token(key, algorithm))), Verdict
    )
    assert isinstance(verifier().verify(peer(token(key, algorithm))), Refusal)


def test_a_secret_is_accepted_for_hs_algorithms() -> None:
    for keys in (SECRET, SECRET.decode(), [SECRET]):
        found = verifier(keys, algorithms=["HS256"]).verify(peer(token(SECRET, "HS256")))
        assert isinstance(found, Verdict)


def test_names_and_roles_may_stand_in_other_claims() -> None:
    found = verifier(name_claim="email", roles_claim="scope", name_prefix="google:").verify(
        peer(token(email="ada@corp", scope="read write"))
    )
    assert isinstance(found, Verdict)
    assert (found.identity.name, found.identity.roles) == (
        "google:ada@corp",
        frozenset({"read", "write"}),
    )


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "other"},
        {"iss": None},
        {"aud": "bank"},
        {"aud": None},
        {"aud": []},
        {"exp": None},
        {"exp": 1},
        {"exp": "never"},
        {"nbf": 4_000_000_000},
        {"iat": 4_000_000_000},
        *({name: value} for name in ("exp", "nbf", "iat") for value in NO_INSTANTS),
        {"sub": None},
        {"sub": ""},
        {"sub": "role:admin"},
        {"sub": "anonymous"},
        {"sub": "*"},
        {"sub": "a*"},
        {"sub": "a\nb"},
        {"roles": {"admin": True}},
        {"roles": [7]},
        {"roles": [""]},
    ],
)
def test_a_claim_that_does_not_fit_refuses_the_token(claims: dict[str, Any]) -> None:
    for prefix in ("", "login:"):
        assert isinstance(verifier(name_prefix=prefix).verify(peer(token(**claims))), Refusal)


@pytest.mark.parametrize("claims", [{"exp": 1e308}, {"exp": 10**308}, {"nbf": -5}, {"iat": -1.5}])
def test_instants_far_away_are_accepted(claims: dict[str, Any]) -> None:
    assert isinstance(verifier().verify(peer(token(**claims))), Verdict)


def test_a_token_is_accepted_within_the_leeway() -> None:
    late = token(exp=time.time() - 10)
    assert isinstance(verifier().verify(peer(late)), Verdict)
    assert isinstance(verifier(leeway=0).verify(peer(late)), Refusal)


def unsigned(head: dict[str, Any], claims: dict[str, Any]) -> str:
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (head, claims)
    ]
    return ".".join([*parts, ""])


def test_algorithm_none_is_refused_in_every_spelling() -> None:
    claims = {"iss": "login", "aud": "shop", "sub": "ada", "exp": time.time() + 600}
    for name in ("none", "None", "NONE", "nOnE", "", None, 0, ["RS256"]):
        assert isinstance(verifier().verify(peer(unsigned({"alg": name}, claims))), Refusal)
        with pytest.raises(ConfigError):
            verifier(algorithms=[name])


def test_a_public_key_is_never_taken_for_a_secret() -> None:
    head = base64.urlsafe_b64encode(b'{"alg":"HS256"}').rstrip(b"=")
    body = token().split(".")[1].encode()
    mac = hmac.digest(PEM, head + b"." + body, "sha256")
    forged = (head + b"." + body + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()
    assert isinstance(verifier().verify(peer(forged)), Refusal)
    for keys in (PEM, PEM.decode(), [SECRET, PEM]):
        with pytest.raises(ConfigError, match="HS algorithms"):
            verifier(keys, algorithms=["HS256"])
    with pytest.raises(ConfigError, match="HS algorithms"):
        verifier("https://login/keys", algorithms=["HS256"])
    with pytest.raises(ConfigError, match="HS algorithms"):
        verifier(algorithms=["RS256", "HS256"])


@pytest.mark.parametrize("credentials", ["", ".", "..", "a.b.c", "ä.b.c", "x" * 9_000, "\ud800", "{}.{}.{}"])
def test_malformed_tokens_are_refused(credentials: str) -> None:
    assert isinstance(verifier().verify(peer(credentials)), Refusal)


def test_tampered_tokens_are_refused() -> None:
    head, body, mark = token().split(".")
    other = token(sub="root").split(".")[1]
    for forged in (f"{head}.{other}.{mark}", f"{head}.{body}.", f"{head}.{body}", token(OTHER)):
        assert isinstance(verifier().verify(peer(forged)), Refusal)


def test_headers_that_change_the_signed_text_are_refused() -> None:
    for extra in ({"crit": ["exp"]}, {"crit": ["b64"], "b64": False}):
        assert isinstance(verifier().verify(peer(token(headers=extra))), Refusal)


@pytest.mark.parametrize(
    "options",
    [
        {"algorithms": []},
        {"algorithms": "RS256"},
        {"algorithms": ["RS999"]},
        {"audience": []},
        {"audience": ""},
        {"issuer": ""},
        {"leeway": -1},
        {"leeway": True},
        {"keys": []},
        {"keys": "http://login.corp/keys"},
        {"keys": "ftp://login.corp/keys"},
        {"keys": "https://user:sesame@login.corp/keys"},
        {"keys": "https://login.corp:99999/keys"},
        {"keys": "https://login.corp:port/keys"},
        {"keys": "https://[::1/keys"},
        {"keys": b"-----BEGIN PUBLIC KEY-----\nplanted\n-----END PUBLIC KEY-----"},
        {"keys": b"short", "algorithms": ["HS256"]},
        {"keys": public_pem(ec.generate_private_key(ec.SECP256R1()))},
    ],
)
def test_arguments_that_are_not_safe_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        verifier(**options)
    assert "planted" not in str(caught.value)
    assert "sesame" not in str(caught.value)


def test_issuer_audience_and_algorithms_have_no_default() -> None:
    for left_out in ("issuer", "audience", "algorithms"):
        given = {"issuer": "login", "audience": "shop", "algorithms": ["RS256"]}
        del given[left_out]
        with pytest.raises(TypeError, match=left_out):
            JWT(PEM, **given)  # type: ignore[arg-type]


def test_no_secret_is_shown() -> None:
    found = verifier(SECRET, algorithms=["HS256"])
    assert "planted" not in repr(found)
    with pytest.raises(ConfigError) as caught:
        verifier(SECRET[:20], algorithms=["HS256"])
    assert "planted" not in str(caught.value)


# The keys of an issuer


@pytest.fixture
def server() -> Iterator[KeyServer]:
    with key_server() as state:
        yield state


async def test_keys_are_fetched_once_for_many_tokens(server: KeyServer) -> None:
    server.body = key_set(("one", RSA))
    found, _ = fetching(server)
    for _ in range(3):
        assert isinstance(await answer(found, token(headers={"kid": "one"})), Verdict)
    assert server.asked == ["/keys"]
    assert isinstance(await answer(found, token(OTHER, headers={"kid": "one"})), Refusal)


async def test_keys_are_fetched_from_whom_tls_trusts(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    shown = authority.certificate()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shown.cert_file, shown.key_file)
    trusted = TLS(ca_file=authority.cert_file)
    with key_server(context) as server:
        server.body = key_set(("one", RSA))
        good = token(headers={"kid": "one"})
        assert isinstance(await answer(verifier(server.url, tls=trusted), good), Verdict)
        refused = await answer(verifier(server.url), good)
        assert isinstance(refused, Refusal)
        assert refused.status is Status.UNAVAILABLE
    for keys in ("http://127.0.0.1/keys", PEM):
        with pytest.raises(ConfigError, match="tls is given, but keys is not an https URL"):
            verifier(keys, tls=trusted)


async def test_a_token_without_a_kid_is_tried_with_few_keys_of_a_set(server: KeyServer) -> None:
    found, _ = fetching(server)
    server.body = key_set(*((f"key-{number}", OTHER) for number in range(MOST_TRIED - 1)), ("one", RSA))
    assert isinstance(await answer(found, token()), Verdict)
    server.body = key_set(*((f"key-{number}", OTHER) for number in range(MOST_TRIED)), ("one", RSA))
    found, _ = fetching(server)
    refused = await answer(found, token())
    assert isinstance(refused, Refusal)
    assert "does not say by `kid` which of 9 keys" in refused.reason
    assert isinstance(await answer(found, token(headers={"kid": "one"})), Verdict)


async def test_a_fetch_that_fails_in_any_way_is_not_tried_for_each_token(
    server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def refuse(thread: threading.Thread) -> None:
        tries.append(thread)
        raise RuntimeError("can't start new thread")

    found, _ = fetching(server)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    for _ in range(3):
        refused = await answer(found, token(headers={"kid": "one"}))
        assert isinstance(refused, Refusal)
        assert refused.status is Status.UNAVAILABLE
    assert len(tries) == 1


def test_keys_so_long_that_they_cost_time_are_refused() -> None:
    # Of no known factors: only its size is looked at.
    numbers = rsa.RSAPublicNumbers(65537, (1 << 16383) + 1)
    long = numbers.public_key()
    pem = long.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(ConfigError, match="verifies none of RS256") as caught:
        verifier(pem)
    assert caught.value.hint == "RSA keys need 2048 to 8192 bits"


async def test_a_rotated_key_is_found(server: KeyServer) -> None:
    server.body = key_set(("one", RSA))
    found, now = fetching(server)
    assert isinstance(await answer(found, token(headers={"kid": "one"})), Verdict)
    server.body = key_set(("two", OTHER))
    rotated = token(OTHER, headers={"kid": "two"})
    # Within five seconds of a fetch an unknown key is unknown, for any number of tokens.
    now[0] += UNKNOWN_SECONDS
    for _ in range(3):
        refused = await answer(found, rotated)
        assert isinstance(refused, Refusal)
        assert refused.status is Status.UNAUTHENTICATED
    assert len(server.asked) == 1
    now[0] += 0.1
    assert isinstance(await answer(found, rotated), Verdict)
    assert isinstance(await answer(found, token(headers={"kid": "one"})), Refusal)
    assert len(server.asked) == 2


async def test_unknown_keys_are_looked_up_four_times_a_minute(server: KeyServer) -> None:
    server.body = key_set(("one", RSA))
    found, now = fetching(server)
    await answer(found, token(headers={"kid": "one"}))
    looked = []
    for second in range(1, 150):
        now[0] += 1
        before = len(server.asked)
        # Many at once share one look.
        tokens = [token(OTHER, headers={"kid": f"{second}-{number}"}) for number in range(3)]
        for refused in await asyncio.gather(*(answer(found, each) for each in tokens)):
            assert isinstance(refused, Refusal)
            assert refused.status is Status.UNAUTHENTICATED
        assert len(server.asked) - before <= 1
        looked += [second] * (len(server.asked) - before)
    assert looked == [6, 12, 18, 24, 66, 72, 78, 84, 126, 132, 138, 144]


async def test_an_unknown_key_is_unavailable_while_a_look_for_it_fails(server: KeyServer) -> None:
    server.body = key_set(("one", RSA))
    found, now = fetching(server)
    await answer(found, token(headers={"kid": "one"}))
    server.status = 503
    for second in range(1, 60):
        now[0] += 1
        refused = await answer(found, token(OTHER, headers={"kid": "two"}))
        assert isinstance(refused, Refusal)
        # The first look is at second 6.
        expected = Status.UNAUTHENTICATED if second < 6 else Status.UNAVAILABLE
        assert refused.status is expected, second
        assert isinstance(await answer(found, token(headers={"kid": "one"})), Verdict)
    assert len(server.asked) == 1 + UNKNOWN_LOOKS


async def test_keys_are_renewed_while_the_old_ones_serve(server: KeyServer) -> None:
    server.body = key_set(("one", RSA))
    found, now = fetching(server)
    await answer(found, token(headers={"kid": "one"}))
    now[0] += RENEW_SECONDS + 1
    assert isinstance(found.verify(peer(token(headers={"kid": "one"}))), Verdict)
    assert found._set is not None
    assert found._set._fetching is not None
    await found._set._fetching
    assert len(server.asked) == 2


async def test_keys_are_kept_for_a_day_while_the_endpoint_is_away(server: KeyServer) -> None:
    server.body = key_set(("one", RSA))
    found, now = fetching(server)
    good = token(headers={"kid": "one"})
    await answer(found, good)
    server.status = 503
    now[0] += KEEP_SECONDS - 1
    assert isinstance(await answer(found, good), Verdict)
    now[0] += 2 + RETRY_SECONDS
    refused = await answer(found, good)
    assert isinstance(refused, Refusal)
    assert refused.status is Status.UNAVAILABLE


async def test_an_unknown_key_is_unavailable_while_the_endpoint_is_away(server: KeyServer) -> None:
    server.status = 503
    found, now = fetching(server)
    for _ in range(3):
        refused = await answer(found, token(headers={"kid": "one"}))
        assert isinstance(refused, Refusal)
        assert refused.status is Status.UNAVAILABLE
    assert len(server.asked) == 1
    server.status, server.body = 200, key_set(("one", RSA))
    now[0] += RETRY_SECONDS + 1
    assert isinstance(await answer(found, token(headers={"kid": "one"})), Verdict)


@pytest.mark.parametrize(
    "fault", ["redirect", "endless", "no json", "nested", "no keys", "secret", "small", "many"]
)
async def test_a_faulty_endpoint_gives_no_keys(server: KeyServer, fault: str) -> None:
    small = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    bodies = {
        "no json": b"<html>",
        "nested": b"[" * 100_000,
        "no keys": b'{"keys": []}',
        "secret": json.dumps({"keys": [{"kty": "oct", "k": "AAAA", "kid": "one"}]}).encode(),
        "small": key_set(("one", small)),
        "many": key_set(*[("one", RSA)] * 101),
    }
    server.body = bodies.get(fault, key_set(("one", RSA)))
    if fault == "redirect":
        server.status, server.headers = 302, {"Location": server.url}
    server.is_endless = fault == "endless"
    found, _ = fetching(server)
    refused = await answer(found, token(headers={"kid": "one"}))
    assert isinstance(refused, Refusal)
    assert refused.status is Status.UNAVAILABLE
    assert len(server.asked) == 1
