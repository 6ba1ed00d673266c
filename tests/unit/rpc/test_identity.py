"""Peers and identities: values that are compared, logged and kept."""

import copy
import pickle
from typing import Any

import pytest

from fastrpc.endpoint import Address
from fastrpc.errors import ConfigError
from fastrpc.peers.peer import Peer
from fastrpc.rpc.identity import Identity

ADA = Identity("ada", roles=("admin",), claims={"tenant": "acme"})


def test_an_identity_has_a_name_roles_and_claims() -> None:
    assert (ADA.name, ADA.roles, ADA.claims) == ("ada", frozenset({"admin"}), {"tenant": "acme"})
    assert (Identity("ada").roles, Identity("ada").claims) == (frozenset(), {})
    assert eval(repr(ADA)) == ADA


def test_later_changes_of_roles_and_claims_have_no_effect() -> None:
    roles, claims = {"admin"}, {"tenant": "acme"}
    ada = Identity("ada", roles=roles, claims=claims)
    roles.add("root")
    claims["tenant"] = "other"
    assert ada == ADA


def test_an_identity_cannot_be_changed() -> None:
    for name in ("name", "roles", "claims", "other"):
        with pytest.raises(AttributeError, match=f"'{name}' was set"):
            setattr(ADA, name, "bob")
        with pytest.raises(AttributeError, match=f"'{name}' was deleted"):
            delattr(ADA, name)
    with pytest.raises(TypeError):
        ADA.claims["tenant"] = "other"  # type: ignore[index]


def test_identities_are_equal_by_name_roles_and_claims() -> None:
    same = Identity("ada", claims={"tenant": "acme"}, roles=frozenset({"admin"}))
    assert same == ADA
    assert hash(same) == hash(ADA)
    for other in (Identity("ada"), Identity("ada", roles={"admin"}), Identity("bob", roles={"admin"}), "ada"):
        assert other != ADA


def test_an_identity_may_have_claims_that_cannot_be_hashed() -> None:
    assert len({Identity("ada", claims={"groups": []}), Identity("ada", claims={"groups": []})}) == 1


@pytest.mark.parametrize(
    "name",
    [
        "",
        "anonymous",
        "role:admin",
        "role:",
        "*",
        "spiffe://corp/*",
        "a*b",
        "a\nb",
        "\x00",
        "a\x1b[31m",
        "a\x9b",
        "\u202eada",
        "a\u2028b",
        "ada\u200b",
        "a\u200dda",
        "\ufeffada",
        "a\xadda",
        "ada\U000e0041",
    ],
)
def test_an_ambiguous_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="Identity"):
        Identity(name)


@pytest.mark.parametrize(
    "name", ["Anonymous", "roles:x", "spiffe://corp/a", "ada@acme", "Ада Лавлейс", "艾达", "a role:b"]
)
def test_other_names_are_taken(name: str) -> None:
    assert Identity(name).name == name


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((None,), {}),
        ((b"ada",), {}),
        (("ada",), {"roles": "admin"}),
        (("ada",), {"roles": 1}),
        (("ada",), {"roles": [1]}),
        (("ada",), {"claims": None}),
        (("ada",), {"claims": [1]}),
        (("ada",), {"tenant": "acme"}),
        (("ada", "admin"), {}),
        ((), {}),
    ],
)
def test_wrong_kinds_are_refused(arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        Identity(*arguments, **options)


@pytest.mark.parametrize("role", ["", "a\nb"])
def test_a_role_that_does_not_show_is_refused(role: str) -> None:
    with pytest.raises(ConfigError, match="role of an Identity"):
        Identity("ada", roles={role})


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))]
)
def test_an_identity_can_be_copied_and_pickled(duplicate: object) -> None:
    assert callable(duplicate)
    assert duplicate(ADA) == ADA


def test_a_peer_shows_where_it_is_but_not_its_credentials() -> None:
    peer = Peer(Address.parse("tcp://10.0.0.7:51814"), "token", "secret")
    assert str(peer) == "tcp://10.0.0.7:51814"
    assert "secret" not in repr(peer)
    assert "credentials=…" in repr(peer)


def test_a_peer_without_proof_has_no_credentials() -> None:
    peer = Peer(Address.parse("memory://a"))
    assert (peer.scheme, peer.credentials, peer.certificate) == ("", None, None)
