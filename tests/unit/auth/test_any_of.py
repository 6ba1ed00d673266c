"""Several authenticators: who is asked, and which names may meet."""

from pathlib import Path
from typing import Any

import pytest

from fastrpc.auth import JWT, AnyOf, ClientCertificates, Identity, StaticTokens
from fastrpc.auth.verdict import Answer, Presented, Refusal, Verdict
from fastrpc.endpoint import Address
from fastrpc.errors import ConfigError
from fastrpc.peers.peer import Peer
from fastrpc.status import Status

ADDRESS = Address.parse("tcp://127.0.0.1:4000")
CERTIFICATE = {"subjectAltName": (("URI", "spiffe://corp/web"),)}
TOKENS = StaticTokens({"first": Identity("ada")})
CERTIFICATES = ClientCertificates(by="uri", allow=["spiffe://corp/*"])


def issuer(prefix: str) -> JWT:
    return JWT(bytes(32), issuer="login", audience="shop", algorithms=["HS256"], name_prefix=prefix)


class Slow:
    """An authenticator that has to wait."""

    version = 0

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked = 0

    def look(self) -> None:
        pass

    def handles(self, peer: Presented) -> bool:
        return peer.credentials is not None

    async def verify(self, peer: Presented) -> Answer:
        self.asked += 1
        return self.answer


async def test_each_credential_goes_to_the_members_that_know_its_kind() -> None:
    both = AnyOf(TOKENS, CERTIFICATES)
    token = await both(Peer(ADDRESS, "bearer", "first"))
    certificate = await both(Peer(ADDRESS, "certificate", certificate=CERTIFICATE))
    assert token is not None
    assert certificate is not None
    assert (token.name, certificate.name) == ("ada", "spiffe://corp/web")


async def test_a_bad_token_fails_despite_a_good_certificate() -> None:
    peer = Peer(ADDRESS, "bearer", "wrong", certificate=CERTIFICATE)
    assert await AnyOf(CERTIFICATES, TOKENS)(peer) is None
    assert await AnyOf(CERTIFICATES)(peer) is None


async def test_a_peer_without_credentials_is_refused() -> None:
    assert isinstance(AnyOf(TOKENS, CERTIFICATES).verify(Peer(ADDRESS)), Refusal)


async def test_members_are_asked_in_order_until_one_accepts() -> None:
    slow, never = Slow(Verdict(Identity("bob"))), Slow(Verdict(Identity("eve")))
    several = AnyOf(TOKENS, AnyOf(slow), never)
    assert isinstance(several.verify(Peer(ADDRESS, "bearer", "first")), Verdict)
    found = await several(Peer(ADDRESS, "bearer", "other"))
    assert found is not None
    assert (found.name, slow.asked, never.asked) == ("bob", 1, 0)


async def test_a_refusal_is_final_only_if_all_are() -> None:
    away = Slow(Refusal("away", Status.UNAVAILABLE))
    found: Any = AnyOf(away, TOKENS).verify(Peer(ADDRESS, "bearer", "other"))
    assert (await found).status is Status.UNAVAILABLE
    found = AnyOf(Slow(Refusal("no")), TOKENS).verify(Peer(ADDRESS, "bearer", "other"))
    assert (await found).status is Status.UNAUTHENTICATED


@pytest.mark.parametrize(
    "members",
    [
        (issuer(""), issuer("")),
        (issuer("a:"), issuer("a:")),
        (issuer("a:"), issuer("a:b:")),
        (issuer(""), TOKENS),
        (issuer("ad"), TOKENS),
        (issuer(""), CERTIFICATES),
        (issuer("spiffe://corp/web/"), CERTIFICATES),
        (issuer("spiffe:"), AnyOf(CERTIFICATES)),
        (TOKENS, ClientCertificates(by="dns", allow=["*"])),
        (ClientCertificates(by="dns", allow=["bob", "*"]), TOKENS),
        (StaticTokens({"t": Identity("spiffe://corp/billing")}), CERTIFICATES),
        (ClientCertificates(by="dns", allow=["*"]), ClientCertificates(by="uri", allow=["*"])),
        (ClientCertificates(by="dns", allow=["ada"]), ClientCertificates(by="uri", allow=["*"])),
        (CERTIFICATES, ClientCertificates(by="subject", allow=["spiffe://corp/web/*"])),
    ],
)
def test_two_sources_of_one_name_are_refused(members: tuple[Any, ...]) -> None:
    with pytest.raises(ConfigError, match="the same name") as caught:
        AnyOf(*members)
    assert caught.value.hint is not None
    assert "name_prefix" in caught.value.hint


@pytest.mark.parametrize(
    "members",
    [
        (issuer("a:"), issuer("b:"), TOKENS, CERTIFICATES),
        # A name that is written out twice is meant.
        (TOKENS, ClientCertificates(by="dns", allow=["ada"])),
        (ClientCertificates(by="dns", allow=["ada"]), ClientCertificates(by="subject", allow=["ada"])),
        # The same names by the same authority.
        (CERTIFICATES, ClientCertificates(by="uri", allow=["spiffe://corp/web"])),
    ],
)
def test_sources_with_names_of_their_own_are_accepted(members: tuple[Any, ...]) -> None:
    assert AnyOf(*members).members == members


@pytest.mark.parametrize(
    "other", [issuer("ada"), ClientCertificates(by="dns", allow=["ada:*"])], ids=["JWT", "certificates"]
)
def test_a_listed_name_that_a_changed_file_brings_is_refused(tmp_path: Path, other: Any) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text('[[token]]\ntoken = "first"\nname = "fastrpc:bob"')
    tokens = StaticTokens.from_file(path)
    both = AnyOf(tokens, other)
    path.write_text('[[token]]\ntoken = "first"\nname = "ada:1"')
    both.reload()
    found = both.verify(Peer(ADDRESS, "bearer", "first"))
    assert isinstance(found, Refusal)
    assert "'ada:1'" in found.reason


def test_members_are_objects_of_this_package() -> None:
    with pytest.raises(ConfigError, match="no member"):
        AnyOf()
    with pytest.raises(TypeError, match="a single function"):
        AnyOf(lambda peer: None)
