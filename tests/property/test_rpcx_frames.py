"""Frames of rpcx, cut and mutated: the compiled codec agrees with the reference, and nothing else comes of them."""

import asyncio
import logging
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastrpc import ClientConfig, Limits, Server, ServerConfig
from fastrpc._core.rpcx.translation import RpcxTranslation
from fastrpc._core.server.gate import Gate
from fastrpc._core.server.memory_budget import bytes_held
from fastrpc.errors import RemoteProtocolError
from fastrpc.protocols.rpcx_client import rpcx_translation
from tests.conftest import Scale
from tests.support.kept_connection import gate_for
from tests.support.memory_growth import resident_bytes
from tests.support.peer_writing import write_to
from tests.support.rpcx_arith import Arith, Fn
from tests.support.rpcx_link import ServedRpcx
from tests.support.rpcx_talk import rpcx_talk
from tests.support.rpcx_vectors import recordings
from tests.support.rpcx_wire import Frame, RpcxParser, WireError, frames_in
from tests.support.waiting import eventually

FROM_CLIENTS = [recording.from_client for recording in recordings().values()]
CONFIG = ServerConfig(limits=Limits(message_bytes=1_000_000))
FROM_SERVERS = [recording.from_server for recording in recordings().values() if recording.from_server]


def reference_takes(data: bytes) -> bool:
    """Return whether the reference finds frames, or beginnings of them, in these bytes."""
    try:
        RpcxParser().feed(data)
    except WireError:
        return False
    return True


def mutated(data: bytes, choose: random.Random) -> bytes:
    """Return bytes with a few changes where lengths, flags and texts are."""
    changed = bytearray(data)
    for _ in range(choose.randint(1, 4)):
        at = choose.randrange(len(changed))
        match choose.randrange(4):
            case 0:
                changed[at] = choose.randrange(256)
            case 1:
                changed[at : at + 4] = choose.choice((0, 1, 15, 2**31, 2**32 - 1)).to_bytes(4, "big")
            case 2:
                del changed[at : at + choose.randint(1, 8)]
            case _:
                changed[at:at] = choose.randbytes(choose.randint(1, 8))
        if not changed:
            break
    return bytes(changed)


def translation() -> RpcxTranslation:
    return rpcx_translation(ClientConfig(wire_protocol="rpcx", limits=Limits(message_bytes=1_000_000)))


@given(data=st.sampled_from(FROM_SERVERS), seed=st.integers(0, 2**32))
def test_a_client_refuses_frames_that_the_reference_refuses(data: bytes, seed: int) -> None:
    assert_as_the_reference(mutated(data, random.Random(seed)))


def assert_as_the_reference(changed: bytes) -> None:
    refusal = refused_by_client(changed)
    if refusal:
        assert not reference_takes(changed) or "limit" in refusal
    else:
        # Metadata is looked at only where somebody waits for the answer.
        assert reference_takes(changed) or "metadata" in _reason(changed) or "key" in _reason(changed)


def test_many_mutated_frames_are_refused_as_the_reference_refuses_them(scale: Scale) -> None:
    choose = scale.random(11)
    for _ in range(scale.inputs(100_000)):
        assert_as_the_reference(mutated(choose.choice(FROM_SERVERS), choose))


def refused_by_client(data: bytes) -> str:
    """Return why a client refuses bytes; empty: it takes them."""
    try:
        translation().receive(data)
    except RemoteProtocolError as error:
        return str(error)
    return ""


def _reason(data: bytes) -> str:
    try:
        RpcxParser().feed(data)
    except WireError as error:
        return str(error)
    return ""


@given(data=st.sampled_from(FROM_SERVERS), cuts=st.lists(st.integers(1, 300), max_size=8))
def test_any_cut_gives_the_same(data: bytes, cuts: list[int]) -> None:
    try:
        frames_in(data)
    except WireError:
        return
    whole, pieces = translation(), translation()
    whole.receive(data)
    at = 0
    for size in [*cuts, len(data)]:
        pieces.receive(data[at : at + size])
        at += size
    assert pieces.take_up() == whole.take_up()


def test_a_length_of_two_gib_allocates_nothing() -> None:
    header = Frame(response=True).encode()[:12] + (2**31).to_bytes(4, "big")
    with pytest.raises(RemoteProtocolError, match="announces 2147483664 bytes, the limit is"):
        translation().receive(header)


async def hear_mutated(gate: Gate, count: int, choose: random.Random) -> None:
    """Let the given number of connections of a gate receive mutated frames, and end each of them."""
    for _ in range(count):
        connection = ServedRpcx(gate, config=CONFIG)
        await connection.send(mutated(choose.choice(FROM_CLIENTS), choose))
        # Answers, if any came, are frames.
        connection.answers()
        connection.lose()
    await eventually(lambda: gate.running == 0)


async def test_a_server_outlives_mutated_frames_and_keeps_nothing_of_them(
    scale: Scale, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    async with gate_for(Arith(), Fn(), config=CONFIG) as gate:
        before = bytes_held()
        await hear_mutated(gate, scale.inputs(100_000), scale.random(7))
        assert (bytes_held(), len(gate.engines)) == (before, 0)
        good = ServedRpcx(gate, config=CONFIG)
        assert (await good.ask(recordings()["msgpack_mul"].from_client)).value() == {"C": 200}
        good.lose()


@pytest.mark.measures
async def test_the_memory_of_mutated_frames_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    choose = random.Random(5)
    async with gate_for(Arith(), Fn(), config=CONFIG) as gate:
        await hear_mutated(gate, 500, choose)
        before = resident_bytes()
        await hear_mutated(gate, 2_000, choose)
        # A connection that left a kilobyte would show.
        assert resident_bytes() - before < 2 << 20


async def talked(address: Any, data: bytes) -> bytes:
    """Send bytes and the end, and return all that comes."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    write_to(writer, data)
    try:
        async with asyncio.timeout(0.3):
            return await reader.read()
    except (TimeoutError, ConnectionError):
        return b""
    finally:
        writer.close()


@pytest.mark.one_loop
async def test_a_server_outlives_mutated_frames_of_sockets(scale: Scale) -> None:
    choose = scale.random(7)
    config = ServerConfig(protocols=("native", "rpcx"), limits=Limits(message_bytes=1_000_000))
    async with Server(Arith(), Fn(), config=config) as server:
        await server.listen("tcp://127.0.0.1:0")
        [listener] = server._listening.listeners
        for _ in range(scale(4)):
            await asyncio.gather(
                *[talked(listener.address, mutated(choose.choice(FROM_CLIENTS), choose)) for _ in range(50)]
            )
        good = recordings()["msgpack_mul"]
        async with rpcx_talk(server) as talk:
            assert (await talk.ask(good.from_client)).value() == {"C": 200}
