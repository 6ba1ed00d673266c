"""Downloads and uploads, by both clients: whole, resumed, changed on the way, and refused."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import fastrpc.files
import fastrpc.files.rpcx.sync
from fastrpc import CallError, Client, PeerClient, Status, SyncClient
from fastrpc.config import Limits, ServerConfig
from fastrpc.files import FileDigest, FileService, download, upload
from fastrpc.rpc.marking import method
from tests.integration.files.test_file_service import file_size_limit
from tests.support.served import served
from tests.support.transfers import (
    CLIENTS,
    PIECE,
    Stopped,
    Transfers,
    content,
    digest_of,
    parts_in,
    stopping_at,
)
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

DATA = content(4_000_000)
DIGEST = digest_of(DATA)
HALF = 2_000_000


class Counted(FileService):
    """Counts the bytes that go through it, and the uploads that begin."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, writable=True)
        self.read_bytes = 0
        self.written_bytes = 0
        self.writes = 0

    @method(idempotent=True)
    async def read(self, path: str, offset: int = 0, version: str = "") -> AsyncIterator[bytes]:
        async for piece in super().read(path, offset, version):
            self.read_bytes += len(piece)
            yield piece

    @method
    async def write(
        self, data: AsyncIterator[bytes], path: str, offset: int, size: int, sha256: str
    ) -> FileDigest:
        self.writes += 1

        async def counted() -> AsyncIterator[bytes]:
            async for piece in data:
                self.written_bytes += len(piece)
                yield piece

        return await super().write(counted(), path, offset, size, sha256)


@fastrpc.service("hub")
class Hub:
    @method(timeout=60)
    async def fetch(self, path: str) -> FileDigest:
        client = fastrpc.current_call().peer.client
        assert client is not None
        await download(client, "a", path)
        return await upload(client, path, "c")


class Desk:
    """A folder that is served, and one of this machine."""

    def __init__(self, there: Path, here: Path) -> None:
        self.there = there
        self.here = here
        self.files = Counted(there)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    for name in ("there", "here"):
        (tmp_path / name).mkdir()
    return Desk(tmp_path / "there", tmp_path / "here")


@pytest.fixture(params=CLIENTS)
def transfers(request: pytest.FixtureRequest) -> Transfers:
    return Transfers(request.param)


@pytest.mark.parametrize("scheme", ["tcp", "unix"])
@pytest.mark.parametrize("size", [0, 1, PIECE, 4_000_000])
async def test_a_file_is_copied_there_and_back(
    size: int, scheme: str, transfers: Transfers, desk: Desk
) -> None:
    data = content(size)
    (desk.here / "a").write_bytes(data)
    seen: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        seen.append((done, total))

    async with served(desk.files, scheme=scheme) as target:
        for copy in (
            transfers.upload(target, desk.here / "a", "b", progress=progress),
            transfers.download(target, "b", desk.here / "c", progress=progress),
        ):
            assert await copy == digest_of(data)
            assert seen[0] == (0, size)
            assert seen[-1] == (size, size)
            assert seen == sorted(seen)
            seen.clear()
    assert (desk.there / "b").read_bytes() == (desk.here / "c").read_bytes() == data
    assert parts_in(desk.there) == parts_in(desk.here) == []


async def test_memory_transport(desk: Desk) -> None:
    (desk.here / "a").write_bytes(DATA)
    async with served(desk.files) as target, Client(target) as client:
        assert await upload(client, desk.here / "a", "b") == DIGEST
        assert await download(client, "b", desk.here / "c") == DIGEST
    assert (desk.here / "c").read_bytes() == DATA


async def test_a_server_copies_files_of_its_client(desk: Desk) -> None:
    (desk.there / "a").write_bytes(DATA)
    async with served(Hub, scheme="tcp") as target:
        async with Client(target, services=[desk.files]) as client:
            copied = await client.call(Hub.fetch, str(desk.here / "b"))
    assert copied == DIGEST
    assert (desk.there / "c").read_bytes() == (desk.here / "b").read_bytes() == DATA


@pytest.mark.parametrize(
    ("module", "kinds"),
    [(fastrpc.files, "Client or PeerClient"), (fastrpc.files.rpcx, "Client")],
    ids=["files", "rpcx"],
)
def test_a_client_of_another_kind_is_refused(module: Any, kinds: str) -> None:
    name = module.__name__
    peer = PeerClient.__new__(PeerClient)
    with SyncClient("memory://nobody") as blocking:
        for client in (blocking, *(() if "Peer" in kinds else (peer,))):
            text = rf"type {type(client).__name__}, it must be a {kinds}; {name}\.sync takes a SyncClient$"
            with pytest.raises(TypeError, match=text):
                asyncio.run(module.download(client, "a", "b"))
    for other in (Client("memory://nobody"), peer):
        text = rf"type {type(other).__name__}, it must be a SyncClient; {name} takes a {kinds}$"
        with pytest.raises(TypeError, match=text):
            module.sync.upload(other, "a", "b")


async def test_a_service_of_another_name(transfers: Transfers, desk: Desk) -> None:
    files = FileService(desk.there, writable=True, name="shop.pictures")
    (desk.here / "a").write_bytes(b"abc")
    async with served(files, scheme="tcp") as target:
        assert await transfers.upload(target, desk.here / "a", "b", service="shop.pictures") == digest_of(
            b"abc"
        )
        assert await transfers.download(target, "b", desk.here / "c", service="shop.pictures") == digest_of(
            b"abc"
        )
        with pytest.raises(CallError) as refused:
            await transfers.download(target, "b", desk.here / "d")
        assert refused.value.status is Status.UNIMPLEMENTED
    assert os.listdir(desk.there) == ["b"]
    assert sorted(os.listdir(desk.here)) == ["a", "c"]


class TestResuming:
    async def test_a_download_continues_where_it_stopped(self, transfers: Transfers, desk: Desk) -> None:
        (desk.there / "a").write_bytes(DATA)
        target_path = desk.here / "b"
        target_path.write_bytes(b"before")
        async with served(desk.files, scheme="tcp") as target:
            with pytest.raises(Stopped):
                await transfers.download(target, "a", target_path, progress=stopping_at(HALF))
            held = (desk.here / "b.fastrpc-part").read_bytes()
            assert HALF <= len(held) < len(DATA)
            assert DATA.startswith(held)
            assert target_path.read_bytes() == b"before"
            desk.files.read_bytes = 0
            assert await transfers.download(target, "a", target_path) == DIGEST
            assert desk.files.read_bytes == len(DATA) - len(held)
        assert target_path.read_bytes() == DATA
        assert parts_in(desk.here) == []

    async def test_an_upload_continues_where_it_stopped(self, transfers: Transfers, desk: Desk) -> None:
        (desk.here / "a").write_bytes(DATA)
        async with served(desk.files, scheme="tcp") as target:
            with pytest.raises(Stopped):
                await transfers.upload(target, desk.here / "a", "b", progress=stopping_at(HALF))
            await eventually(lambda: not target.server.stats()["live"]["calls"])
            held = (desk.there / "b.fastrpc-part").stat().st_size
            assert 0 < held < len(DATA)
            desk.files.written_bytes = 0
            assert await transfers.upload(target, desk.here / "a", "b") == DIGEST
            assert desk.files.written_bytes == len(DATA) - held
        assert (desk.there / "b").read_bytes() == DATA
        assert parts_in(desk.there) == []

    @pytest.mark.parametrize("held", [b"", DATA[:HALF], DATA, b"x" * HALF, DATA + b"x"])
    @pytest.mark.parametrize("resume", [True, False])
    async def test_a_partial_file_is_continued_only_if_its_content_is_right(
        self, resume: bool, held: bytes, transfers: Transfers, desk: Desk
    ) -> None:
        (desk.there / "a").write_bytes(DATA)
        (desk.here / "b.fastrpc-part").write_bytes(held)
        (desk.there / "c.fastrpc-part").write_bytes(held)
        async with served(desk.files, scheme="tcp") as target:
            assert await transfers.download(target, "a", desk.here / "b", resume=resume) == DIGEST
            assert await transfers.upload(target, desk.here / "b", "c", resume=resume) == DIGEST
        assert (desk.here / "b").read_bytes() == (desk.there / "c").read_bytes() == DATA
        is_used = resume and DATA.startswith(held)
        assert desk.files.written_bytes == len(DATA) - (len(held) if is_used else 0)
        if is_used or not resume:
            assert desk.files.read_bytes == desk.files.written_bytes

    @pytest.mark.parametrize("verb", ["download", "upload"])
    async def test_a_cancelled_transfer_leaves_the_path_free(self, verb: str, desk: Desk) -> None:
        (desk.there / "a").write_bytes(DATA)
        is_half = asyncio.Event()

        def progress(done: int, total: int) -> None:
            if done >= HALF:
                is_half.set()

        async with served(desk.files, scheme="tcp") as target, Client(target) as client:

            async def copy() -> FileDigest:
                if verb == "download":
                    return await download(client, "a", desk.here / "b", progress=progress)
                return await upload(client, desk.there / "a", "b", progress=progress)

            task = asyncio.ensure_future(copy())
            await is_half.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await copy() == DIGEST
        assert ((desk.here if verb == "download" else desk.there) / "b").read_bytes() == DATA


class TestChanges:
    async def test_a_download_of_a_file_that_changes_starts_again(
        self, transfers: Transfers, desk: Desk
    ) -> None:
        (desk.there / "a").write_bytes(DATA)
        other = content(9_000_000, seed=2)

        def progress(done: int, total: int) -> None:
            if done >= 1_000_000 and (desk.there / "a").stat().st_size != len(other):
                (desk.there / "new").write_bytes(other)
                os.replace(desk.there / "new", desk.there / "a")
                # The replaced file is still whole for whoever has it open; a written one is not.
                (desk.there / "a").write_bytes(other)

        async with served(desk.files, scheme="tcp") as target:
            found = await transfers.download(target, "a", desk.here / "b", progress=progress)
        assert found == digest_of(other)
        assert (desk.here / "b").read_bytes() == other

    async def test_a_file_changed_between_two_attempts_starts_again(
        self, transfers: Transfers, desk: Desk
    ) -> None:
        (desk.there / "a").write_bytes(DATA)
        other = content(len(DATA), seed=2)
        async with served(desk.files, scheme="tcp") as target:
            with pytest.raises(Stopped):
                await transfers.download(target, "a", desk.here / "b", progress=stopping_at(HALF))
            (desk.there / "a").write_bytes(other)
            assert await transfers.download(target, "a", desk.here / "b") == digest_of(other)
        assert (desk.here / "b").read_bytes() == other

    async def test_an_upload_of_a_file_that_changes_starts_again(
        self, transfers: Transfers, desk: Desk
    ) -> None:
        (desk.here / "a").write_bytes(DATA)
        other = content(9_000_000, seed=2)

        def progress(done: int, total: int) -> None:
            if done and total == len(DATA):
                (desk.here / "a").write_bytes(other)

        async with served(desk.files, scheme="tcp") as target:
            found = await transfers.upload(target, desk.here / "a", "b", progress=progress)
        assert found == digest_of(other)
        assert (desk.there / "b").read_bytes() == other

    async def test_a_file_that_never_rests_is_abandoned(self, transfers: Transfers, desk: Desk) -> None:
        (desk.there / "a").write_bytes(DATA)
        number = 0

        def progress(done: int, total: int) -> None:
            nonlocal number
            number += 1
            os.utime(desk.there / "a", ns=(number, number))

        async with served(desk.files, scheme="tcp") as target:
            with pytest.raises(CallError, match="'a' has changed; begin anew") as refused:
                await transfers.download(target, "a", desk.here / "b", progress=progress)
            assert refused.value.status is Status.ABORTED
        assert not (desk.here / "b").exists()


class TestRefusals:
    async def test_one_download_a_path(self, transfers: Transfers, desk: Desk) -> None:
        (desk.there / "a").write_bytes(DATA)
        with (desk.here / "b.fastrpc-part").open("wb") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            async with served(desk.files, scheme="tcp") as target:
                with pytest.raises(CallError, match="another transfer writes") as refused:
                    await transfers.download(target, "a", desk.here / "b")
                assert refused.value.status is Status.ABORTED

    async def test_an_upload_waits_a_moment_for_the_writer_before_it(
        self, transfers: Transfers, desk: Desk
    ) -> None:
        """That one may be the handler of a client that was killed, which ends soon."""
        (desk.here / "a").write_bytes(b"abc")
        async with served(desk.files, scheme="tcp") as target, Client(target) as client:
            given = ("b", 0, 3, digest_of(b"abc").sha256)
            async with client.open(FileService.write, *given) as first:
                await first.send(b"a")
                await eventually(lambda: parts_in(desk.there))
                with pytest.raises(CallError, match="another call writes 'b'") as refused:
                    await transfers.upload(target, desk.here / "a", "b")
                assert refused.value.status is Status.ABORTED
                begun = desk.files.writes
                second = asyncio.ensure_future(transfers.upload(target, desk.here / "a", "b"))
                await eventually(lambda: desk.files.writes > begun)
            assert await second == digest_of(b"abc")

    async def test_a_refused_name_creates_no_local_file(self, transfers: Transfers, desk: Desk) -> None:
        (desk.there / "folder").mkdir()
        async with served(desk.files, scheme="tcp") as target:
            for name, status in (
                ("nothing", Status.NOT_FOUND),
                ("../here/a", Status.INVALID_ARGUMENT),
                ("folder", Status.INVALID_ARGUMENT),
            ):
                with pytest.raises(CallError) as refused:
                    await transfers.download(target, name, desk.here / "a")
                assert refused.value.status is status
            assert os.listdir(desk.here) == []
            (desk.here / "a").write_bytes(DATA)
            with pytest.raises(CallError, match=r"'\.\./a' is not the name of a file") as refused:
                await transfers.upload(target, desk.here / "a", "../a")
            assert refused.value.status is Status.INVALID_ARGUMENT

    async def test_paths_of_this_machine_that_are_no_files(self, transfers: Transfers, desk: Desk) -> None:
        (desk.there / "a").write_bytes(DATA)
        (desk.here / "folder").mkdir()
        os.mkfifo(desk.here / "pipe")
        async with served(desk.files, scheme="tcp") as target:
            for path, error in (
                ("nothing/a", FileNotFoundError),
                ("folder", IsADirectoryError),
                ("pipe", OSError),
            ):
                with pytest.raises(error) as refused:
                    await transfers.download(target, "a", desk.here / path)
                assert refused.value.filename == str(desk.here / path)
                with pytest.raises(error):
                    await transfers.upload(target, desk.here / path, "b")
        assert sorted(os.listdir(desk.here)) == ["folder", "pipe"]
        assert os.listdir(desk.there) == ["a"]

    async def test_a_full_disk_here_is_an_error_of_the_system(self, transfers: Transfers, desk: Desk) -> None:
        (desk.there / "a").write_bytes(DATA)
        async with served(desk.files, scheme="tcp") as target:
            with file_size_limit(HALF), pytest.raises(OSError, match="File too large") as refused:
                await transfers.download(target, "a", desk.here / "b")
            assert refused.value.filename == str(desk.here / "b")
            desk.files.read_bytes = 0
            assert await transfers.download(target, "a", desk.here / "b") == DIGEST
            assert desk.files.read_bytes == len(DATA) - HALF

    async def test_damage_on_the_disk_is_found(self, transfers: Transfers, desk: Desk) -> None:
        """A digest of the service that differs from the content ends in DATA_LOSS, and nothing takes the name."""

        class Damaged(FileService):
            @method(idempotent=True)
            async def digest(self, path: str) -> FileDigest:
                return digest_of(b"another content")

        (desk.there / "a").write_bytes(DATA)
        async with served(Damaged(desk.there), scheme="tcp") as target:
            with pytest.raises(CallError, match="the digest of the bytes received for 'a' is") as refused:
                await transfers.download(target, "a", desk.here / "b")
            assert refused.value.status is Status.DATA_LOSS
        assert os.listdir(desk.here) == []


async def test_a_link_here_keeps_leading_to_the_file(transfers: Transfers, desk: Desk) -> None:
    (desk.there / "a").write_bytes(DATA)
    (desk.here / "link").symlink_to("b")
    async with served(desk.files, scheme="tcp") as target:
        assert await transfers.download(target, "a", desk.here / "link") == DIGEST
    assert (desk.here / "link").is_symlink()
    assert (desk.here / "b").read_bytes() == DATA


async def test_a_small_window_and_small_messages_are_enough(transfers: Transfers, desk: Desk) -> None:
    (desk.there / "a").write_bytes(DATA)
    config = ServerConfig(limits=Limits(stream_window_bytes=16_384, frame_bytes=16_384))
    async with served(desk.files, scheme="tcp", config=config) as target:
        assert await transfers.download(target, "a", desk.here / "b") == DIGEST
        assert await transfers.upload(target, desk.here / "b", "c") == DIGEST


async def test_many_transfers_at_once(desk: Desk) -> None:
    datas = [content(1_000_000, seed=number) for number in range(30)]
    async with served(desk.files, scheme="tcp") as target, Client(target) as client:
        for number, data in enumerate(datas):
            (desk.here / f"{number}").write_bytes(data)
        await asyncio.gather(
            *(upload(client, desk.here / f"{number}", f"{number}") for number in range(len(datas)))
        )
        found = await asyncio.gather(
            *(download(client, f"{number}", desk.here / f"{number}-back") for number in range(len(datas)))
        )
        assert found == [digest_of(data) for data in datas]
        await eventually(lambda: not target.server.stats()["live"]["calls"])
    assert parts_in(desk.here) == parts_in(desk.there) == []


def test_the_module_offers_the_names_of_the_page() -> None:
    assert fastrpc.files.__all__ == ["FileDigest", "FileInfo", "FileService", "download", "upload"]
