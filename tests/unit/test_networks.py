"""Networks of IP addresses: which of them has an address, and how long it is."""

import pytest

from fastrpc.networks import Networks, authority, network_name, packed_address, place_name

KNOWN = Networks(
    [
        *("10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "192.0.2.0/24"),
        *("2001:db8::/32", "2001:db8:1::/48", "::1/128", "::ffff:198.51.100.0/120"),
    ]
)


@pytest.mark.parametrize(
    ("host", "length"),
    [
        *(("10.0.0.0", 8), ("10.255.255.255", 8), ("9.255.255.255", -1), ("11.0.0.0", -1)),
        *(("10.1.0.1", 16), ("10.1.2.3", 32), ("10.1.2.4", 16), ("192.0.2.255", 24), ("192.0.3.0", -1)),
        *(("::ffff:10.1.2.3", 32), ("::ffff:11.0.0.1", -1), ("198.51.100.7", 24), ("::ffff:c633:6407", 24)),
        *(("2001:db8::", 32), ("2001:db8:1::7", 48), ("2001:db9::", -1), ("::1", 128), ("::1%lo", 128)),
        *(("::2", -1), ("fe80::1%eth0", -1), ("::10.0.0.1", -1)),
    ],
)
def test_longest_network_is_found(host: str, length: int) -> None:
    assert KNOWN.longest(packed_address(host)) == length


@pytest.mark.parametrize(
    ("texts", "host", "length"),
    [
        (["0.0.0.0/0"], "1.2.3.4", 0),
        (["0.0.0.0/0"], "::1", -1),
        (["::/0"], "::1", 0),
        # Of IPv6 alone: an address that stands for an IPv4 one counts as that.
        (["::/0"], "::ffff:1.2.3.4", -1),
        (["::ffff:0:0/96"], "1.2.3.4", 0),
        ([], "1.2.3.4", -1),
    ],
)
def test_families_are_separate(texts: list[str], host: str, length: int) -> None:
    assert Networks(texts).longest(packed_address(host)) == length


def test_neighbours_of_ipv6_have_one_name() -> None:
    assert network_name(packed_address("2001:db8::1")) == network_name(packed_address("2001:db8::ffff:2"))
    assert network_name(packed_address("2001:db8::1")) != network_name(packed_address("2001:db8:0:1::1"))
    assert network_name(packed_address("1.2.3.4")) == network_name(packed_address("::ffff:1.2.3.4"))
    assert network_name(packed_address("1.2.3.4")) != network_name(packed_address("1.2.3.5"))


@pytest.mark.parametrize("text", ["", "localhost", "1.2.3", "1.2.3.4:80", "[::1]"])
def test_other_texts_are_no_addresses(text: str) -> None:
    with pytest.raises(OSError, match="illegal IP address"):
        packed_address(text)


@pytest.mark.parametrize(
    ("host", "named", "told"),
    [
        ("shop.test", "shop.test:80", "shop.test:80"),
        ("10.0.0.7", "10.0.0.7:80", "10.0.0.7:80"),
        ("fd00::7", "[fd00::7]:80", "[fd00::7]:80"),
        ("fe80::7%eth0", "[fe80::7%eth0]:80", "[fe80::7]:80"),
    ],
)
def test_peers_are_told_no_zone_of_an_address(host: str, named: str, told: str) -> None:
    assert place_name(host, 80) == named
    assert authority(host, 80) == told
