"""gRPC's Go stack (`bench/compare/go/grpc_go`), plain and over TLS."""

from bench.compare.compiled import EncryptedGoPeer, GoPeer
from bench.compare.peers.base import Peer

_LIBRARY = "google.golang.org/grpc"
_PLAIN = GoPeer("grpc_go", "grpc-go", library=_LIBRARY, has_streams=True)

PEERS: tuple[Peer, ...] = (_PLAIN, EncryptedGoPeer(_PLAIN, library=_LIBRARY, has_streams=True))
