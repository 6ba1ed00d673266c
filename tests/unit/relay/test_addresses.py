"""The addresses of servers behind a relay, and the patterns of their names."""

import pytest

from fastrpc import Address, ConfigError
from fastrpc.auth import Policy
from fastrpc.endpoint import check_relay_name, is_encrypted, is_local, relayed_host
from fastrpc.patterns import RelayPattern
from fastrpc.protocols.grpc_client import authority_of
from fastrpc.registries.base.policy import AddressPolicy, AddressRefusedError
from fastrpc.relay.place import RelayPlace
from fastrpc.rpc.identity import Identity

EDGE = Address.parse("relay://relay.example:8443/edge-7")


def test_a_relayed_server_has_a_host_name_below_the_relay() -> None:
    assert relayed_host(EDGE) == "edge-7.relay.example"
    assert (
        relayed_host(Address.parse("relay://relay.example:8443/edge-7?ca_file=a")) == "edge-7.relay.example"
    )
    assert authority_of(EDGE) == "edge-7.relay.example:8443"


def test_a_relayed_server_is_encrypted_and_never_local() -> None:
    assert is_encrypted(EDGE)
    assert not is_local(Address.parse("relay://localhost:8443/edge-7"))


@pytest.mark.parametrize("name", ["a", "edge-7", "0", "a" * 63])
def test_a_label_of_a_host_name_is_a_name(name: str) -> None:
    check_relay_name(name)


@pytest.mark.parametrize("name", ["", "a" * 64, "-a", "a-", "A", "a.b", "a_b", "ä", "a b", "*"])
def test_other_texts_are_no_names(name: str) -> None:
    with pytest.raises(ConfigError):
        check_relay_name(name)


def test_the_options_of_a_server_are_not_part_of_its_address() -> None:
    place = RelayPlace(Address.parse("relay://relay.example:8443/edge-7?ca_file=/etc/relay.pem"))
    assert (place.name, str(place.relay), place.address) == ("edge-7", "tls://relay.example:8443", EDGE)
    assert place.tls.ca_file == "/etc/relay.pem"
    assert place.credentials is None


def test_a_registry_may_name_a_relayed_server() -> None:
    policy = AddressPolicy()
    policy.check(EDGE)
    for text in ("relay://relay.example:8443", "relay://relay.example:8443/a/b", f"{EDGE}?token_file=a"):
        with pytest.raises(AddressRefusedError):
            policy.check(Address.parse(text))
    with pytest.raises(AddressRefusedError):
        policy.check(Address.parse("relay://metadata.google.internal:80/a"))


@pytest.mark.parametrize(
    ("pattern", "fitting", "others"),
    [
        ("edge-7", ["edge-7"], ["edge-70", "edge-"]),
        ("edge-*", ["edge-7", "edge-"], ["edge", "hedge-7"]),
        ("*", ["edge-7", "shop"], []),
    ],
)
def test_patterns_fit_names(pattern: str, fitting: list[str], others: list[str]) -> None:
    found = RelayPattern(pattern)
    assert all(found.matches(name) for name in fitting)
    assert not any(found.matches(name) for name in others)


@pytest.mark.parametrize("text", ["", "*-7", "edge-*-a", "**", "Edge", "a.b", "a/*"])
def test_patterns_in_another_form_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        RelayPattern(text)


def test_a_policy_grants_names_by_its_rules() -> None:
    policy = Policy([{"who": ["edge"], "relay": ["edge-*", "shop"]}, {"who": ["*"], "relay": ["open"]}])
    texts = [pattern.text for pattern in policy.relay_patterns(Identity("edge"))]
    assert texts == ["edge-*", "shop", "open"]
    assert [pattern.text for pattern in policy.relay_patterns(Identity("eve"))] == ["open"]
    assert policy.relay_patterns(None) == ()
