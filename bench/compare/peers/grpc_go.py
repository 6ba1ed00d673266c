"""gRPC's Go stack (`bench/compare/go/grpc_go`)."""

from bench.compare.compiled import GoPeer
from bench.compare.peers.base import Peer

PEERS: tuple[Peer, ...] = (GoPeer("grpc_go", "grpc-go", library="google.golang.org/grpc", has_streams=True),)
