"""gRPC's Go stack (`bench/compare/go/grpc_go`), plain and over TLS."""

from bench.compare.compiled import EncryptedGoPeer, GoPeer
from bench.compare.peers.base import Peer

_LIBRARY = "google.golang.org/grpc"
GRPC_GO = GoPeer("grpc_go", "grpc-go", library=_LIBRARY, has_streams=True)

PEERS: tuple[Peer, ...] = (GRPC_GO, EncryptedGoPeer(GRPC_GO, library=_LIBRARY, has_streams=True))
