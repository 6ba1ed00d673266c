"""rpcx, Go (`bench/compare/go/rpcx`), a module of its own: it needs sixty others."""

from bench.compare.compiled import GoPeer
from bench.compare.peers.base import Peer

PEERS: tuple[Peer, ...] = (GoPeer("rpcx", "rpcx", library="github.com/smallnest/rpcx"),)
