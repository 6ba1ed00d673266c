"""The connections of rpcx's `_filetransfer`: causes of their end, and its effect on their peers."""

import socket
import struct
from pathlib import Path

import pytest

import fastrpc.files.rpcx.connection
from fastrpc import Client, Limits, Server, ServerConfig
from tests.integration.rpcx.test_file_transfers import (
    SPEAKS_RPCX,
    Place,
    asked,
    calling,
    dialled,
    serving,
    transfers_of,
)
from tests.support.peer_writing import write_to
from tests.support.transfers import is_reset
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def test_the_system_resets_a_transfer_that_is_not_complete(place: Place) -> None:
    """Also if the process is killed: to its peer the end of a connection is the end of a file."""
    async with serving(place.files()) as (server, target), Client(target, config=SPEAKS_RPCX) as client:
        answer = await asked(client, "TransferFile", FileName="a", FileSize=3)
        reader, writer = await dialled({**answer, "Token": answer["Token"][:9]})
        await eventually(lambda: transfers_of(server))
        [link] = transfers_of(server)
        connected = link.transport.get_extra_info("socket")
        ends = connected.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
        assert struct.unpack("ii", ends) == (1, 0)
        link.close()
        assert await is_reset(reader, writer)


async def test_a_close_waits_for_no_byte_of_a_file_that_is_not_complete(place: Place) -> None:
    (place.there / "a").write_bytes(bytes(64_000_000))
    async with serving(place.files()) as (server, target), Client(target, config=SPEAKS_RPCX) as client:
        reader, writer = await dialled(await asked(client, "DownloadFile", FileName="a"))
        # The peer takes the begin alone.
        await reader.readexactly(1_000)
        [link] = transfers_of(server)
        await eventually(link.wire.unsent_bytes)
        link.close()
        assert link.transport is None or link.transport.is_closing()
        # A loop may have the bytes until its next turn. The peer reads none before that.
        await eventually(lambda: link.wire.unsent_bytes() == 0)
        assert await is_reset(reader, writer)


async def test_one_connection_too_many_is_reset(place: Place) -> None:
    config = ServerConfig(protocols=("native", "rpcx"), limits=Limits(connections=1))
    async with Server(place.files(), config=config) as server:
        async with Client(str(await server.listen("tcp://127.0.0.1:0")), config=SPEAKS_RPCX) as client:
            answer = await asked(client, "TransferFile", FileName="a", FileSize=3)
            assert await is_reset(*await dialled(answer))


async def test_a_complete_transfer_that_is_cut_off_is_reset(place: Place) -> None:
    (place.there / "a").write_bytes(b"abc")
    async with serving(place.files()) as (server, target), Client(target, config=SPEAKS_RPCX) as client:
        answer = await asked(client, "DownloadFile", FileName="a")
        reader, writer = await dialled({**answer, "Token": answer["Token"][:9]})
        await eventually(lambda: transfers_of(server))
        [link] = transfers_of(server)
        # More than the systems of both sides hold.
        link.wire.send(bytes(64_000_000))
        link.wire.write_answer(None, b"")
        assert (link.is_closed, link.wire.unsent_bytes() > 0) == (True, True)
        link.abort()
        assert await is_reset(reader, writer)


async def test_silent_connections_above_the_limit_are_closed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastrpc.files.rpcx.connection, "MOST_SILENT", 2)
    (place.there / "a").write_bytes(b"abc")
    async with calling(place.files()) as client:
        answers = [await asked(client, "DownloadFile", FileName="a") for _ in range(3)]
        peers = [await dialled({**answer, "Token": b""}) for answer in answers]
        assert await is_reset(*peers[0])
        for (reader, writer), answer in zip(peers[1:], answers[1:], strict=True):
            write_to(writer, answer["Token"])
            assert await reader.read() == b"abc"
            writer.close()
