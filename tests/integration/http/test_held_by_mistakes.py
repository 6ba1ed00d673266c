"""Bodies full of mistakes hold the loop about as long as valid ones of their size."""

import asyncio
import json
import socket
import statistics
import time
from typing import Any

import msgspec
import pytest

from fastrpc import Address, Limits, Memory, Server, ServerConfig
from tests.support.http_talk import request
from tests.support.mistaken_bodies import Shop, line, order

MIB = 1 << 20
SIZE = 16 * MIB

MEDIA_TYPES = {"json": "application/json", "msgpack": "application/msgpack"}


def packed(codec: str, body: Any) -> bytes:
    return msgspec.json.encode(body) if codec == "json" else msgspec.msgpack.encode(body)


def bodies(codec: str, shape: str, wrong: str) -> tuple[str, bytes, bytes]:
    """Return a method, a valid body of 16 MiB for it, and one of that size whose items, or last item, are mistakes."""
    if shape == "rows":
        name = "buy"
        valid: Any = line(item="x" * 50)
        # The text of a wrong price is as long as a right one.
        mistake: Any = line(item="x" * 50, price="a" if codec == "json" else "a" * 8)
    else:
        name, valid, mistake = "sum", 1000 + 1 / 7, "a" * (16 if codec == "json" else 8)
    count = SIZE // (len(packed(codec, valid)) + (codec == "json"))
    items = [valid] * count
    others = [mistake] * count if wrong == "all" else [*items[1:], mistake]
    if shape == "rows":
        return name, packed(codec, {"order": order(*items)}), packed(codec, {"order": order(*others)})
    return name, packed(codec, {"values": items}), packed(codec, {"values": others})


def answered(address: Address, data: bytes) -> tuple[int, Any]:
    """Send a request from a thread, and return the status and the body of its answer."""
    with socket.create_connection((address.host, address.port)) as connected:
        connected.sendall(data)
        with connected.makefile("rb") as reading:
            status = int(reading.readline().split()[1])
            length = 0
            while (field := reading.readline().strip()) != b"":
                name, _, value = field.partition(b": ")
                length = int(value) if name.lower() == b"content-length" else length
            body = reading.read(length)
    return status, json.loads(body) if status != 200 else None


async def stall(address: Address, data: bytes, status: int) -> float:
    """Return the longest time for which a request keeps the loop from turning."""
    asking = asyncio.create_task(asyncio.to_thread(answered, address, data))
    longest, before = 0.0, time.perf_counter()
    while not asking.done():
        await asyncio.sleep(0)
        now = time.perf_counter()
        longest, before = max(longest, now - before), now
    found, value = await asking
    assert found == status, value
    assert (status == 400) == ("details" in (value or {}))
    return longest


@pytest.mark.measures
@pytest.mark.parametrize("wrong", ["all", "last"])
@pytest.mark.parametrize("shape", ["rows", "numbers"])
@pytest.mark.parametrize("codec", ["json", "msgpack"])
async def test_16_mebibytes_of_mistakes_hold_the_loop_at_most_half_longer_than_a_valid_body(
    codec: str, shape: str, wrong: str
) -> None:
    name, valid, mistaken = bodies(codec, shape, wrong)
    assert 0.97 * SIZE <= len(valid) <= SIZE + MIB
    assert abs(len(mistaken) - len(valid)) <= 0.03 * SIZE
    media_type = MEDIA_TYPES[codec]
    config = ServerConfig(
        protocols=("native", "http"), limits=Limits(message_bytes=SIZE + MIB), memory=Memory(items=4_000_000)
    )
    stalls: dict[int, list[float]] = {200: [], 400: []}
    async with Server(Shop(), config=config) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        for _ in range(3):
            for status, body in ((200, valid), (400, mistaken)):
                data = request("POST", f"/shop/{name}", body, Content_Type=media_type)
                stalls[status].append(await stall(address, data, status))
    assert statistics.median(stalls[400]) <= 1.5 * statistics.median(stalls[200]), stalls
