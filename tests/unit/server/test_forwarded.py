"""The client of a request behind trusted proxies, and of those that only claim to have one."""

import pytest

from fastrpc.endpoint import Address
from fastrpc.peers.peer import Peer
from fastrpc.server.http.forwarded import TrustedProxies

TRUSTED = TrustedProxies(("10.0.0.0/8", "192.0.2.7/32", "fd00::/8", "unix"))

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
]

#: The lines of `X-Forwarded-For`, and the address that counts; None: that of the proxy.
CASES: list[tuple[list[str], str | None]] = [
    ([], None),
    ([""], None),
    (["1.2.3.4"], "tcp://1.2.3.4:0"),
    (["  1.2.3.4\t"], "tcp://1.2.3.4:0"),
    (["9.9.9.9, 1.2.3.4"], "tcp://1.2.3.4:0"),
    (["9.9.9.9,1.2.3.4"], "tcp://1.2.3.4:0"),
    (["9.9.9.9", "1.2.3.4"], "tcp://1.2.3.4:0"),
    (["9.9.9.9", "1.2.3.4, 10.0.0.2"], "tcp://1.2.3.4:0"),
    (["1.2.3.4, 10.0.0.2, 10.0.0.3"], "tcp://1.2.3.4:0"),
    (["1.2.3.4", "10.0.0.2", "192.0.2.7"], "tcp://1.2.3.4:0"),
    (["10.0.0.9"], "tcp://10.0.0.9:0"),
    (["10.0.0.8, 10.0.0.9"], "tcp://10.0.0.8:0"),
    (["unknown"], None),
    (["1.2.3.4, unknown"], None),
    (["1.2.3.4, unknown, 10.0.0.2"], "tcp://10.0.0.2:0"),
    (["1.2.3.4,"], None),
    (["1.2.3.4, , 10.0.0.2"], "tcp://10.0.0.2:0"),
    (["1.2.3.4 10.0.0.2"], None),
    (["1.2.3.4;10.0.0.2"], None),
    (["_hidden"], None),
    (["localhost"], None),
    (["1.2.3.4:80"], "tcp://1.2.3.4:80"),
    (["1.2.3.4:0"], "tcp://1.2.3.4:0"),
    (["1.2.3.4:"], None),
    (["1.2.3.4:x"], None),
    (["1.2.3.4:65536"], None),
    (["1.2.3.4:-1"], None),
    (["1.2.3.4:80:80"], None),
    (["9.9.9.9, 10.0.0.2:443"], "tcp://9.9.9.9:0"),
    (["[1.2.3.4]"], None),
    (["[1.2.3.4]:80"], None),
    (["2001:db8::7"], "tcp://[2001:db8::7]:0"),
    (["[2001:db8::7]"], "tcp://[2001:db8::7]:0"),
    (["[2001:db8::7]:443"], "tcp://[2001:db8::7]:443"),
    (["[2001:db8::7]:"], "tcp://[2001:db8::7]:0"),
    (["[2001:db8::7"], "tcp://[2001:db8::7]:0"),
    (["[2001:db8::7]443"], None),
    (["2001:DB8:0::7"], "tcp://[2001:db8::7]:0"),
    (["2001:db8::7, fd00::2"], "tcp://[2001:db8::7]:0"),
    (["fe80::1%eth0"], None),
    (["[fe80::1%eth0]"], None),
    (["::ffff:1.2.3.4"], "tcp://1.2.3.4:0"),
    (["9.9.9.9, ::ffff:10.0.0.2"], "tcp://9.9.9.9:0"),
    (["01.2.3.4"], None),
    (["1.2.3"], None),
    (["0x1.2.3.4"], None),
    (["16909060"], None),
    (["1.2.3.4/32"], None),
    (['"1.2.3.4"'], None),
    (["for=1.2.3.4"], None),
    (["\u0661.2.3.4"], None),
    (["1.2.3.4\x00"], None),
    (["9.9.9.9, " + "1" * 100], None),
    ([", ".join(["1.2.3.4", *["10.0.0.2"] * 9])], "tcp://1.2.3.4:0"),
    ([", ".join(["1.2.3.4", *["10.0.0.2"] * 10])], "tcp://10.0.0.2:0"),
    ([", ".join(["1.2.3.4", *["10.0.0.2"] * 11])], "tcp://10.0.0.2:0"),
    (["1.2.3.4", *["10.0.0.2"] * 10], "tcp://10.0.0.2:0"),
    (["1.2.3.4"] * 12, "tcp://1.2.3.4:0"),
    (["unix"], None),
    (["0.0.0.0"], "tcp://0.0.0.0:0"),
]  # fmt: skip


@pytest.mark.parametrize("proxy", PROXIES)
@pytest.mark.parametrize(("lines", "client"), CASES)
def test_the_first_address_from_the_right_that_is_not_trusted_is_the_client(
    lines: list[str], client: str | None, proxy: str
) -> None:
    known = Peer(Address.parse(proxy), certificate={"subject": ()}, protocol="http")
    found = TRUSTED(known, lines, [])
    assert found is not None
    assert found is not known
    assert str(found.address) == (client or str(known.address))
    assert (found.certificate, found.protocol) == (None, "http")


@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize(("lines", "client"), CASES)
def test_fields_of_others_are_not_read(lines: list[str], client: str | None, stranger: str) -> None:
    assert TRUSTED(Peer(Address.parse(stranger)), lines, ["https"]) is None


def test_there_are_60_sets_of_fields() -> None:
    assert len(CASES) == 60


@pytest.mark.parametrize(
    ("lines", "scheme"),
    [
        ([], "tcp"),
        (["https"], "tls"),
        (["http"], "tcp"),
        (["http, https"], "tls"),
        (["https", "http"], "tcp"),
        (["HTTPS"], "tcp"),
        (["ftp"], "tcp"),
        ([""], "tcp"),
    ],
)
def test_the_last_protocol_is_that_of_the_client(lines: list[str], scheme: str) -> None:
    found = TRUSTED(Peer(Address.parse("tcp://10.0.0.1:1")), ["1.2.3.4"], lines)
    assert found is not None
    assert found.address.scheme == scheme


def test_a_unix_socket_is_trusted_only_by_its_name() -> None:
    assert TrustedProxies(("10.0.0.0/8",))(Peer(Address.parse("unix:///run/a")), ["1.2.3.4"], []) is None
