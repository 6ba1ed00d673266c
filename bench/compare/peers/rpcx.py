"""rpcx, Go (`bench/compare/go/rpcx`), a separate module: it needs sixty others."""

from bench.compare.compiled import GoPeer
from bench.compare.peers.base import Peer

RPCX = GoPeer("rpcx", "rpcx", library="github.com/smallnest/rpcx", further=("rpcx_mul",))

PEERS: tuple[Peer, ...] = (RPCX,)
