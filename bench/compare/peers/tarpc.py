"""tarpc with bincode on tokio (`bench/compare/rust/tarpc`)."""

from bench.compare.compiled import RustPeer
from bench.compare.peers.base import Peer

PEERS: tuple[Peer, ...] = (RustPeer("tarpc", "tarpc", library="tarpc"),)
