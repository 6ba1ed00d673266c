"""Conversations of gRPC that are cut and altered at random, next to good callers whose identity is looked up."""

import asyncio
import random
import socket
import struct

import pytest

import fastrpc
from fastrpc import Client, Identity, Peer, Server, ServerConfig
from tests.conftest import Scale
from tests.support.grpc_bytes import OPENING, request, text_field
from tests.support.peer_writing import write_to
from tests.support.waiting import eventually

CONVERSATIONS = 400
#: Under way at once.
PEERS = 8

pytestmark = pytest.mark.filterwarnings("ignore:unclosed transport")


@fastrpc.service("shop")
class Shop:
    @fastrpc.method
    async def price(self, name: str) -> str:
        await asyncio.sleep(0)
        return name


async def looked_up(peer: Peer) -> Identity | None:
    """Take some turns of the loop for each credential, and refuse some."""
    for _ in range(len(peer.credentials or "") % 5):
        await asyncio.sleep(0)
    return None if (peer.credentials or "").endswith("3") else Identity("ada")


def altered(source: random.Random) -> bytes:
    """Return some requests with flipped, missing or added bytes, or cut off."""
    found = bytearray()
    for number in range(source.randrange(1, 6)):
        found += request(
            "/shop/price",
            text_field("apple" * source.randrange(1, 200)),
            ("authorization", f"Bearer {'t' * number}{source.randrange(5)}"),
            stream=1 + 2 * number,
            flags=source.choice([0, 0, 0, 1, 7]),
            until=source.choice([None, None, source.randrange(1, 30)]),
        )
    for _ in range(source.choice([0, 0, 1, 1, 2, 5, 20])):
        at = source.randrange(len(found)) if found else 0
        match source.choice(["flip", "flip", "leave", "put", "cut"]):
            case "flip" if found:
                found[at] ^= 1 << source.randrange(8)
            case "leave":
                del found[at : at + source.randrange(1, 20)]
            case "put":
                found[at:at] = source.randbytes(source.randrange(1, 12))
            case "cut":
                del found[at:]
    return OPENING + bytes(found)


async def converse(port: int, source: random.Random) -> None:
    """Send an altered conversation in two parts, and leave in one of the ways in which peers do."""
    data = altered(source)
    cut = source.randrange(len(data) + 1)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        write_to(writer, data[:cut])
        for _ in range(source.randrange(4)):
            await asyncio.sleep(0)
        write_to(writer, data[cut:])
        match source.choice(["answer", "end", "reset", "abort"]):
            case "answer":
                await reader.read(100)
            case "end":
                writer.write_eof()
                await reader.read()
            case "reset":
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    except OSError:
        # The server has closed it because of the altered bytes.
        return
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("scheme", ["tcp", "grpc"])
async def test_good_calls_continue_and_no_task_stays(scheme: str, scale: Scale) -> None:
    config = ServerConfig(protocols=("native", "grpc"))
    others = asyncio.all_tasks()
    async with Server(Shop(), authenticate=looked_up, config=config) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        port = int(str(address).rpartition(":")[2])
        seeds = iter(scale.seeds(CONVERSATIONS))

        async def attack() -> None:
            for seed in seeds:
                await converse(port, scale.random(seed))

        async with Client(f"{scheme}://127.0.0.1:{port}", credentials="good") as client:
            attacks = [asyncio.create_task(attack()) for _ in range(PEERS)]
            while not all(task.done() for task in attacks):
                # Any failure of a good call fails the test.
                assert await client.call(Shop.price, "pear") == "pear"
            await asyncio.gather(*attacks)
        await eventually(lambda: server.stats()["live"]["connections"] == 0)
        await eventually(
            lambda: not any("auth" in repr(task.get_coro()).lower() for task in asyncio.all_tasks())
        )
    assert asyncio.all_tasks() - others == set()
