"""gRPC in Rust: tonic on tokio (`bench/compare/rust/tonic`)."""

from bench.compare.compiled import RustPeer
from bench.compare.peers.base import Peer

PEERS: tuple[Peer, ...] = (RustPeer("tonic", "tonic", library="tonic", has_streams=True),)
