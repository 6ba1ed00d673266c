"""Identities from certificates: which names count, and which are refused."""

from typing import Any

import pytest

from fastrpc.auth import ClientCertificates
from fastrpc.auth.verdict import Refusal, Verdict
from fastrpc.endpoint import Address
from fastrpc.errors import ConfigError
from fastrpc.peers.peer import Peer

CERTIFICATE: dict[str, Any] = {
    "subject": ((("countryName", "DE"),), (("organizationName", "Corp, Inc"),), (("commonName", "billing"),)),
    "subjectAltName": (("URI", "spiffe://corp/billing"), ("DNS", "Billing.corp"), ("DNS", "other.org")),
    "expires": 2_000_000_000,
}


def peer(certificate: Any, token: str | None = None) -> Peer:
    scheme = "bearer" if token else "certificate"
    return Peer(Address.parse("tcp://127.0.0.1:4000"), scheme, token, certificate=certificate)


@pytest.mark.parametrize(
    ("by", "allow", "name"),
    [
        ("uri", "spiffe://corp/billing", "spiffe://corp/billing"),
        ("uri", "spiffe://corp/*", "spiffe://corp/billing"),
        ("uri", "*", "spiffe://corp/billing"),
        ("dns", "billing.corp", "billing.corp"),
        ("dns", "BILLING.corp", "billing.corp"),
        ("subject", "CN=billing,O=Corp\\, Inc,C=DE", "CN=billing,O=Corp\\, Inc,C=DE"),
    ],
)
def test_an_allowed_name_is_the_identity(by: str, allow: str, name: str) -> None:
    answer = ClientCertificates(by=by, allow=[allow]).verify(peer(CERTIFICATE))
    assert isinstance(answer, Verdict)
    assert (answer.identity.name, answer.valid_until) == (name, 2_000_000_000)


@pytest.mark.parametrize(
    ("by", "allow"),
    [
        ("uri", ["spiffe://corp/"]),
        ("uri", ["spiffe://corp/billing/*"]),
        ("uri", ["SPIFFE://corp/billing"]),
        ("uri", ["billing.corp"]),
        ("dns", ["corp"]),
        ("dns", ["*"]),  # Two names: nobody knows which one is meant.
        ("subject", ["CN=billing"]),
        ("subject", ["billing"]),
    ],
)
def test_any_other_name_is_refused(by: str, allow: list[str]) -> None:
    assert isinstance(ClientCertificates(by=by, allow=allow).verify(peer(CERTIFICATE)), Refusal)


@pytest.mark.parametrize(
    "name", ["role:admin", "anonymous", "a*", "*", "*.corp", "", "a\nb", "a\u202eb", "a\0.corp"]
)
def test_names_that_rules_could_mistake_are_refused(name: str) -> None:
    certificate = {"subjectAltName": (("URI", name), ("DNS", name))}
    for by in ("uri", "dns"):
        assert isinstance(ClientCertificates(by=by, allow=["*"]).verify(peer(certificate)), Refusal)


def test_a_subject_cannot_pose_as_two_parts() -> None:
    certificate = {"subject": ((("commonName", "billing,O=Corp"),),)}
    assert isinstance(
        ClientCertificates(by="subject", allow=["CN=billing,O=Corp"]).verify(peer(certificate)), Refusal
    )


def test_a_token_in_addition_to_the_certificate_is_refused() -> None:
    found = ClientCertificates(by="uri", allow=["*"])
    assert not found.handles(peer(CERTIFICATE, "token"))
    assert isinstance(found.verify(peer(CERTIFICATE, "token")), Refusal)
    assert isinstance(found.verify(peer(None)), Refusal)


async def test_calling_it_gives_the_identity_alone() -> None:
    found = await ClientCertificates(by="uri", allow=["*"])(peer(CERTIFICATE))
    assert found is not None
    assert found.name == "spiffe://corp/billing"
    assert await ClientCertificates(by="uri", allow=["*"])(peer(None)) is None


@pytest.mark.parametrize(
    "allow", [[], ["role:admin"], ["anonymous"], ["a*"], ["*a"], [""], [" a"], ["a*b/*"]]
)
def test_patterns_that_stand_for_nobody_are_refused(allow: list[str]) -> None:
    with pytest.raises(ConfigError):
        ClientCertificates(by="uri", allow=allow)


def test_arguments_of_another_type_are_refused() -> None:
    with pytest.raises(ConfigError, match="'uri', 'dns', 'subject'"):
        ClientCertificates(by="cn", allow=["*"])
    with pytest.raises(TypeError, match="a list of names"):
        ClientCertificates(by="uri", allow="*")
    with pytest.raises(TypeError, match="must be text"):
        ClientCertificates(by="uri", allow=[7])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("by", "allow"), [("dns", "lan"), ("dns", "*"), ("subject", "CN=fastrpc LAN pass 1a2b3c4d")]
)
def test_the_certificate_of_a_pass_names_nobody(by: str, allow: str) -> None:
    subject = ((("commonName", "fastrpc LAN pass 1a2b3c4d"),),)
    shown = {"subject": subject, "subjectAltName": (("DNS", "lan"),), "expires": 2_000_000_000}
    certificates = ClientCertificates(by=by, allow=[allow])
    assert not certificates.handles(peer(shown))
    assert isinstance(certificates.verify(peer(shown)), Refusal)
