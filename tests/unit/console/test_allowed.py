"""The admin addresses that a console reads where a registry names them."""

import pytest

from fastrpc import ConfigError
from fastrpc.console.allowed import AllowedServers, admin_address
from fastrpc.endpoint import Address
from fastrpc.registries.base.policy import AddressRefusedError


@pytest.mark.parametrize(
    ("patterns", "admin", "record", "reason"),
    [
        ([], "tls://10.0.0.7:9099", "tcp://10.0.0.7:1", "matches no pattern"),
        (["10.0.0.0/8"], "tls://11.0.0.7:9099", "tcp://10.0.0.7:1", "matches no pattern"),
        (["10.0.0.0/8"], "tcp://10.0.0.7:9099", "tcp://10.0.0.7:1", "neither encrypted nor"),
        (["*.shop.example"], "tls://evil.example:9099", "tcp://10.0.0.7:1", "matches no pattern"),
        (["*.shop.example"], "tls://a.shop.example.evil.example:1", "tcp://10.0.0.7:1", "matches no pattern"),
        (["*"], "tls://10.0.0.7:9099", "tcp://10.0.0.7:1", "matches no pattern"),
        (["*"], "tls://metadata.google.internal:443", "tcp://10.0.0.7:1", "metadata"),
        (["*"], "tls://0xa9fea9fe:443", "tcp://10.0.0.7:1", "is not a host name"),
        (["0.0.0.0/0"], "tls://169.254.169.254:443", "tcp://10.0.0.7:1", "reserved"),
        (["0.0.0.0/0", "::/0"], "tls://[::ffff:169.254.169.254]:443", "tcp://10.0.0.7:1", "reserved"),
        (["127.0.0.0/8"], "tcp://127.0.0.1:9099", "tcp://10.0.0.7:1", "its server is on another"),
        (["localhost"], "tcp://localhost:9099", "tcp://10.0.0.7:1", "its server is on another"),
        (["127.0.0.0/8"], "tcp://127.0.0.1:9190", "tcp://127.0.0.1:1", "is this console"),
        (
            ["127.0.0.1:9099"],
            "tcp://127.0.0.1:9098",
            "tcp://127.0.0.1:1",
            "127.0.0.1:9098 matches no pattern",
        ),
        (["localhost:9099"], "tcp://localhost:9098", "tcp://127.0.0.1:1", "matches no pattern"),
        (["[::1]:9099"], "tcp://[::1]:9098", "tcp://127.0.0.1:1", "matches no pattern"),
        (["127.0.0.0/8"], "unix:///run/admin", "tcp://127.0.0.1:1", "scheme 'unix' is not allowed"),
        (["127.0.0.0/8"], "tcp://127.0.0.1:9099/path", "tcp://127.0.0.1:1", "not host and port"),
    ],
)
def test_a_label_opens_nothing_that_servers_does_not_name(
    patterns: list[str], admin: str, record: str, reason: str
) -> None:
    allowed = AllowedServers(patterns or ["127.0.0.0/8"])
    allowed.own_ports = frozenset({9190})
    with pytest.raises(AddressRefusedError, match=reason):
        allowed.check(Address.parse(admin), [Address.parse(record)])


@pytest.mark.parametrize(
    ("pattern", "admin", "record"),
    [
        ("127.0.0.0/8", "tcp://127.0.0.1:9099", "tcp://127.0.0.1:1"),
        ("::1", "tcp://[::1]:9099", "unix:///run/shop"),
        ("localhost", "tcp://localhost:9099", "tcp://127.0.0.1:1"),
        ("127.0.0.1:9099", "tcp://127.0.0.1:9099", "tcp://127.0.0.1:1"),
        ("[::1]:9099", "tcp://[::1]:9099", "tcp://127.0.0.1:1"),
        ("10.0.0.0/8:9099", "tls://10.0.0.7:9099", "tcp://10.0.0.7:1"),
        ("*.shop.example:9099", "tls://a.shop.example:9099", "tcp://10.0.0.7:1"),
        ("10.0.0.0/8", "tls://10.0.0.7:9099", "tcp://10.0.0.7:1"),
        ("*.Shop.Example", "tls://a.shop.example:9099", "tcp://10.0.0.7:1"),
        ("*.shop.example", "tls://a.shop.example.:9099", "tcp://10.0.0.7:1"),
    ],
)
def test_an_address_that_matches_is_read(pattern: str, admin: str, record: str) -> None:
    AllowedServers([pattern]).check(Address.parse(admin), [Address.parse(record)])


def test_without_a_pattern_no_address_is_asked() -> None:
    with pytest.raises(
        AddressRefusedError, match=r"shown to tcp://127.0.0.1:9099 only if --servers names it"
    ):
        AllowedServers([]).check(Address.parse("tcp://127.0.0.1:9099"), [Address.parse("tcp://127.0.0.1:1")])


WRONG = [
    "10.0.0.0/33",
    "a b",
    "[a]",
    "http://a",
    "",
    "a/b",
    "10.*",
    "10.0.*.1",
    "*.7",
    "a:70000",
    "10.0.0.0/8:70000",
]


@pytest.mark.parametrize("pattern", WRONG)
def test_a_wrong_pattern_is_named(pattern: str) -> None:
    with pytest.raises(ConfigError, match="is not a pattern of servers"):
        AllowedServers([pattern])


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://127.0.0.1:9099/", "tcp://127.0.0.1:9099"),
        ("tcp://127.0.0.1:9099", "tcp://127.0.0.1:9099"),
        ("127.0.0.1:9099", "tcp://127.0.0.1:9099"),
        ("[::1]:9099", "tcp://[::1]:9099"),
        ("https://Shop:9099", "tls://shop:9099"),
        ("tls://shop:9099", "tls://shop:9099"),
    ],
)
def test_each_form_of_an_address_of_admin_pages_is_taken(text: str, address: str) -> None:
    assert str(admin_address(text)) == address


@pytest.mark.parametrize("wrong", ["unix:///run/a", "http://a:1/path", "memory://a"])
def test_other_addresses_are_refused_with_the_forms(wrong: str) -> None:
    with pytest.raises(ConfigError, match="is not an address of admin pages") as caught:
        admin_address(wrong)
    assert all(
        form in str(caught.value.hint) for form in ("http://", "https://", "tcp://", "tls://", " host:port")
    )
