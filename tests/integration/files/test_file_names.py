"""No name leads out of the root of a `FileService`, and no refusal shows files outside."""

import os
import socket
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from fastrpc import CallError, Client, Status
from fastrpc.files import FileService
from tests.support.served import served
from tests.support.transfers import content, digest_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

SECRET = b"what lies outside"

#: Names that no file has.
MALFORMED = {
    "empty": "",
    "absolute": "/etc/passwd",
    "absolute twice": "//etc/passwd",
    "root": "/",
    "parent": "..",
    "outside": "../secret",
    "outside behind a folder": "inner/../../secret",
    "parent that stays inside": "inner/../plain",
    "parent at the end": "inner/..",
    "dot": ".",
    "dot before": "./plain",
    "dot inside": "inner/./deep",
    "no part": "inner//deep",
    "slash at the end": "plain/",
    "NUL": "plain\0",
    "NUL before an end": "../secret\0plain",
    "backslash": "..\\secret",
    "backslash inside": "inner\\deep",
    "long part": "a" * 256,
    "long part of wide characters": "ä" * 128,
    "long": "/".join(["a" * 200] * 21),
    "deep": "/".join(["a"] * 2_049),
}

#: Names that lead out of the root, or to nothing: their answers are the same.
NOWHERE = {
    "nothing": "nothing",
    "nothing in a folder": "inner/nothing",
    "below a file": "plain/deep",
    "below nothing": "nothing/deep",
    "link to a file outside": "to-secret",
    "link to a folder outside": "to-outside",
    "file behind a link to a folder outside": "to-outside/secret",
    "nothing behind a link to a folder outside": "to-outside/nothing",
    "relative link outside": "relative",
    "link in a folder outside": "inner/relative",
    "link that leaves and comes back": "round-about",
    "link outside behind a link": "second",
    "link to nothing outside": "to-nothing-outside",
    "link to nothing inside": "dangling",
    "link to itself": "loop",
    "links to each other": "this",
    "link to a neighbour whose name begins as that of the root": "neighbour",
    "link to the root of the system": "system",
    "device outside": "null",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder full of traps, next to files that must stay hidden."""
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "served-neighbour").mkdir()
    (tmp_path / "served-neighbour" / "secret").write_bytes(SECRET)
    root = tmp_path / "served"
    (root / "inner").mkdir(parents=True)
    (root / "plain").write_bytes(b"plain")
    (root / "inner" / "deep").write_bytes(b"deep")
    links = {
        "to-secret": tmp_path / "secret",
        "to-outside": tmp_path,
        "relative": "../secret",
        "inner/relative": "../../secret",
        "round-about": "../served/plain",
        "second": "to-secret",
        "to-nothing-outside": tmp_path / "nothing",
        "dangling": "nothing",
        "loop": "loop",
        "this": "that",
        "that": "this",
        "neighbour": tmp_path / "served-neighbour" / "secret",
        "system": "/",
        "null": "/dev/null",
        "link": "plain",
        "absolute-link": root / "inner" / "deep",
        "inner/up": "../plain",
        "chain": "link",
        "to-inner": "inner",
        "to-root": root,
        "detour": "inner/../inner/./deep",
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    os.mkfifo(root / "pipe")
    (root / "to-pipe").symlink_to("pipe")
    return root


async def one_piece() -> AsyncIterator[bytes]:
    yield b"new"


WRITTEN = digest_of(b"new")


async def refusals(client: Client, name: str) -> list[CallError]:
    """Return the answer of each method to a name."""
    found = []
    for ask in (
        lambda: client.call(FileService.stat, name),
        lambda: client.stream(FileService.list, name).receive(),
        lambda: client.stream(FileService.read, name).receive(),
        lambda: client.call(FileService.digest, name),
        lambda: client.call(FileService.write, one_piece(), name, 0, 3, WRITTEN.sha256),
    ):
        with pytest.raises(CallError) as refused:
            await ask()
        found.append(refused.value)
    return found


@pytest.mark.parametrize("case", MALFORMED)
async def test_a_name_that_no_file_has_is_refused_by_every_method(case: str, root: Path) -> None:
    name = MALFORMED[case]
    async with served(FileService(root, writable=True)) as target, Client(target) as client:
        if name:
            answers = await refusals(client, name)
        else:
            # The empty name is the root, for `list` alone.
            with pytest.raises(CallError) as refused:
                await client.call(FileService.stat, name)
            answers = [refused.value]
        assert {error.status for error in answers} == {Status.INVALID_ARGUMENT}
        assert not any(str(root.parent) in str(error) for error in answers)
    assert (root.parent / "secret").read_bytes() == SECRET


@pytest.mark.parametrize("case", NOWHERE)
async def test_a_name_that_leads_outside_is_like_a_name_that_leads_nowhere(case: str, root: Path) -> None:
    name = NOWHERE[case]
    text = f"there is no {name!r}" + (", or no folder for it" if "/" in name else "")
    async with served(FileService(root)) as target, Client(target) as client:
        for error in (await refusals(client, name))[:-1]:
            assert (error.status, error.message) == (Status.NOT_FOUND, text)
            assert error.details is None


@pytest.mark.parametrize(
    "case", sorted(NOWHERE.keys() - {"nothing", "nothing in a folder", "link to nothing inside"})
)
async def test_no_file_is_written_if_a_name_leads_outside(case: str, root: Path) -> None:
    before = sorted(root.parent.rglob("*"))
    async with served(FileService(root, writable=True)) as target, Client(target) as client:
        with pytest.raises(CallError) as refused:
            await client.call(FileService.write, one_piece(), NOWHERE[case], 0, 3, WRITTEN.sha256)
        assert refused.value.status is Status.NOT_FOUND
    assert sorted(root.parent.rglob("*")) == before
    assert (root.parent / "secret").read_bytes() == SECRET


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("link", b"plain"),
        ("absolute-link", b"deep"),
        ("inner/up", b"plain"),
        ("chain", b"plain"),
        ("detour", b"deep"),
        ("to-inner/deep", b"deep"),
        ("to-root/to-root/to-inner/up", b"plain"),
    ],
)
async def test_links_that_stay_inside_are_followed(name: str, found: bytes, root: Path) -> None:
    async with served(FileService(root)) as target, Client(target) as client:
        async with client.stream(FileService.read, name) as pieces:
            assert b"".join([piece async for piece in pieces]) == found
        assert await client.call(FileService.digest, name) == digest_of(found)
        info = await client.call(FileService.stat, name)
        assert (info.path, info.size, info.is_directory) == (name, len(found), False)


async def test_a_link_is_followed_on_reads_and_kept_on_writes(root: Path) -> None:
    async with served(FileService(root, writable=True)) as target, Client(target) as client:
        for name in ("chain", "dangling"):
            await client.call(FileService.write, one_piece(), name, 0, 3, WRITTEN.sha256)
    assert (root / "chain").is_symlink()
    assert (root / "plain").read_bytes() == b"new"
    assert (root / "dangling").is_symlink()
    assert (root / "nothing").read_bytes() == b"new"


async def test_a_root_that_is_a_link_is_followed(root: Path) -> None:
    alias = root.parent / "alias"
    alias.symlink_to(root)
    (root / "by-alias").symlink_to(alias / "plain")
    async with served(FileService(alias)) as target, Client(target) as client:
        for name in ("plain", "by-alias", "absolute-link"):
            assert (await client.call(FileService.stat, name)).path == name


@pytest.mark.parametrize("name", ["inner", "to-inner", "to-root"])
async def test_a_folder_is_no_file(name: str, root: Path) -> None:
    async with served(FileService(root, writable=True)) as target, Client(target) as client:
        assert (await client.call(FileService.stat, name)).is_directory
        for error in await refusals_of_files(client, name):
            assert (error.status, error.message) == (Status.INVALID_ARGUMENT, f"{name!r} is a folder")


async def refusals_of_files(client: Client, name: str) -> list[CallError]:
    found = []
    for ask in (
        lambda: client.stream(FileService.read, name).receive(),
        lambda: client.call(FileService.digest, name),
        lambda: client.call(FileService.write, one_piece(), name, 0, 3, WRITTEN.sha256),
    ):
        with pytest.raises(CallError) as refused:
            await ask()
        found.append(refused.value)
    return found


@pytest.mark.parametrize("make", [os.mkfifo, "socket"])
async def test_special_files_are_refused(
    make: Callable[[Path], None] | str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe is not waited for, and never opened."""
    special = root / "special"
    with socket.socket(socket.AF_UNIX) as listener:
        if callable(make):
            make(special)
        else:
            monkeypatch.chdir(root)  # The path of a socket has to be short.
            listener.bind("special")
        (root / "to-special").symlink_to("special")
        async with served(FileService(root, writable=True)) as target, Client(target) as client:
            for name in ("special", "to-special"):
                answers = await refusals_of_files(client, name)
                with pytest.raises(CallError) as refused:
                    await client.call(FileService.stat, name)
                for error in (*answers, refused.value):
                    assert error.status is Status.INVALID_ARGUMENT
                    assert error.message == f"{name!r} is not a regular file"


async def test_a_list_shows_only_names_that_can_be_requested(root: Path) -> None:
    (root / "half.fastrpc-part").write_bytes(b"half")
    (root / "back\\slash").write_bytes(b"")
    with open(os.fsencode(root) + b"/\xff", "wb"):
        pass
    async with served(FileService(root)) as target, Client(target) as client:
        async with client.stream(FileService.list) as entries:
            names = [(entry.path, entry.is_directory) async for entry in entries]
        folders = {"inner", "to-inner", "to-root"}
        files = {"absolute-link", "chain", "detour", "link", "plain"}
        assert names == sorted([(name, True) for name in folders] + [(name, False) for name in files])
        async with client.stream(FileService.list, "to-inner") as entries:
            assert [entry.path async for entry in entries] == ["to-inner/deep", "to-inner/up"]
        with pytest.raises(CallError, match="'plain' is not a folder") as refused:
            await client.stream(FileService.list, "plain").receive()
        assert refused.value.status is Status.INVALID_ARGUMENT


async def test_a_name_is_not_followed_out_of_the_root_while_links_are_exchanged(
    root: Path, tmp_path: Path
) -> None:
    """Files and folders turn into links to the outside, and back, while they are asked for."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "deep").write_bytes(SECRET)
    (root / "a").mkdir()
    (root / "a" / "deep").write_bytes(b"deep")
    (root / "b").symlink_to(outside)
    (root / "c").write_bytes(b"deep")
    (root / "d").symlink_to(outside / "deep")
    is_over = threading.Event()

    def exchange() -> None:
        while not is_over.is_set():
            for first, second in (("a", "b"), ("c", "d")):
                os.rename(root / first, root / "x")
                os.rename(root / second, root / first)
                os.rename(root / "x", root / second)

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        async with served(FileService(root)) as target, Client(target) as client:
            found = set()
            for _ in range(300):
                for name in ("a/deep", "c"):
                    try:
                        async with client.stream(FileService.read, name) as pieces:
                            found.add(b"".join([piece async for piece in pieces]))
                    except CallError as error:
                        found.add(error.status)
        assert found <= {b"deep", Status.NOT_FOUND, Status.ABORTED}
        assert b"deep" in found
    finally:
        is_over.set()
        thread.join()


async def test_descriptors_are_closed_for_every_target_of_a_name(root: Path) -> None:
    (root / "big").write_bytes(content(3_000_000))
    async with served(FileService(root, writable=True)) as target, Client(target) as client:
        await client.ready(timeout=10)
        names = [*filter(None, MALFORMED.values()), *NOWHERE.values(), "plain", "chain", "inner", "pipe"]

        async def ask_all() -> None:
            for name in names:
                try:
                    await client.call(FileService.stat, name)
                    await client.call(FileService.digest, name)
                except CallError:
                    pass
            async with client.stream(FileService.read, "big") as pieces:
                await pieces.receive()

        await ask_all()
        before = descriptors_in(root)
        for _ in range(3):
            await ask_all()
        await eventually(lambda: descriptors_in(root) <= before)


def descriptors_in(root: Path) -> int:
    """Return how many descriptors of this process belong to files below a folder."""
    count = 0
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{descriptor}").startswith(str(root))
        except FileNotFoundError:
            continue
    return count
