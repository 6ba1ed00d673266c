"""A relay near the end of its descriptors: it refuses connections in words before the system drops them unseen."""

import asyncio
import logging
import os
import resource
from contextlib import suppress

import pytest

from fastrpc import Client, Server
from fastrpc.relay import descriptors
from fastrpc.relay.descriptors import FEW, FEWEST
from fastrpc.relay.front import Front, RelayLimits
from fastrpc.relay.refusals import RefusalReason
from fastrpc.relay.service import RelayService, begun
from tests.support.arith import Arith
from tests.support.client_hellos import hello_of_openssl
from tests.support.peer_writing import write_to
from tests.support.relayed import RelayFiles, Relaying, relaying
from tests.support.waiting import eventually

HELLO = hello_of_openssl("edge-7.localhost")
INTERNAL_ERROR = b"\x15\x03\x03\x00\x02\x02\x50"


def leave(front: Front, left: int) -> None:
    """Have the relay believe that it has few descriptors left."""
    lowest = os.dup(0)
    os.close(lowest)
    front._descriptors = lowest + left


async def answer(relay: Relaying) -> bytes:
    """Return the bytes that a caller gets until the relay closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    write_to(writer, HELLO)
    try:
        # An alert that comes before the ClientHello was read may be lost.
        with suppress(ConnectionResetError):
            return await reader.read()
        return b""
    finally:
        writer.transport.abort()


async def test_callers_are_refused_while_few_descriptors_are_left(files: RelayFiles) -> None:
    async with relaying(files) as relay:
        await relay.serve(Arith)
        claims = relay.front.claims.by_name
        leave(relay.front, FEW)
        assert await answer(relay) == INTERNAL_ERROR
        assert relay.front.refusals.counts == {RefusalReason.FULL: 1}
        # Servers still claim names, and open their data connections.
        await relay.serve(Arith, name="edge-8")
        await eventually(lambda: claims["edge-8"].spares)
        leave(relay.front, 10 * FEW)
        async with Client(relay.target(), config=files.client) as client:
            assert await client.call(Arith.mul, 6, 7) == 42


async def test_all_connections_are_refused_while_the_fewest_descriptors_are_left(
    files: RelayFiles, caplog: pytest.LogCaptureFixture
) -> None:
    async with relaying(files) as relay:
        leave(relay.front, FEWEST)
        with caplog.at_level(logging.WARNING, "fastrpc.relay"):
            assert await answer(relay) in (INTERNAL_ERROR, b"")
        assert relay.front.refusals.counts == {RefusalReason.FULL: 1}
        assert "the relay has too many connections" in caplog.text
        assert relay.front.openings == 0


NEEDED = RelayLimits().descriptors
UNLIMITED = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("before", "after", "warns"),
    [
        ((1_024, 1_048_576), (NEEDED, 1_048_576), False),
        ((1_024, UNLIMITED), (NEEDED, UNLIMITED), False),
        ((1_024, 4_096), (4_096, 4_096), True),
        ((1_048_576, 1_048_576), None, False),
        ((UNLIMITED, UNLIMITED), None, False),
    ],
)
async def test_a_relay_program_raises_its_limit_of_open_files(
    before: tuple[int, int],
    after: tuple[int, int] | None,
    warns: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    found = []
    monkeypatch.setattr(descriptors.resource, "getrlimit", lambda _: before)
    monkeypatch.setattr(descriptors.resource, "setrlimit", lambda _, limits: found.append(limits))
    with caplog.at_level(logging.WARNING, "fastrpc.relay"):
        async with begun(RelayService("localhost"), Server(Arith)):
            assert found == ([] if after is None else [after])
    assert ("the system allows 4,096 open files" in caplog.text) == warns
