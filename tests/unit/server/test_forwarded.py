"""The client of a request through trusted proxies, and of requests that only claim to have a proxy."""

import pytest

from fastrpc.endpoint import Address
from fastrpc.peers.peer import Peer
from fastrpc.server.http.forwarded import TrustedProxies
from tests.support.forwarded_fields import FORWARDED_FOR, TRUSTED

PROXIES_AND_UNIX = TrustedProxies(TRUSTED)
PROXIES_ALONE = TrustedProxies([text for text in TRUSTED if text != "unix"])

PROXIES = [
    "tcp://10.0.0.1:5000",
    "tls://10.0.0.1:5000",
    "tcp://[fd00::1]:5000",
    "tcp://[::ffff:10.0.0.1]:5000",
    "unix:///run/a",
]
STRANGERS = [
    "tcp://11.0.0.1:5000",
    "tcp://[2001:db8::1]:5000",
    "tcp://[::ffff:11.0.0.1]:5000",
    "tls://192.0.2.8:1",
    "memory://a",
    "unix:///run/a",
]


@pytest.mark.parametrize("proxy", PROXIES)
@pytest.mark.parametrize(("lines", "client"), FORWARDED_FOR)
def test_the_first_address_from_the_right_that_is_not_trusted_is_the_client(
    lines: list[str], client: str | None, proxy: str
) -> None:
    known = Peer(Address.parse(proxy), certificate={"subject": ()}, protocol="http")
    found = PROXIES_AND_UNIX(known, lines, [])
    assert found is not None
    assert found is not known
    named = client and (client.replace("tcp", "tls") if proxy.startswith("tls") else client)
    assert str(found.address) == (named or str(known.address))
    assert (found.certificate, found.protocol) == (None, "http")


@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize(("lines", "client"), FORWARDED_FOR)
def test_fields_of_strangers_are_not_read(lines: list[str], client: str | None, stranger: str) -> None:
    # Peers by unix sockets are trusted by that name alone.
    proxies = PROXIES_ALONE if stranger.startswith("unix") else PROXIES_AND_UNIX
    assert proxies(Peer(Address.parse(stranger)), lines, ["https"]) is None


def test_there_are_60_sets_of_fields() -> None:
    assert len(FORWARDED_FOR) == 60


@pytest.mark.parametrize("proxy", PROXIES)
@pytest.mark.parametrize("client", ["1.2.3.4", None])
@pytest.mark.parametrize(
    ("lines", "scheme"),
    [
        ([], None),
        (["https"], "tls"),
        (["http"], "tcp"),
        (["http, https"], "tls"),
        (["https", "http"], "tcp"),
        (["HTTPS"], None),
        (["ftp"], None),
        (["https, ftp"], None),
        ([""], None),
    ],
)
def test_the_last_protocol_is_stated_for_the_client_and_else_taken_from_the_connection(
    lines: list[str], scheme: str | None, client: str | None, proxy: str
) -> None:
    known = Address.parse(proxy)
    found = PROXIES_AND_UNIX(Peer(known), [client] if client else [], lines)
    assert found is not None
    if client is not None:
        own = known.scheme if known.host else "tcp"
        assert str(found.address) == f"{scheme or own}://{client}:0"
    elif known.host:
        assert str(found.address) == proxy.replace(known.scheme, scheme or known.scheme)
    else:
        assert str(found.address) == proxy


@pytest.mark.parametrize("protocol", ["http", "https"])
def test_a_protocol_alone_names_no_client(protocol: str) -> None:
    judged: list[bool] = []
    proxies = TrustedProxies(TRUSTED, lambda _, is_unknown: judged.append(is_unknown))
    for lines in ([], ["unknown"], ["10.0.0.1:1"]):
        proxies.client_of(Peer(Address.parse("tcp://10.0.0.1:1")), lines, [protocol])
    assert judged == [False, True, False]
