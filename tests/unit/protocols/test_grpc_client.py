"""The client's half of gRPC: names of servers, pings, the validity of tokens, questions for health."""

import base64
import json
import time
from typing import Any

import pytest

from fastrpc.config import Keepalive
from fastrpc.endpoint import Address
from fastrpc.protocols.base import client_protocol
from fastrpc.protocols.grpc_client import authority_of, ping_interval, validity


def token(claims: Any) -> bytes:
    """Return a JWT without a signature."""
    return b"e30." + base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=") + b".x"


def test_pings_follow_the_settings_of_the_client() -> None:
    assert ping_interval(Keepalive(interval=None)) == 0.0
    assert ping_interval(Keepalive()) == 300.0
    assert ping_interval(Keepalive(interval=20.0), 4) == 80.0


def test_a_jwt_states_its_expiry() -> None:
    seconds = validity(token({"exp": time.time() + 60}))
    assert seconds == pytest.approx(60, abs=10)
    assert validity(token({"exp": 1})) == 0


@pytest.mark.parametrize(
    "text", [b"opaque", b"a.b.c", token([]), token({}), token({"exp": "soon"}), token({"exp": None}), b".."]
)
def test_another_token_says_nothing(text: bytes) -> None:
    assert validity(text) == 0


@pytest.mark.parametrize(
    ("address", "authority"),
    [
        ("tcp://shop.test:80", "shop.test:80"),
        ("tls://[::1]:443", "[::1]:443"),
        ("tls://[fe80::1%eth0]:443", "[fe80::1]:443"),
        ("unix:///run/shop.sock", "localhost"),
        ("memory://shop", "localhost"),
    ],
)
def test_a_server_is_named_by_its_host(address: str, authority: str) -> None:
    assert authority_of(Address.parse(address)) == authority


def test_health_is_asked_in_messages_of_grpc() -> None:
    # Messages with the same one field as the messages of grpc.health.v1.
    from google.protobuf.wrappers_pb2 import Int32Value, StringValue

    check = client_protocol("grpc").traits.health
    assert check is not None
    for name in ("", "shop.v1.Orders", "x" * 200):
        assert StringValue.FromString(check.question(name)).value == name
    for status, verdict in ((0, "UNKNOWN"), (1, "SERVING"), (2, "NOT_SERVING"), (3, "SERVICE_UNKNOWN")):
        answer = Int32Value(value=status).SerializeToString()
        assert check.verdict(answer) == verdict
    assert check.verdict(b"\x08\x63") == "99"
