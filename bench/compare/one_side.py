"""One side of a gRPC stack alone: its server under two clients, its client at the server of grpc-go."""

from bench.compare.generators import H2LOAD
from bench.compare.peers.base import Mixed, Peer
from bench.compare.peers.grpc_go import GRPC_GO

__all__ = ["client_alone", "server_alone"]


def server_alone(server: Peer, name: str, title: str) -> tuple[Peer, Peer]:
    """Return a server under grpc-go's client and under h2load; the title names the stack."""
    under_go = Mixed(
        f"{name}_under_go",
        f"grpc-go's client, {title}'s server",
        client=GRPC_GO,
        server=server,
        operations=["echo"],
    )
    under_h2load = Mixed(
        f"{name}_under_h2load", f"h2load, {title}'s server", client=H2LOAD, server=server, operations=["echo"]
    )
    return under_go, under_h2load


def client_alone(client: Peer, name: str, title: str) -> Peer:
    """Return a client at the server of grpc-go; the title names the stack."""
    return Mixed(
        f"{name}_at_go",
        f"{title}'s client, grpc-go's server",
        client=client,
        server=GRPC_GO,
        operations=["echo"],
    )
