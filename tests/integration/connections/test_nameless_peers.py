"""Peers that reset their connection before the server asks for their address: then the system does not tell it."""

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import fastrpc
from fastrpc import HTTP, Server, ServerConfig, current_call
from tests.support.grpc_bytes import OPENING, request, text_field
from tests.support.http_talk import request as http_request

RESET = struct.pack("ii", 1, 0)

#: The bytes of the peers, and the protocols of the server.
SENT = {
    "gRPC": (OPENING + request("/shop/buy", text_field("pear")), ("native", "grpc")),
    "gRPC alone": (OPENING + request("/shop/buy", text_field("pear")), ("grpc",)),
    "HTTP": (http_request("POST", "/shop/buy", {"name": "pear"}), ("native", "http")),
    "HTTP alone": (http_request("POST", "/shop/buy", {"name": "pear"}), ("http",)),
}


@fastrpc.service("shop")
class Shop:
    def __init__(self) -> None:
        self.bought: list[str] = []

    @fastrpc.method
    async def buy(self, name: str) -> None:
        self.bought.append(str(current_call().peer.address))


@contextmanager
def listening() -> Iterator[socket.socket]:
    """Yield a socket at which peers may connect before a server accepts."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as bound:
        yield bound


def visit(bound: socket.socket, sent: bytes) -> None:
    """Connect, send, and reset the connection."""
    with socket.create_connection(bound.getsockname()) as peer:
        peer.sendall(sent)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


@pytest.mark.parametrize("kind", SENT)
async def test_a_peer_of_another_machine_is_not_taken_for_a_process_of_this_one(kind: str) -> None:
    sent, protocols = SENT[kind]
    shop = Shop()
    # A program may trust processes of its machine, which have no address either.
    config = ServerConfig(protocols=protocols, http=HTTP(trusted_proxies=("unix",)))
    with listening() as bound:
        for _ in range(5):
            visit(bound, sent)
        async with Server(shop, config=config) as server:
            address = await server.listen("tcp://127.0.0.1:0", socket=bound.dup())
            # Earlier connections were accepted.
            _, writer = await asyncio.open_connection(address.host, address.port)
            writer.transport.abort()
            async with asyncio.timeout(20):
                while server.stats()["live"]["connections"]:
                    await asyncio.sleep(0)
    # asyncio knows the address from `accept`, uvloop asks for it later: then nothing is served.
    assert all(peer.startswith("tcp://127.0.0.1:") for peer in shop.bought), shop.bought
