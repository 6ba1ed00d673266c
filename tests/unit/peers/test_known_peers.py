"""Peers made from a known one: with the credentials that it presents, or at another address."""

from fastrpc.endpoint import Address
from fastrpc.peers.peer import Peer, at_address, limit_name_of, presenting


def known_peer() -> Peer:
    peer = Peer(
        Address("unix", path="/run/arith"), certificate={"dns_names": ("a.example",)}, protocol="grpc"
    )
    peer._user = 1_000
    return peer


def test_a_peer_that_presents_credentials_keeps_its_certificate() -> None:
    known = known_peer()
    peer = presenting(known, "bearer", "token")
    assert (peer.address, peer.scheme, peer.credentials) == (known.address, "bearer", "token")
    assert (peer.certificate, peer.protocol) == (known.certificate, "grpc")
    assert limit_name_of(peer) == limit_name_of(known) == b"unix:1000"


def test_a_peer_at_another_address_has_no_certificate_and_no_credentials() -> None:
    address = Address("https", path="/run/arith")
    peer = at_address(presenting(known_peer(), "bearer", "token"), address)
    assert (peer.address, peer.scheme, peer.credentials, peer.certificate) == (address, "", None, None)
    assert (peer.protocol, limit_name_of(peer)) == ("grpc", b"https:1000")
