"""The methods of a `FileService`, called as methods of any other service."""

import asyncio
import contextlib
import os
import resource
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path

import pytest

from fastrpc import CallError, Client, ConfigError, Server, Status, SyncClient
from fastrpc.files import FileDigest, FileInfo, FileService
from fastrpc.testing import serving
from tests.support.served import SCHEMES, served
from tests.support.transfers import PIECE, content, digest_of, parts_in
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


async def pieces_of(data: bytes, size: int = PIECE) -> AsyncIterator[bytes]:
    for first in range(0, len(data), size):
        yield data[first : first + size]


async def read(client: Client, *args: object) -> list[bytes]:
    async with client.stream("files.read", *args) as pieces:
        return [piece async for piece in pieces]


async def refusal_of_write(client: Client, data: AsyncIterator[bytes], *args: object) -> CallError:
    with pytest.raises(CallError) as refused:
        await client.call("files.write", data, *args)
    return refused.value


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "served"
    (root / "inner").mkdir(parents=True)
    return root


class TestReading:
    async def test_a_file_is_described(self, root: Path) -> None:
        (root / "inner" / "a").write_bytes(b"abc")
        os.utime(root / "inner" / "a", ns=(5, 1_500_000_000))
        number = (root / "inner" / "a").stat().st_ino
        async with served(FileService(root)) as target, Client(target) as client:
            info = await client.call(FileService.stat, "inner/a")
            assert info == FileInfo("inner/a", 3, 1.5, False, f"1500000000-3-{number}")
            folder = await client.call(FileService.stat, "inner")
            assert (folder.path, folder.size, folder.is_directory) == ("inner", 0, True)

    async def test_a_folder_is_listed_in_order_without_the_contents_of_its_folders(self, root: Path) -> None:
        names = [f"{number:04}" for number in range(600)]
        for name in reversed(names):
            (root / "inner" / name).write_bytes(name.encode())
        async with served(FileService(root)) as target, Client(target) as client:
            async with client.stream(FileService.list) as entries:
                assert [entry.path async for entry in entries] == ["inner"]
            async with client.stream(FileService.list, "inner") as entries:
                found = [entry async for entry in entries]
            assert [(entry.path, entry.size) for entry in found] == [(f"inner/{name}", 4) for name in names]
            assert found[0] == await client.call(FileService.stat, "inner/0000")

    @pytest.mark.parametrize("scheme", SCHEMES)
    @pytest.mark.parametrize("size", [0, 1, PIECE, PIECE + 1, 3_000_000])
    async def test_a_file_comes_in_pieces_of_256_kib(self, size: int, scheme: str, root: Path) -> None:
        data = content(size)
        (root / "a").write_bytes(data)
        async with served(FileService(root), scheme=scheme) as target, Client(target) as client:
            pieces = await read(client, "a")
            assert b"".join(pieces) == data
            assert [len(piece) for piece in pieces[:-1]] == [PIECE] * (len(pieces) - 1)
            assert await client.call(FileService.digest, "a") == digest_of(data)

    async def test_reading_begins_at_an_offset(self, root: Path) -> None:
        data = content(1_000_000)
        (root / "a").write_bytes(data)
        async with served(FileService(root)) as target, Client(target) as client:
            version = (await client.call(FileService.stat, "a")).version
            for offset in (0, 1, PIECE, 999_999, 1_000_000):
                assert b"".join(await read(client, "a", offset, version)) == data[offset:]
            for offset in (-1, 1_000_001, 2**62):
                with pytest.raises(CallError, match=f"offset is {offset}, 'a' has 1000000 bytes") as refused:
                    await read(client, "a", offset)
                assert refused.value.status is Status.INVALID_ARGUMENT

    async def test_another_version_is_aborted(self, root: Path) -> None:
        (root / "a").write_bytes(b"abc")
        async with served(FileService(root)) as target, Client(target) as client:
            version = (await client.call(FileService.stat, "a")).version
            os.utime(root / "a", ns=(5, 5))
            with pytest.raises(CallError, match="'a' has changed; begin anew") as refused:
                await read(client, "a", 0, version)
            assert refused.value.status is Status.ABORTED

    @pytest.mark.parametrize("change", ["truncated", "written", "grown"])
    async def test_a_file_that_changes_while_it_is_read_is_aborted(self, change: str, root: Path) -> None:
        data = content(8_000_000)
        (root / "a").write_bytes(data)
        async with served(FileService(root), scheme="tcp") as target, Client(target) as client:
            async with client.stream(FileService.read, "a") as pieces:
                found = [await pieces.receive()]
                if change == "truncated":
                    os.truncate(root / "a", 5)
                else:
                    with (root / "a").open("r+b" if change == "written" else "ab") as file:
                        file.write(b"changed")
                    os.utime(root / "a", ns=(5, 5))
                with pytest.raises(CallError) as refused:
                    found += [piece async for piece in pieces]
                assert refused.value.status is Status.ABORTED
            assert data.startswith(b"".join(found))

    async def test_a_digest_matches_the_present_content(self, root: Path) -> None:
        path = root / "a"
        async with served(FileService(root)) as target, Client(target) as client:
            for number in range(20):
                path.write_bytes(content(1_000, seed=number))
                if number % 2:
                    os.utime(path, ns=(5, 5))  # A time that lies long ago does not make it the same file.
                assert await client.call(FileService.digest, "a") == digest_of(content(1_000, seed=number))
                assert b"".join(await read(client, "a")) == content(1_000, seed=number)

    async def test_readers_that_leave_release_what_they_held(self, root: Path) -> None:
        (root / "a").write_bytes(content(8_000_000))
        async with served(FileService(root), scheme="tcp") as target, Client(target) as client:
            for _ in range(50):
                async with client.stream(FileService.read, "a") as pieces:
                    await pieces.receive()
            await eventually(lambda: not target.server.stats()["live"]["calls"])
            await eventually(lambda: str(root / "a") not in open_paths())

    async def test_a_reader_that_takes_nothing_holds_no_file_in_memory(self, root: Path) -> None:
        """At most two megabytes are read ahead, for files of any size."""
        with (root / "a").open("wb") as file:
            file.truncate(2**40)
        async with served(FileService(root), scheme="tcp") as target, Client(target) as client:
            streams = [client.stream(FileService.read, "a") for _ in range(8)]
            for stream in streams:
                await stream.receive()
            read_before = read_bytes()
            await asyncio.sleep(0.2)  # Time in which an unbounded reader would continue.
            assert read_bytes() - read_before < 8 * 4 * 2**20
            for stream in streams:
                await stream.aclose()

    async def test_files_are_served_under_another_name(self, root: Path, tmp_path: Path) -> None:
        (root / "a").write_bytes(b"first")
        (tmp_path / "a").write_bytes(b"second")
        both = [FileService(root), FileService(tmp_path, name="shop.pictures")]
        async with served(*both) as target, Client(target) as client:
            assert (await client.call("files.stat", "a"))["size"] == 5
            assert (await client.call("shop.pictures.stat", "a"))["size"] == 6
        with pytest.raises(ConfigError, match="'no name' is not a service name"):
            FileService(root, name="no name")

    async def test_methods_are_plain_functions_without_a_server(self, root: Path) -> None:
        (root / "a").write_bytes(b"abc")
        files = FileService(root)
        assert (await files.stat("a")).size == 3
        assert [piece async for piece in files.read("a")] == [b"abc"]
        assert await files.digest("a") == digest_of(b"abc")

    @pytest.mark.parametrize("name", ["nothing", "file"])
    def test_a_root_that_is_no_folder_is_refused(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(ConfigError, match=r"^the root .* is not a folder"):
            FileService(tmp_path / name)


class TestWriting:
    @pytest.mark.parametrize("scheme", SCHEMES)
    @pytest.mark.parametrize(
        ("size", "piece"), [(0, 1), (1, 1), (5_000, 1), (3_000_000, PIECE), (9_000_000, 5_000_000)]
    )
    async def test_a_file_is_written(self, size: int, piece: int, scheme: str, root: Path) -> None:
        data = content(size)
        files = FileService(root, writable=True)
        async with served(files, scheme=scheme) as target, Client(target) as client:
            digest = digest_of(data)
            found = await client.call(
                FileService.write, pieces_of(data, piece), "inner/a", 0, size, digest.sha256
            )
            assert found == digest
        assert (root / "inner" / "a").read_bytes() == data
        assert parts_in(root / "inner") == []

    def test_a_file_is_written_by_a_blocking_client(self, root: Path) -> None:
        data = [b"abc", b"", b"def"]
        with serving(FileService(root, writable=True)) as address, SyncClient(address) as client:
            digest = digest_of(b"abcdef")
            assert client.call(FileService.write, data, "a", 0, 6, digest.sha256) == digest
        assert (root / "a").read_bytes() == b"abcdef"

    async def test_files_that_are_not_writable_are_unchanged(self, root: Path) -> None:
        async with served(FileService(root)) as target, Client(target) as client:
            error = await refusal_of_write(client, pieces_of(b"abc"), "a", 0, 3, digest_of(b"abc").sha256)
            assert (error.status, error.message) == (Status.PERMISSION_DENIED, "these files can only be read")
        assert os.listdir(root) == ["inner"]

    @pytest.mark.parametrize(
        ("given", "status"),
        [
            (("a", 0, 3, "no digest"), Status.INVALID_ARGUMENT),
            (("a", 0, 3, digest_of(b"abc").sha256.upper()), Status.INVALID_ARGUMENT),
            (("a", 0, -1, digest_of(b"abc").sha256), Status.INVALID_ARGUMENT),
            (("a", -1, 3, digest_of(b"abc").sha256), Status.INVALID_ARGUMENT),
            (("a", 4, 3, digest_of(b"abc").sha256), Status.INVALID_ARGUMENT),
            (("a", 0, 2, digest_of(b"abc").sha256), Status.INVALID_ARGUMENT),
            (("a", 0, 4, digest_of(b"abc").sha256), Status.INVALID_ARGUMENT),
            (("a", 0, 2**63, digest_of(b"abc").sha256), Status.INVALID_ARGUMENT),
            (("a", 0, 3, digest_of(b"abd").sha256), Status.DATA_LOSS),
            (("a", 1, 4, digest_of(b"abc").sha256), Status.ABORTED),
            (("a.fastrpc-part", 0, 3, digest_of(b"abc").sha256), Status.INVALID_ARGUMENT),
            (("nothing/a", 0, 3, digest_of(b"abc").sha256), Status.NOT_FOUND),
            (("a" * 250, 0, 3, digest_of(b"abc").sha256), Status.INVALID_ARGUMENT),
        ],
    )
    async def test_a_refused_write_changes_only_the_partial_file(
        self, given: tuple[object, ...], status: Status, root: Path
    ) -> None:
        (root / "a").write_bytes(b"before")
        async with served(FileService(root, writable=True)) as target, Client(target) as client:
            assert (await refusal_of_write(client, pieces_of(b"abc", 1), *given)).status is status
        assert (root / "a").read_bytes() == b"before"
        assert sorted(set(os.listdir(root)) - {"a.fastrpc-part"}) == ["a", "inner"]

    async def test_content_with_another_digest_is_dropped(self, root: Path) -> None:
        async with served(FileService(root, writable=True)) as target, Client(target) as client:
            error = await refusal_of_write(client, pieces_of(b"abc"), "a", 0, 3, digest_of(b"abd").sha256)
            assert error.status is Status.DATA_LOSS
            await eventually(lambda: os.listdir(root) == ["inner"])

    async def test_a_file_is_replaced_at_once_and_keeps_its_permissions(self, root: Path) -> None:
        (root / "a").write_bytes(b"before")
        (root / "a").chmod(0o640)
        before = (root / "a").stat().st_ino
        async with served(FileService(root, writable=True)) as target, Client(target) as client:
            async with client.open(FileService.write, "a", 0, 3, digest_of(b"abc").sha256) as stream:
                await stream.send(b"abc")
                await eventually(lambda: parts_in(root))
                assert (root / "a.fastrpc-part").stat().st_mode & 0o777 == 0o640
                assert (root / "a").read_bytes() == b"before"
                await stream.end()
                assert await stream.receive() == digest_of(b"abc")
        assert (root / "a").read_bytes() == b"abc"
        assert (root / "a").stat().st_mode & 0o777 == 0o640
        assert (root / "a").stat().st_ino != before

    async def test_a_path_has_one_writer(self, root: Path) -> None:
        given = ("a", 0, 3, digest_of(b"abc").sha256)
        services = [FileService(root, writable=True), FileService(root, writable=True, name="same")]
        async with served(*services) as target, Client(target) as client:
            async with client.open(FileService.write, *given) as first:
                await first.send(b"a")
                # The file has its name before the name is claimed.
                await eventually(lambda: size_of(root / "a.fastrpc-part") == 1)
                for name in ("files.write", "same.write"):
                    with pytest.raises(CallError, match="another call writes 'a'") as refused:
                        await client.call(name, pieces_of(b"abc"), *given)
                    assert refused.value.status is Status.ABORTED
                other = ("b", *given[1:])
                assert (await client.call("files.write", pieces_of(b"abc"), *other))["size"] == 3
                await first.send(b"bc")
                await first.end()
                await first.receive()
            # Now it is free, for its next writer too.
            assert (await client.call("same.write", pieces_of(b"abc"), *given))["size"] == 3
        assert (root / "a").read_bytes() == b"abc"

    async def test_a_writer_that_leaves_keeps_what_arrived_and_frees_the_path(self, root: Path) -> None:
        data = content(3_000_000)
        digest = digest_of(data)
        async with served(FileService(root, writable=True), scheme="tcp") as target, Client(target) as client:
            async with client.open(FileService.write, "a", 0, digest.size, digest.sha256) as stream:
                await stream.send(data[:1_000_000])
                await eventually(lambda: size_of(root / "a.fastrpc-part") == 1_000_000)
            await eventually(lambda: not target.server.stats()["live"]["calls"])
            held = await client.call(FileService.digest, "a.fastrpc-part")
            assert held == digest_of(data[:1_000_000])
            for offset in (1_000_000, 400_000):
                rest = pieces_of(data[offset:])
                assert await client.call(FileService.write, rest, "a", offset, *unpacked(digest)) == digest
                assert (root / "a").read_bytes() == data
                (root / "a.fastrpc-part").write_bytes(data[:1_000_000])

    async def test_unfinished_files_of_other_kinds_are_not_written(self, root: Path) -> None:
        (root / "secret").write_bytes(b"before")
        (root / "a.fastrpc-part").symlink_to("secret")
        os.mkfifo(root / "b.fastrpc-part")
        (root / "c.fastrpc-part").mkdir()
        async with served(FileService(root, writable=True)) as target, Client(target) as client:
            for name in "abc":
                error = await refusal_of_write(
                    client, pieces_of(b"abc"), name, 0, 3, digest_of(b"abc").sha256
                )
                assert error.status in {Status.NOT_FOUND, Status.INVALID_ARGUMENT}
        assert (root / "secret").read_bytes() == b"before"

    async def test_a_full_disk_is_reported_and_written_bytes_are_kept(self, root: Path) -> None:
        data = content(3_000_000)
        files = FileService(root, writable=True)
        async with served(files) as target, Client(target) as client:
            with file_size_limit(2_000_000):
                error = await refusal_of_write(client, pieces_of(data), "a", 0, *unpacked(digest_of(data)))
            assert error.status is Status.RESOURCE_EXHAUSTED
            assert error.message == "there is no room left for 'a'"
            assert size_of(root / "a.fastrpc-part") == 2_000_000
            rest = pieces_of(data[2_000_000:])
            found = await client.call(FileService.write, rest, "a", 2_000_000, *unpacked(digest_of(data)))
            assert found == digest_of(data)

    async def test_a_fork_of_a_used_service_has_separate_threads(self, root: Path) -> None:
        (root / "a").write_bytes(b"abc")
        files = FileService(root)
        assert (await files.stat("a")).size == 3
        files._process = -1  # What a child of a fork finds.
        pool = files._pool
        async with Server(files) as server, Client(str(await server.listen("memory://fork"))) as client:
            assert await client.call(FileService.digest, "a") == digest_of(b"abc")
        assert files._pool is not pool


def unpacked(digest: FileDigest) -> tuple[int, str]:
    return digest.size, digest.sha256


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else -1


def open_paths() -> Iterable[str]:
    """Return the paths of the open descriptors of this process."""
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        except FileNotFoundError:
            continue
    return found


def read_bytes() -> int:
    """Return how much this process has read from files."""
    with open("/proc/self/io") as file:
        return int(file.readline().split()[1])


@contextlib.contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let no file of this process grow above a size, like a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
