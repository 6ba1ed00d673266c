"""Addresses and names at a relay in odd forms: each is refused with the way out, at a server, a client and a relay."""

import pytest

from fastrpc import TLS, Address, Client, ConfigError, Server, ServerConfig, SyncClient
from fastrpc.endpoint import check_relay_name
from fastrpc.relay.place import RelayPlace
from fastrpc.relay.service import RelayService

OPTIONS = [
    ("?a?b=c", "its options have a further [?]"),
    ("?ca_file=a?token_file=b", "its options have a further [?]"),
    ("??ca_file=a", "its options have a further [?]"),
    ("?ca_file=a#b", "its options have a further #"),
    ("?#", "its options have a further #"),
    ("?ca_file", "the option ca_file is empty"),
    ("?ca_file=", "the option ca_file is empty"),
    ("?ca_file=a&ca_file=a", "the option ca_file is given twice"),
    ("?=a", "has no option ''"),
    ("?CA_FILE=a", "has no option 'CA_FILE'"),
    ("?token=s3cret", "has no option 'token'"),
]


@pytest.mark.parametrize(("options", "reason"), OPTIONS)
def test_odd_options_of_a_server_are_refused(options: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as refused:
        RelayPlace(Address.parse(f"relay://relay.example:8443/edge-7{options}"))
    assert refused.value.hint
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("options", ["", "?"])
def test_empty_options_are_no_options(options: str) -> None:
    place = RelayPlace(Address.parse(f"relay://relay.example:8443/edge-7{options}"))
    assert str(place.address) == "relay://relay.example:8443/edge-7"


def test_marks_in_a_path_are_escaped() -> None:
    place = RelayPlace(Address.parse("relay://relay.example:8443/edge-7?ca_file=/a%3Fb%23c%26d.pem"))
    assert place.tls.ca_file == "/a?b#c&d.pem"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("EDGE-7", "edge-7"),
        ("edge_7", "edge-7"),
        ("Edge_Seven", "edge-seven"),
        ("käse", "xn--kse-qla"),
        ("例え", "xn--r8jz45g"),
        ("-edge", None),
        ("edge-", None),
        ("a" * 64, None),
        ("ä" * 60, None),
        ("edge.7", None),
        ("edge 7", None),
        ("edge#7", None),
        ("edge%2D7", None),
        ("edge/7", None),
        ("/edge-7", None),
        ("edge-7/", None),
        ("\u200bedge", "edge"),
        ("*", None),
        ("..", None),
    ],
)
def test_an_odd_name_is_refused_with_the_form_that_it_has_to_have(name: str, wanted: str | None) -> None:
    with pytest.raises(ConfigError, match="is not a name for a relay") as refused:
        check_relay_name(name)
    hint = refused.value.hint or ""
    assert "1 to 63 of a-z, 0-9 and -" in hint
    assert (f"; here {wanted}" in hint) if wanted else "here" not in hint
    if wanted is not None:
        check_relay_name(wanted)
    place = f"relay://relay.example:8443/{name}"
    for client in (Client, SyncClient):
        with pytest.raises(ConfigError, match="is not a name for a relay"):
            client(place)


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("127.0.0.1", "is an IP address of a relay"),
        ("[::1]", "is an IP address of a relay"),
        ("relay.example.", "is not a host name of a relay"),
        ("relay..example", "is not a host name of a relay"),
        ("", "is not a host name of a relay"),
        ("-relay.example", "is not a host name of a relay"),
        ("a" * 64, "is not a host name of a relay"),
        (".".join(["a" * 60] * 4), "is not a host name of a relay"),
        ("käse.example", "is not a host name of a relay"),
        ("re lay", "is not a host name of a relay"),
    ],
)
async def test_an_odd_host_is_refused_at_a_server_a_client_and_a_relay(host: str, reason: str) -> None:
    place = f"relay://{host}:8443/edge-7"
    for client in (Client, SyncClient):
        with pytest.raises(ConfigError, match=reason):
            client(place)
    async with Server(config=ServerConfig(tls=TLS(cert_file="a.pem"))) as server:
        with pytest.raises(ConfigError, match=reason):
            await server.listen(place)
    with pytest.raises(ConfigError, match=reason) as refused:
        RelayService(host.strip("[]"))
    assert ("xn--kse-qla.example" in (refused.value.hint or "")) == ("ä" in host)


def test_a_host_of_other_case_is_one_name() -> None:
    assert RelayService("Relay.Example").front.name == "relay.example"
    assert (
        str(RelayPlace(Address.parse("relay://Relay.Example:8443/edge-7")).relay)
        == "tls://relay.example:8443"
    )


@pytest.mark.parametrize("options", ["?ca_file=ca.pem", "?token=s3cret", "?", "?a#b"])
def test_options_are_refused_at_a_client_without_showing_them(options: str) -> None:
    for client in (Client, SyncClient):
        with pytest.raises(ConfigError, match="has options, which are for the server") as refused:
            client(f"relay://relay.example:8443/edge-7{options}")
        assert "--ca and --token-file" in (refused.value.hint or "")
        assert options.lstrip("?") not in str(refused.value).partition("(")[0] or options == "?"
