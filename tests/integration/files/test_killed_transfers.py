"""Clients and servers that are killed half-way: the next transfer continues there, and the digest is right."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastrpc import ConnectionLostError, UnavailableError
from tests.support.ports import free_ports
from tests.support.program import Program
from tests.support.transfers import CLIENTS, Transfers, content, digest_of, parts_in
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

DATA = content(30_000_000)
DIGEST = digest_of(DATA)
HALF = 15_000_000

SERVER = """
import asyncio, sys
import fastrpc
from fastrpc.files import FileService

async def serve():
    async with fastrpc.Server(FileService(sys.argv[1], writable=True)) as server:
        print("serving at", await server.listen(sys.argv[2]), flush=True)
        await server.serve_forever()

asyncio.run(serve())
"""

#: Says that half of the file has arrived, and stands still until it is killed.
CLIENT = """
import asyncio, sys, time
import fastrpc
from fastrpc import files
from fastrpc.files import sync

kind, verb, address, first, second, half = sys.argv[1:]

def progress(done, total):
    if done >= int(half):
        print("half", flush=True)
        time.sleep(1_000)

async def run():
    async with fastrpc.Client(address) as client:
        await getattr(files, verb)(client, first, second, progress=progress)

if kind == "Client":
    asyncio.run(run())
else:
    with fastrpc.SyncClient(address) as client:
        getattr(sync, verb)(client, first, second, progress=progress)
"""


class Site:
    """A server of files that can be killed and started again at its address."""

    def __init__(self, folder: Path) -> None:
        self.there, self.here = folder / "there", folder / "here"
        for path in (self.there, self.here):
            path.mkdir()
        self.address = f"tcp://127.0.0.1:{free_ports(1)[0]}"
        self.start()

    def start(self) -> None:
        self.is_up = True
        self._server = Program(["-c", SERVER, str(self.there), self.address], self.here)
        self._server.wait_output("serving at")

    def kill(self) -> None:
        """Kill the server, once: bytes sent before may still reach a caller that kills it."""
        if not self.is_up:
            return
        self.is_up = False
        self._server.signal(signal.SIGKILL, group=True)
        self._server.__exit__(None, None, None)

    def killed_client(self, kind: str, verb: str, first: str, second: str) -> None:
        """Run a transfer in a separate process, and kill that half-way."""
        given = [kind, verb, self.address, first, second, str(HALF)]
        with Program(["-c", CLIENT, *given], self.here) as client:
            client.wait_output("half")
            client.signal(signal.SIGKILL)
            assert client.wait().code == -signal.SIGKILL


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.kill()


@pytest.fixture(params=CLIENTS)
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


def size_of(path: Path) -> int:
    return path.stat().st_size


async def test_a_download_whose_client_was_killed_is_continued(kind: str, site: Site) -> None:
    (site.there / "a").write_bytes(DATA)
    site.killed_client(kind, "download", "a", "b")
    held = size_of(site.here / "b.fastrpc-part")
    assert HALF <= held < len(DATA)
    assert not (site.here / "b").exists()
    seen: list[int] = []
    found = await Transfers(kind).download(
        site.address, "a", site.here / "b", progress=lambda done, total: seen.append(done)
    )
    assert found == DIGEST
    assert seen[0] == held
    assert (site.here / "b").read_bytes() == DATA
    assert parts_in(site.here) == []


async def test_an_upload_whose_client_was_killed_is_continued(kind: str, site: Site) -> None:
    (site.here / "a").write_bytes(DATA)
    site.killed_client(kind, "upload", str(site.here / "a"), "b")
    assert not (site.there / "b").exists()
    seen: list[int] = []
    # At once: the handler of the killed client may still be there.
    found = await Transfers(kind).upload(
        site.address, site.here / "a", "b", progress=lambda done, total: seen.append(done)
    )
    assert found == DIGEST
    assert 0 < seen[0] < len(DATA)
    assert (site.there / "b").read_bytes() == DATA
    assert parts_in(site.there) == []


async def test_a_download_fails_when_its_server_is_killed_and_is_continued_later(
    kind: str, site: Site
) -> None:
    (site.there / "a").write_bytes(DATA)

    def kill(done: int, total: int) -> None:
        if done >= HALF:
            site.kill()

    with pytest.raises(ConnectionLostError):
        await Transfers(kind).download(site.address, "a", site.here / "b", progress=kill)
    held = size_of(site.here / "b.fastrpc-part")
    assert HALF <= held < len(DATA)
    with pytest.raises(UnavailableError):
        await Transfers(kind).download(site.address, "a", site.here / "b")
    assert size_of(site.here / "b.fastrpc-part") == held
    site.start()
    seen: list[int] = []
    found = await Transfers(kind).download(
        site.address, "a", site.here / "b", progress=lambda done, total: seen.append(done)
    )
    assert found == DIGEST
    assert seen[0] == held
    assert (site.here / "b").read_bytes() == DATA


async def test_an_upload_fails_when_its_server_is_killed_and_is_continued_later(
    kind: str, site: Site
) -> None:
    (site.here / "a").write_bytes(DATA)

    def kill(done: int, total: int) -> None:
        if done >= HALF and parts_in(site.there) and size_of(site.there / "b.fastrpc-part"):
            site.kill()

    with pytest.raises(ConnectionLostError):
        await Transfers(kind).upload(site.address, site.here / "a", "b", progress=kill)
    held = size_of(site.there / "b.fastrpc-part")
    assert 0 < held < len(DATA)
    assert not (site.there / "b").exists()
    site.start()
    seen: list[int] = []
    found = await Transfers(kind).upload(
        site.address, site.here / "a", "b", progress=lambda done, total: seen.append(done)
    )
    assert found == DIGEST
    assert seen[0] == held
    assert (site.there / "b").read_bytes() == DATA


async def test_a_downloader_that_was_killed_holds_no_descriptor_of_the_server(site: Site) -> None:
    (site.there / "a").write_bytes(DATA)
    for _ in range(3):
        site.killed_client("Client", "download", "a", "b")
    folder = f"/proc/{site._server.process_id}/fd"

    def is_closed() -> bool:
        names = os.listdir(folder)
        # One that is closed meanwhile leads nowhere; it may have been the last.
        with contextlib.suppress(FileNotFoundError):
            return not any(os.readlink(f"{folder}/{name}").startswith(str(site.there)) for name in names)
        return False

    await eventually(is_closed)
