"""volo-thrift, CloudWeGo's stack in Rust, multiplexed (`bench/compare/rust/volo_thrift`)."""

from bench.compare.compiled import RustPeer
from bench.compare.peers.base import Peer

PEERS: tuple[Peer, ...] = (RustPeer("volo_thrift", "volo-thrift, multiplexed", library="volo-thrift"),)
