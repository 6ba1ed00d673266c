"""The protocol of a connection, by the settings and by the record of its endpoint."""

from typing import Any

import pytest

from fastrpc import ClientConfig, Endpoint, Timeouts
from fastrpc._core.wire.settings import usual_settings
from fastrpc.client.wire import carries_streams, protocol_of, wire_of
from fastrpc.protocols import native_client, rpcx_client
from fastrpc.protocols.base import ClientParts, client_engine, client_protocol


@pytest.mark.parametrize(
    ("wire", "address", "leaves_early"),
    [
        ("native", "tcp://127.0.0.1:1", True),
        # Each write would be a TLS record of its own.
        ("native", "tls://127.0.0.1:1", False),
        ("rpcx", "tls://127.0.0.1:1", True),
    ],
)
def test_requests_over_tls_are_sent_in_one_write(
    wire: str, address: str, leaves_early: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []

    def connection(parts: ClientParts, early_bytes: int, **options: Any) -> None:
        given.append(early_bytes)

    for module in (native_client, rpcx_client):
        monkeypatch.setattr(module, "native_connection", connection)
    parts = ClientParts(
        protocol=client_protocol(wire),
        endpoint=Endpoint(address),
        config=ClientConfig(),
        timeouts=Timeouts(),
        settings=usual_settings(False),
    )
    client_engine(parts)
    assert [number > 0 for number in given] == [leaves_early]


@pytest.mark.parametrize(
    ("listed", "name", "has_streams"),
    [
        ((), "native", True),
        (("rpcx",), "rpcx", False),
        (("phobos", "rpcx"), "rpcx", False),
        (("rpcx", "native"), "native", True),
        (("http", "unheard-of"), "native", True),
    ],
)
def test_a_record_names_the_protocol(listed: tuple[str, ...], name: str, has_streams: bool) -> None:
    endpoint = Endpoint("tcp://here:1", protocols=listed)
    assert wire_of(endpoint, ClientConfig()) == name
    assert protocol_of(endpoint, ClientConfig()) is client_protocol(name)
    assert carries_streams(endpoint, ClientConfig()) is has_streams
    assert wire_of(endpoint, ClientConfig(wire_protocol="phobos")) == "phobos"
