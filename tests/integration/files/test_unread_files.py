"""Downloads whose callers read nothing: the bytes read for them are counted, and bounded."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from fastrpc import HTTP, Admission, CallError, Client, Limits, Memory, OverloadedError, Server, ServerConfig
from fastrpc._core.server.memory_budget import bytes_held
from fastrpc.files import FileService
from fastrpc.files.reader import FileReader
from fastrpc.files.rpcx import RpcxFiles
from tests.support.http_talk import HttpClient, request
from tests.support.kept_connection import joined
from tests.support.peer_writing import write_to
from tests.support.raw_streams import stream_peer
from tests.support.socket_client import opened_socket
from tests.support.transfers import PIECE, content
from tests.support.waiting import eventually

MIB = 1024 * 1024
PROCESS_BYTES = 16 * MIB
DATA = content(MIB, seed=5)
#: So many that an unread download by TCP never ends: the systems of both sides hold some megabytes.
MUCH = 64 * MIB


class Reads:
    """The bytes read from files, and the most bytes that were held meanwhile."""

    def __init__(self) -> None:
        self.count = 0
        self.most_held = 0

    def note(self) -> None:
        self.count += 1
        self.most_held = max(self.most_held, bytes_held())


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    noted, read = Reads(), FileReader.read

    def noted_read(reader: FileReader) -> bytes:
        noted.note()
        return read(reader)

    monkeypatch.setattr(FileReader, "read", noted_read)
    return noted


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    root = tmp_path / "served"
    root.mkdir()
    (root / "file").write_bytes(DATA)
    with (root / "much").open("wb") as much:
        much.truncate(MUCH)
    yield root
    assert bytes_held() == 0


@asynccontextmanager
async def serving(*services: object) -> AsyncIterator[tuple[Server, str]]:
    config = ServerConfig(
        protocols=("native", "http", "rpcx"),
        http=HTTP(websocket=True),
        limits=Limits(message_bytes=MIB),
        memory=Memory(process_bytes=PROCESS_BYTES),
        # Downloads are refused for their bytes, not for the time for which a busy machine leaves them waiting.
        admission=Admission(queue_age=60),
    )
    async with Server(*services, config=config) as server:
        yield server, str(await server.listen("tcp://127.0.0.1:0"))
    await eventually(lambda: bytes_held() == 0)


async def all_stands(reads: Reads) -> None:
    """Return once nothing more is read."""
    before = -1
    while before != reads.count:
        before = reads.count
        for _ in range(2_000):
            await asyncio.sleep(0)


async def test_one_piece_is_read_for_a_peer_that_returns_no_credit(root: Path, reads: Reads) -> None:
    async with serving(FileService(root)) as (server, address), stream_peer(address) as peer:
        for _ in range(20):
            peer.open("files.read", "much")
        await eventually(lambda: reads.count >= 20)
        async with Client(address) as client:
            for _ in range(50):
                await client.call("files.stat", "much")
        assert reads.count == 20
        held = max(session.connection.held_bytes for session in server._gate.engines)
        # Each stream may send 64 KiB at first.
        assert 20 * (PIECE - 65_536) <= held <= 20 * PIECE + MIB
        peer.peer.close()
        await eventually(lambda: not server.stats()["live"]["calls"])


async def test_downloads_that_would_hold_too_much_are_refused_and_begun_ones_continue(
    root: Path, reads: Reads
) -> None:
    async def outcome(client: Client) -> bytes | OverloadedError:
        async with client.stream("files.read", "file") as pieces:
            await asyncio.sleep(0)
            await all_stand.wait()
            try:
                return b"".join([piece async for piece in pieces])
            except OverloadedError as error:
                return error

    all_stand = asyncio.Event()
    async with serving(FileService(root)) as (_, address), Client(address) as client:
        asked = [asyncio.ensure_future(outcome(client)) for _ in range(150)]
        await all_stands(reads)
        all_stand.set()
        outcomes = await asyncio.gather(*asked)
        refused = [error for error in outcomes if isinstance(error, OverloadedError)]
        assert 0 < len(refused) < 150
        assert all(error.processed == "no" for error in refused)
        assert [text for text in map(str, refused) if "85 % of Memory.process_bytes" not in text] == []
        assert all(data == DATA for data in outcomes if isinstance(data, bytes))
        # A piece that leaves counts as output, too, until its handler continues: at most twice 85 %.
        assert reads.most_held <= PROCESS_BYTES * 17 // 10
        # Once they are through, there is room again.
        async with client.stream("files.read", "file") as pieces:
            assert b"".join([piece async for piece in pieces]) == DATA


@pytest.mark.parametrize("way", ["http", "websocket"])
async def test_an_unread_download_by_other_ways_is_counted(way: str, root: Path, reads: Reads) -> None:
    async with serving(FileService(root)) as (server, address), AsyncExitStack() as stack:
        http = await stack.enter_async_context(await HttpClient.to(address))
        if way == "http":
            http.send(request("POST", "/files/read", {"path": "much"}))
        else:
            socket = await stack.enter_async_context(opened_socket(http, "/ws/files/read"))
            socket.send({"arguments": {"path": "much"}})
        await eventually(lambda: reads.count >= 2)
        await all_stands(reads)
        (session,) = server._gate.engines
        assert PIECE <= session.connection.held_bytes <= 6 * PIECE
        assert reads.count < MUCH // PIECE


@pytest.mark.parametrize("way", ["http", "websocket"])
async def test_a_download_is_refused_as_any_call_by_other_ways(way: str, root: Path, reads: Reads) -> None:
    async with serving(FileService(root)) as (server, address), await HttpClient.to(address) as http:
        other = joined(server._gate)
        server._gate.weigh_output(other.connection, PROCESS_BYTES * 9 // 10)
        if way == "http":
            answer = await http.post("/files/read", {"path": "file"})
            assert (answer.status, answer.value["processed"]) == (503, "no")
            told = answer.value
        else:
            async with opened_socket(http, "/ws/files/read") as socket:
                socket.send({"arguments": {"path": "file"}})
                told = (await socket.receive())["error"]
        assert told["code"] == "RESOURCE_EXHAUSTED"
        assert "Memory.process_bytes" in json.dumps(told)
        assert reads.count == 0
        server._gate.weigh_output(other.connection, 0)
        other.abort()


async def test_an_unread_transfer_by_rpcx_is_counted(root: Path, reads: Reads) -> None:
    async with serving(RpcxFiles(root)) as (_, address), Client(address) as client:
        answer = await client.call("_filetransfer.DownloadFile", {"FileName": "much"})
        host, _, port = answer["Addr"].rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port), limit=1)
        write_to(writer, answer["Token"])
        await eventually(lambda: reads.count >= 2)
        await all_stands(reads)
        assert PIECE <= bytes_held() <= 6 * PIECE
        assert reads.count < MUCH // PIECE
        writer.transport.abort()
        await eventually(lambda: bytes_held() == 0)


async def test_a_transfer_by_rpcx_is_refused_as_any_call(root: Path, reads: Reads) -> None:
    async with serving(RpcxFiles(root)) as (server, address), Client(address) as client:
        answer = await client.call("_filetransfer.DownloadFile", {"FileName": "file"})
        other = joined(server._gate)
        server._gate.weigh_output(other.connection, PROCESS_BYTES * 9 // 10)
        host, _, port = answer["Addr"].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        write_to(writer, answer["Token"])
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        assert reads.count == 0
        server._gate.weigh_output(other.connection, 0)
        other.abort()


async def test_a_download_that_ends_early_releases_its_counted_bytes(root: Path) -> None:
    async with serving(FileService(root)) as (_, address), Client(address) as client:
        for name in ("file", "much"):
            async with client.stream("files.read", name) as pieces:
                await pieces.receive()
        async with client.stream("files.read", "missing") as pieces:
            with pytest.raises(CallError, match="missing"):
                await pieces.receive()
        await eventually(lambda: bytes_held() == 0)
