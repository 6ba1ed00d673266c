"""The hosts that are a server: names, subdomains, addresses."""

import pytest

from fastrpc._core.http.own_hosts import OwnHosts


@pytest.mark.parametrize(
    ("listed", "host", "is_own"),
    [
        ("shop.example", b"shop.example", True),
        ("shop.example", b"SHOP.Example.:80", True),
        ("shop.example.", b"shop.example", True),
        ("shop.example", b"a.shop.example", False),
        ("*.shop.example", b"a.shop.example", True),
        ("*.shop.example", b"A.b.Shop.example.:443", True),
        ("*.shop.example.", b"a.shop.example", True),
        ("*.shop.example", b"shop.example", False),
        ("*.shop.example", b".shop.example", False),
        ("*.shop.example", b"evilshop.example", False),
        ("*.shop.example", b"a.shop.example.evil.example", False),
        ("*.shop.example", b"a.shop.example:80.evil.example", True),
        ("shop.example", b"10.0.0.1:80", True),
        ("shop.example", b"[::1]:80", True),
        ("shop.example", b"10.0.1", False),
        ("shop.example", b"1.2.3.4.5", False),
        ("shop.example", b"", False),
        ("*", b"evil.example", False),
        ("*", b"10.0.0.1", True),
    ],
)
def test_names_patterns_and_addresses_are_found(listed: str, host: bytes, is_own: bool) -> None:
    assert (host in OwnHosts([listed])) == is_own


def test_only_a_star_takes_any_host() -> None:
    assert OwnHosts(["shop.example", "*"]).takes_any
    assert not OwnHosts(["*.shop.example"]).takes_any
