"""Files by rpcx's `_filetransfer`, with both sides of ours and connections by hand."""

import asyncio
import contextlib
import gc
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import fastrpc.files.rpcx
from fastrpc import (
    CallError,
    Client,
    ClientConfig,
    ConfigError,
    Server,
    ServerConfig,
    Status,
    SyncClient,
)
from fastrpc._core.base.histogram import default_registry
from fastrpc.auth import Identity, Policy, StaticTokens
from fastrpc.endpoint import Address
from fastrpc.errors import UnavailableError
from fastrpc.files import FileDigest
from fastrpc.files.partial_file import PartialFile
from fastrpc.files.rpcx import RpcxFiles, download, sync, transfer, upload
from fastrpc.files.rpcx.connection import PROTOCOL
from fastrpc.files.rpcx.service import SERVICE_NAME
from fastrpc.files.rpcx.tickets import Ticket, Tickets
from fastrpc.files.rpcx.transfer import Fetching
from tests.support.peer_writing import write_to
from tests.support.transfers import content, digest_of, is_reset, parts_in
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

DATA = content(3_000_000, seed=1)
SPEAKS_RPCX = ClientConfig(wire_protocol="rpcx")


class Place:
    """A folder there and one here."""

    def __init__(self, path: Path) -> None:
        self.there, self.here = path / "there", path / "here"
        self.there.mkdir()
        self.here.mkdir()

    def files(self, **options: Any) -> RpcxFiles:
        return RpcxFiles(self.there, **{"writable": True, **options})


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@asynccontextmanager
async def serving(files: RpcxFiles, **options: Any) -> AsyncIterator[tuple[Server, str]]:
    async with Server(files, config=ServerConfig(protocols=("native", "rpcx")), **options) as server:
        yield server, str(await server.listen("tcp://127.0.0.1:0"))


@asynccontextmanager
async def calling(files: RpcxFiles, **options: Any) -> AsyncIterator[Client]:
    async with serving(files, **options) as (_, target), Client(target, config=SPEAKS_RPCX) as client:
        yield client


async def asked(client: Client, method: str, **args: Any) -> dict[str, Any]:
    answer: dict[str, Any] = await client.call(f"{SERVICE_NAME}.{method}", args)
    return answer


async def dialled(answer: dict[str, Any]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Show the token of an answer."""
    host, _, port = answer["Addr"].rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    write_to(writer, answer["Token"])
    return reader, writer


def moved(method: str, direction: str) -> int:
    counters = default_registry.counters(f"{SERVICE_NAME}.{method}", "server", "rpcx-files")
    return int(counters.snapshot()[f"{direction}_bytes"])


@pytest.mark.parametrize("size", [0, 1, len(DATA)])
async def test_a_file_goes_there_and_back_and_its_bytes_are_counted(size: int, place: Place) -> None:
    data = DATA[:size]
    (place.here / "a").write_bytes(data)
    before = moved("TransferFile", "received"), moved("DownloadFile", "sent")
    async with calling(place.files()) as client:
        assert await upload(client, place.here / "a", "b") == digest_of(data)
        assert (place.there / "b").read_bytes() == data
        assert await download(client, "b", place.here / "c") == digest_of(data)
    after = moved("TransferFile", "received"), moved("DownloadFile", "sent")
    # Beside them there are only arguments and answers of a few bytes.
    assert all(size <= now - then <= size + 100 for now, then in zip(after, before, strict=True))
    assert (place.here / "c").read_bytes() == data
    assert parts_in(place.here) == parts_in(place.there) == []


async def test_a_blocking_client_copies_files_too(place: Place) -> None:
    (place.here / "a").write_bytes(DATA)

    def copy(target: str) -> list[FileDigest]:
        with SyncClient(target, config=SPEAKS_RPCX) as client:
            return [sync.upload(client, place.here / "a", "b"), sync.download(client, "b", place.here / "c")]

    async with serving(place.files()) as (_, target):
        assert await asyncio.to_thread(copy, target) == [digest_of(DATA)] * 2
    assert (place.here / "c").read_bytes() == DATA


async def test_transfers_are_calls_of_the_method_that_gave_their_token(place: Place) -> None:
    """Callers without the right make no transfer; a transfer has a call's identity, counters and interceptors."""
    seen: list[tuple[str, str, str]] = []

    async def note(call: Any, proceed: Callable[[Any], Any]) -> Any:
        seen.append((call.method.rpartition(".")[2], call.peer.protocol, call.identity.name))
        return await proceed(call)

    def counted() -> int:
        counters = default_registry.counters(f"{SERVICE_NAME}.DownloadFile", "server", "rpcx-files")
        return int(counters.snapshot()["calls"].get("OK", 0))

    (place.there / "a").write_bytes(DATA)
    tokens = StaticTokens({"one": Identity("reader"), "two": Identity("nobody")})
    policy = Policy([{"who": ["reader"], "allow": [f"{SERVICE_NAME}.DownloadFile"]}])
    before = counted()
    options = {"authenticate": tokens, "authorize": policy, "interceptors": [note]}
    async with serving(place.files(), **options) as (_, target):
        async with Client(target, config=SPEAKS_RPCX, credentials="one") as client:
            await download(client, "a", place.here / "a")
            with pytest.raises(CallError) as refused:
                await upload(client, place.here / "a", "b")
            assert refused.value.status is Status.PERMISSION_DENIED
        async with Client(target, config=SPEAKS_RPCX, credentials="two") as client:
            with pytest.raises(CallError) as refused:
                await download(client, "a", place.here / "b")
            assert refused.value.status is Status.PERMISSION_DENIED
        await eventually(lambda: counted() == before + 1)
    assert seen == [("DownloadFile", protocol, "reader") for protocol in ("rpcx", "rpcx-files")]
    assert os.listdir(place.here) == ["a"]


async def test_a_token_is_valid_once(place: Place) -> None:
    (place.there / "a").write_bytes(b"abc")
    async with calling(place.files()) as client:
        answer = await asked(client, "DownloadFile", FileName="a")
        reader, writer = await dialled(answer)
        assert await reader.read() == b"abc"
        writer.close()
        assert await is_reset(*await dialled(answer))
        assert await is_reset(*await dialled({**answer, "Token": b"x" * 32}))


def test_a_token_expires_and_too_many_are_refused() -> None:
    now = 0.0
    tickets = Tickets(most=2, seconds=30, clock=lambda: now)
    ticket = Ticket("m", None, "a", 1)  # type: ignore[arg-type]
    first, second = tickets.give(ticket), tickets.give(ticket)
    with pytest.raises(CallError) as refused:
        tickets.give(ticket)
    assert (refused.value.status, refused.value.retry_after) == (Status.RESOURCE_EXHAUSTED, 30)
    assert tickets.take(first) is ticket
    now = 30.0
    assert tickets.take(second) is None
    assert tickets.give(ticket) != second


def test_the_holder_of_most_tokens_gives_way_to_other_callers() -> None:
    tickets = Tickets(most=3, seconds=30)
    one, other = (Ticket("m", None, "a", 1, holder=name) for name in ("one", "other"))  # type: ignore[arg-type]
    first, second, _ = [tickets.give(one) for _ in range(3)]
    kept = tickets.give(other)
    assert tickets.take(first) is None
    with pytest.raises(CallError):
        tickets.give(other)
    assert (tickets.take(second), tickets.take(kept)) == (one, other)


@pytest.mark.parametrize(
    ("args", "status"),
    [
        ({"FileName": "../here/a", "FileSize": 1}, Status.INVALID_ARGUMENT),
        ({"FileName": "/etc/passwd", "FileSize": 1}, Status.INVALID_ARGUMENT),
        ({"FileName": "a\0", "FileSize": 1}, Status.INVALID_ARGUMENT),
        ({"FileName": "link", "FileSize": 1}, Status.NOT_FOUND),
        ({"FileName": "no/folder", "FileSize": 1}, Status.NOT_FOUND),
        ({"FileName": 1, "FileSize": 1}, Status.INVALID_ARGUMENT),
        ({}, Status.INVALID_ARGUMENT),
    ],
)
async def test_names_stay_below_the_root(args: dict[str, Any], status: Status, place: Place) -> None:
    (place.here / "a").write_bytes(b"secret")
    (place.there / "link").symlink_to(place.here / "a")
    async with calling(place.files()) as client:
        for method in ("TransferFile", "DownloadFile"):
            with pytest.raises(CallError) as refused:
                await asked(client, method, **args)
            assert refused.value.status is status
    assert (place.here / "a").read_bytes() == b"secret"


@pytest.mark.parametrize(
    ("options", "args", "status"),
    [
        ({"writable": False}, {"FileSize": 1}, Status.PERMISSION_DENIED),
        ({"most_bytes": 10}, {"FileSize": 11}, Status.RESOURCE_EXHAUSTED),
        ({}, {"FileSize": -1}, Status.INVALID_ARGUMENT),
        ({}, {"FileSize": "1"}, Status.INVALID_ARGUMENT),
        ({}, {"FileSize": True}, Status.INVALID_ARGUMENT),
        ({}, {"FileSize": 1, "Meta": {"sha256": "x"}}, Status.INVALID_ARGUMENT),
        ({}, {"FileName": "a.fastrpc-part", "FileSize": 1}, Status.INVALID_ARGUMENT),
    ],
)
async def test_a_forbidden_upload_gets_no_token(
    options: dict[str, Any], args: dict[str, Any], status: Status, place: Place
) -> None:
    async with calling(place.files(**options)) as client:
        with pytest.raises(CallError) as refused:
            await asked(client, "TransferFile", **{"FileName": "a", **args})
    assert refused.value.status is status


@pytest.mark.parametrize(
    ("sent", "meta"),
    [(b"ab", {}), (b"abcd", {}), (b"abc", {"sha256": "0" * 64})],
    ids=["too few bytes", "too many bytes", "another digest"],
)
async def test_a_file_that_differs_from_its_announcement_is_dropped(
    sent: bytes, meta: dict[str, str], place: Place
) -> None:
    (place.there / "a").write_bytes(b"before")
    async with calling(place.files()) as client:
        # As Go's JSON says it.
        answer = await asked(client, "TransferFile", file_name="a", file_size=3, meta=meta)
        reader, writer = await dialled(answer)
        write_to(writer, sent)
        writer.write_eof()
        assert await is_reset(reader, writer)
    assert (place.there / "a").read_bytes() == b"before"
    assert os.listdir(place.there) == ["a"]


async def test_a_file_that_changed_after_its_size_was_told_is_not_sent(place: Place) -> None:
    (place.there / "a").write_bytes(b"abc")
    async with calling(place.files()) as client:
        answer = await asked(client, "DownloadFile", FileName="a")
        (place.there / "a").write_bytes(b"another content")
        assert await is_reset(*await dialled(answer))


async def test_a_server_that_closes_resets_its_transfers(place: Place) -> None:
    (place.there / "a").write_bytes(bytes(64_000_000))
    async with serving(place.files()) as (server, target), Client(target, config=SPEAKS_RPCX) as client:
        reader, writer = await dialled(await asked(client, "DownloadFile", FileName="a"))
        await reader.readexactly(1_000)
        await server.close()
        assert await is_reset(reader, writer)


def transfers_of(server: Server) -> list[Any]:
    """Return the connections of transfers."""
    assert server._gate is not None
    return [one for one in server._gate.engines if one.connection.protocol == PROTOCOL]


async def test_uploads_that_a_closing_server_cuts_off_remove_their_files(place: Place) -> None:
    async with serving(place.files()) as (server, target), Client(target, config=SPEAKS_RPCX) as client:
        peers = []
        for name in "abc":
            answer = await asked(client, "TransferFile", FileName=name, FileSize=len(DATA))
            peers.append(await dialled(answer))
            peers[-1][1].write(DATA[:100_000])
        await eventually(lambda: len(parts_in(place.there)) == 3)
        await server.close()
        assert os.listdir(place.there) == []
        assert [await is_reset(*peer) for peer in peers] == [True] * 3


async def test_an_upload_waits_for_a_slow_disk_of_the_server(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish, unsent, looks = PartialFile.finish, transfer._unsent, threading.Semaphore(0)

    def slow_finish(partial: PartialFile) -> None:
        # Two looks belong to each silence of the server.
        assert all(looks.acquire(timeout=30) for _ in range(5))
        finish(partial)

    monkeypatch.setattr(transfer, "SILENCE_SECONDS", 0.2)
    monkeypatch.setattr(transfer, "_unsent", lambda connected: looks.release() or unsent(connected))
    monkeypatch.setattr(PartialFile, "finish", slow_finish)
    (place.here / "a").write_bytes(b"abc")
    async with calling(place.files()) as client:
        assert await upload(client, place.here / "a", "b") == digest_of(b"abc")


async def test_an_upload_whose_end_has_come_is_stored_after_a_garbage_collection(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the loop holds a connection that is neither read from nor written to."""
    finish, has_come, may_finish = PartialFile.finish, threading.Event(), threading.Event()

    def slow_finish(partial: PartialFile) -> None:
        has_come.set()
        may_finish.wait(30)
        finish(partial)

    monkeypatch.setattr(PartialFile, "finish", slow_finish)
    (place.here / "a").write_bytes(b"abc")
    async with calling(place.files()) as client:
        copying = asyncio.ensure_future(upload(client, place.here / "a", "b"))
        await eventually(has_come.is_set)
        gc.collect()
        may_finish.set()
        assert await copying == digest_of(b"abc")
        assert (place.there / "b").read_bytes() == b"abc"


@pytest.mark.parametrize("is_removed", [False, True])
async def test_a_transfer_is_judged_by_the_token_of_its_caller_when_the_file_changes(
    is_removed: bool, place: Place
) -> None:
    tokens = place.here / "tokens"
    reader_token, writer_token = (
        f'[[token]]\ntoken = "{token}"\nname = "{name}"\n'
        for token, name in (("one", "reader"), ("two", "writer"))
    )
    tokens.write_text(reader_token)
    async with serving(place.files(), authenticate=StaticTokens.from_file(tokens)) as (server, target):
        async with Client(target, config=SPEAKS_RPCX, credentials="one") as client:
            answer = await asked(client, "TransferFile", FileName="a", FileSize=3)
            tokens.write_text(writer_token if is_removed else reader_token + writer_token)
            server.reload()
            reader, writer = await dialled(answer)
            write_to(writer, b"abc")
            writer.write_eof()
            assert await is_reset(reader, writer) is is_removed
    assert os.listdir(place.there) == ([] if is_removed else ["a"])


async def test_a_connection_that_came_before_a_drain_may_show_its_token(
    place: Place,
) -> None:
    async with serving(place.files()) as (server, target), Client(target, config=SPEAKS_RPCX) as client:
        (place.there / "a").write_bytes(b"abc")
        held = await asked(client, "TransferFile", FileName="b", FileSize=1)
        held_reader, held_writer = await dialled(held)
        await eventually(lambda: parts_in(place.there) or server.stats()["live"]["calls"])
        answer = await asked(client, "DownloadFile", FileName="a")
        token, early = answer["Token"], server.stats()["live"]["connections"]
        reader, writer = await dialled({**answer, "Token": token[:1]})
        await eventually(lambda: server.stats()["live"]["connections"] > early)
        draining = asyncio.ensure_future(server.drain())
        assert len(transfers_of(server)) == 2
        await eventually(lambda: all(one.connection.is_draining for one in transfers_of(server)))
        write_to(writer, token[1:])
        assert await reader.read() == b"abc"
        writer.close()
        write_to(held_writer, b"x")
        held_writer.write_eof()
        assert not await is_reset(held_reader, held_writer)
        assert await draining


async def test_a_server_drains_after_its_transfers(place: Place) -> None:
    async with serving(place.files()) as (server, target):
        async with Client(target, config=SPEAKS_RPCX) as client:
            answer = await asked(client, "TransferFile", FileName="a", FileSize=3)
            _, writer = await dialled(answer)
            write_to(writer, b"ab")
            await eventually(lambda: parts_in(place.there))
            draining = asyncio.ensure_future(server.drain())
            await eventually(lambda: server.is_draining)
            write_to(writer, b"c")
            writer.close()
            assert await draining
    assert (place.there / "a").read_bytes() == b"abc"


async def test_a_client_that_goes_leaves_nothing(place: Place) -> None:
    (place.here / "a").write_bytes(DATA)
    async with serving(place.files()) as (server, target), Client(target, config=SPEAKS_RPCX) as client:
        answer = await asked(client, "TransferFile", FileName="a", FileSize=len(DATA))
        _, writer = await dialled(answer)
        write_to(writer, DATA[:100_000])
        await eventually(lambda: parts_in(place.there))
        writer.transport.abort()
        await eventually(lambda: not os.listdir(place.there))
        await eventually(lambda: not server.stats()["live"]["calls"])


async def test_a_reader_that_waits_is_not_sent_everything(place: Place) -> None:
    (place.there / "a").write_bytes(bytes(64_000_000))
    async with serving(place.files()) as (server, target), Client(target, config=SPEAKS_RPCX) as client:
        reader, writer = await dialled(await asked(client, "DownloadFile", FileName="a"))
        await eventually(lambda: server.stats()["buffered"] > 256 * 1024)
        # Until the system takes no more, and the disk brings no more.
        seen, rests = -1, 0
        while rests < 20:
            await asyncio.sleep(0.005)
            before, seen = seen, server.stats()["buffered"]
            assert seen < 2_000_000
            rests = rests + 1 if seen == before else 0
        assert sum([len(await reader.readexactly(1_000_000)) for _ in range(64)]) == 64_000_000
        assert await reader.read() == b""
        writer.close()


async def test_a_cancelled_transfer_ends(place: Place) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        has_begun.set()
        await reader.read()
        writer.close()

    has_begun = asyncio.Event()
    (place.there / "a").write_bytes(b"abc")
    silent = await asyncio.start_server(accept, "127.0.0.1", 0)
    host, port = silent.sockets[0].getsockname()
    async with silent, calling(place.files(advertise=f"{host}:{port}")) as client:
        copying = asyncio.ensure_future(download(client, "a", place.here / "a"))
        await has_begun.wait()
        copying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await copying
    assert os.listdir(place.here) == []


async def test_a_cancelled_dial_ends(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastrpc.files.rpcx.transfer, "SILENCE_SECONDS", 600.0)
    (place.there / "a").write_bytes(b"abc")
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as dialled_before:
        # Its queue is full: the system answers no further dial.
        for _ in range(4):
            waiting = dialled_before.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        dialled = asyncio.Event()
        loop, dial = asyncio.get_running_loop(), Fetching._dial

        def noted(fetching: Fetching, address: Address) -> socket.socket:
            loop.call_soon_threadsafe(dialled.set)
            return dial(fetching, address)

        monkeypatch.setattr(Fetching, "_dial", noted)
        async with calling(place.files(advertise=f"127.0.0.1:{full.getsockname()[1]}")) as client:
            copying = asyncio.ensure_future(download(client, "a", place.here / "a"))
            await dialled.wait()
            copying.cancel()
            async with asyncio.timeout(60):
                with pytest.raises(asyncio.CancelledError):
                    await copying


@pytest.mark.parametrize("host", ["a" * 70, "a..b"])
async def test_a_server_whose_name_cannot_be_looked_up_is_unavailable(host: str, place: Place) -> None:
    (place.there / "a").write_bytes(b"abc")
    async with calling(place.files(advertise=f"{host}:80")) as client:
        with pytest.raises(UnavailableError, match="label"):
            await download(client, "a", place.here / "a")


async def test_a_missing_server_is_unavailable(place: Place) -> None:
    (place.there / "a").write_bytes(b"abc")
    async with calling(place.files(advertise="127.0.0.1:1")) as client:
        with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1 of tcp://127.+refused"):
            await download(client, "a", place.here / "a")
    assert os.listdir(place.here) == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"address": "unix:///tmp/a"}, "only by tcp://host:port"),
        ({"address": "tcp://0.0.0.0:0"}, "callers cannot dial"),
        ({"advertise": "shop"}, "names no port"),
        ({"advertise": ":1"}, "it must be 'host:port'"),
        ({"most_bytes": 0}, "must be bytes from 1"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], text: str, place: Place) -> None:
    with pytest.raises(ConfigError, match=text):
        place.files(**options)


def test_the_module_offers_the_names_of_the_page() -> None:
    assert fastrpc.files.rpcx.__all__ == ["RpcxFiles", "download", "upload"]
