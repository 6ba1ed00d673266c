"""The host names in the certificate of a server, read from its file."""

from pathlib import Path

import pytest

from fastrpc import TLS, ConfigError
from fastrpc.tls.certificate import check_covers, dns_names_of
from tests.support.certificates import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("names"))


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ("DNS:localhost", ("localhost",)),
        ("DNS:a.example,IP:127.0.0.1,DNS:*.b.example,URI:spiffe://c", ("a.example", "*.b.example")),
        ("IP:127.0.0.1", ()),
        ("", ()),
        (",".join(f"DNS:host-{number}.example" for number in range(100)), None),
    ],
)
def test_names_are_read(names: str, found: tuple[str, ...] | None, authority: Authority) -> None:
    expected = tuple(f"host-{number}.example" for number in range(100)) if found is None else found
    pem = authority.certificate(names).cert_file.read_bytes()
    assert dns_names_of(pem) == expected
    # The certificates after it, such as the certificate of its authority, are not read.
    assert dns_names_of(b"words in front\n" + pem + authority.cert_file.read_bytes()) == expected


def test_an_authority_without_version_or_names_is_read(authority: Authority) -> None:
    assert dns_names_of(authority.cert_file.read_bytes()) == ()


@pytest.mark.parametrize("cut", range(5, 95, 10))
def test_a_broken_certificate_has_no_names(cut: int, authority: Authority) -> None:
    begin, *lines, end = authority.certificate().cert_file.read_text().strip().splitlines()
    broken = "\n".join([begin, *lines[: len(lines) * cut // 100], end])
    assert dns_names_of(broken.encode()) is None
    assert dns_names_of(b"") is None


@pytest.mark.parametrize(
    ("names", "is_covered"),
    [
        ("DNS:edge-7.relay.example", True),
        ("DNS:EDGE-7.Relay.Example", True),
        ("DNS:*.relay.example", True),
        ("DNS:localhost,DNS:*.relay.example", True),
        ("DNS:relay.example", False),
        ("DNS:edge-8.relay.example", False),
        ("DNS:*.example", False),
        ("DNS:*", False),
        ("", False),
    ],
)
def test_a_certificate_covers_a_host(names: str, is_covered: bool, authority: Authority) -> None:
    tls = TLS(cert_file=authority.certificate(names).cert_file)
    if is_covered:
        check_covers(tls, "edge-7.relay.example")
        return
    with pytest.raises(ConfigError, match=r"callers ask for edge-7\.relay\.example") as refused:
        check_covers(tls, "edge-7.relay.example")
    assert "*.relay.example" in (refused.value.hint or "")


def test_a_file_that_is_no_certificate_is_left_to_the_tls_library(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("none")
    check_covers(TLS(cert_file=tmp_path / "cert.pem"), "a")
