"""Peers and identities: values that are compared, logged and kept."""

import copy
import pickle

import pytest

from fastrpc.endpoint import Address
from fastrpc.rpc.peer import Identity, Peer

ADA = Identity("ada", tenant="acme", roles=("admin",))


def test_what_is_known_of_an_identity_are_its_attributes() -> None:
    assert (ADA.name, ADA.tenant, ADA.attributes["roles"]) == ("ada", "acme", ("admin",))


def test_an_unknown_attribute_of_an_identity_is_named() -> None:
    with pytest.raises(AttributeError, match="no 'team'"):
        _ = ADA.team


def test_an_identity_cannot_be_changed() -> None:
    with pytest.raises(AttributeError, match="'name' was set"):
        ADA.name = "bob"  # type: ignore[misc]
    with pytest.raises(AttributeError, match="'tenant' was set"):
        ADA.tenant = "other"
    with pytest.raises(AttributeError, match="'tenant' was deleted"):
        del ADA.tenant
    with pytest.raises(TypeError):
        ADA.attributes["tenant"] = "other"  # type: ignore[index]


def test_identities_are_equal_by_name_and_attributes() -> None:
    same = Identity("ada", roles=("admin",), tenant="acme")
    assert same == ADA
    assert hash(same) == hash(ADA)
    assert Identity("ada") != ADA
    assert Identity("ada") != "ada"


def test_an_identity_may_have_an_attribute_that_cannot_be_hashed() -> None:
    assert len({Identity("ada", roles={"admin"}), Identity("ada", roles={"admin"})}) == 1


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
