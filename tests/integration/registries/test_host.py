"""Servers of one user on one host: found by the record files in a folder, which nobody else can fill."""

import asyncio
import contextlib
import fcntl
import logging
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, ConfigError, Endpoint, StoreError
from fastrpc.registries import open_registry
from fastrpc.registries.host.folder import FOLDER_VARIABLE, folder_path, made_folder
from fastrpc.registries.host.node import HostNode
from fastrpc.registries.host.records import MOST_BYTES, OwnRecord
from tests.conftest import Scale
from tests.support.arith import Arith
from tests.support.host_folder import host_folder, names_in
from tests.support.opened_registries import opened, shown
from tests.support.program import Program
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

ONE, TWO = "0123456789abcdef", "fedcba9876543210"

#: A server in a separate process, which says when it is registered.
PROGRAM = """
import asyncio, fastrpc

@fastrpc.service("arith")
class Arith:
    @fastrpc.method
    async def mul(self, a: int, b: int) -> int:
        return a * b

async def main():
    async with fastrpc.Server(Arith) as server:
        await server.listen("any://")
        print("serving", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with host_folder() as path:
        yield path


@pytest.fixture
def listening(folder: Path) -> Iterator[None]:
    """Listen at the two sockets of this file, as their servers would."""
    made_folder(str(folder))
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as two:
        for name, bound in ((ONE, one), (TWO, two)):
            bound.bind(f"{folder}/{name}.sock")
            bound.listen()
        yield


def records_in(folder: Path) -> list[str]:
    return [name for name in names_in(folder) if name.endswith(".json")]


def endpoint(folder: Path, name: str, **options: Any) -> Endpoint:
    return Endpoint(f"unix://{folder}/{name}.sock", labels={"scope": "host"}, **options)


@pytest.mark.usefixtures("listening")
async def test_servers_are_found_and_leave(folder: Path) -> None:
    one, two = endpoint(folder, ONE, zone="eu-1a"), endpoint(folder, TWO)
    async with opened("host://") as servers, opened("host://") as clients, clients.watch("arith") as watch:
        async with servers.register("arith", one):
            await shown(watch, one)
            async with servers.register("arith", two), servers.register("other", two):
                await shown(watch, one, two)
                assert await asyncio.to_thread(clients.services) == ["arith", "other"]
            await shown(watch, one)
        await shown(watch)
    assert records_in(folder) == []


@pytest.mark.usefixtures("listening")
async def test_a_record_that_was_removed_is_written_again(folder: Path) -> None:
    one = endpoint(folder, ONE)
    async with (
        opened("host://") as registry,
        registry.register("arith", one),
        registry.watch("arith") as watch,
    ):
        await shown(watch, one)
        first = records_in(folder)
        (folder / first[0]).unlink()
        await eventually(lambda: records_in(folder) not in ([], first))
        await shown(watch, one)


@pytest.mark.usefixtures("listening")
async def test_a_record_changes_and_leaves_one_file(folder: Path) -> None:
    async with opened("host://") as servers, opened("host://") as clients, clients.watch("arith") as watch:
        async with (
            servers.register("arith", endpoint(folder, ONE)) as registration,
            servers.register("other", endpoint(folder, ONE)),
        ):
            for weight in (5, 0, 1):
                changed = endpoint(folder, ONE, weight=weight)
                await registration.change(changed)
                await shown(watch, changed)
            assert await asyncio.to_thread(clients.services) == ["arith", "other"]
            assert len(records_in(folder)) == 1
        await shown(watch)
    assert records_in(folder) == []


async def test_a_record_names_no_address_but_its_own_socket(folder: Path) -> None:
    made_folder(str(folder))
    planted = OwnRecord(str(folder), ONE)
    planted.put("arith", b'{"v": 1, "address": "unix:///run/docker.sock"}')
    async with opened("host://") as registry, registry.watch("arith") as watch:
        await shown(watch, endpoint(folder, ONE))
    planted.drop("arith")


async def test_a_socket_that_was_removed_is_listed_no_more(folder: Path) -> None:
    async with fastrpc.Server(Arith) as server:
        await server.listen("any://")
        async with opened("host://") as registry, registry.watch("arith") as watch:
            await eventually(lambda: watch.latest is not None and watch.latest.endpoints)
            shutil.rmtree(folder)
            await eventually(lambda: watch.latest is not None and not watch.latest.endpoints)
            assert records_in(folder) == []
    assert names_in(folder) == []


async def test_an_address_outside_the_folder_is_refused(folder: Path) -> None:
    async with opened("host://") as registry:
        for address in ("tcp://127.0.0.1:80", "unix:///run/app.sock", f"unix://{folder}/app.sock"):
            with pytest.raises(ConfigError, match="is not a socket of the host folder"):
                registry.register("arith", Endpoint(address))


@pytest.mark.parametrize("url", ["host://place", "host://?ttl=3"])
def test_host_has_no_place_and_no_options(url: str, folder: Path) -> None:
    with pytest.raises(ConfigError):
        open_registry(url)


def test_the_folder_belongs_to_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert folder_path() == "/run/fastrpc"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert folder_path() == "/run/user/1000/fastrpc"
    # Without such a folder, and with one that is to be ignored.
    for value in ("", "run"):
        monkeypatch.setenv("XDG_RUNTIME_DIR", value)
        assert folder_path().endswith("/fastrpc-1000")
    monkeypatch.setenv(FOLDER_VARIABLE, "run")
    with pytest.raises(ConfigError, match="absolute"):
        folder_path()


# The folder


def planted_mode(folder: Path) -> None:
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)


def planted_owner(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    os.chown(folder, 12_345, 12_345)


def planted_link(folder: Path) -> None:
    real = folder.with_name("real")
    real.mkdir(mode=0o700)
    folder.symlink_to(real)


def planted_file(folder: Path) -> None:
    folder.touch(mode=0o700)


@pytest.mark.parametrize("plant", [planted_mode, planted_owner, planted_link, planted_file])
async def test_a_folder_into_which_others_can_write_is_not_used(
    plant: Any, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if plant is planted_owner and os.geteuid() != 0:
        pytest.skip("only root gives a folder to another user")
    plant(folder)
    with pytest.raises(StoreError, match="the host folder") as refused:
        made_folder(str(folder))
    assert FOLDER_VARIABLE in str(refused.value.hint)
    async with opened("host://") as registry, registry.watch("arith") as watch:
        await eventually(lambda: watch.error is not None)
        assert str(folder) in str(watch.error)
        assert watch.latest is None
        async with fastrpc.Server() as server:
            with pytest.raises(StoreError, match="the host folder"):
                await server.listen("any://")
    assert sum(str(folder) in record.getMessage() for record in caplog.records) == 1


def test_two_users_do_not_see_the_services_of_each_other(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root becomes another user")
    made_folder(str(folder))
    record = OwnRecord(str(folder), ONE)
    record.put("arith", b"{}")
    folder.parent.chmod(0o755)
    child = os.fork()
    if not child:
        os.setuid(12_345)
        try:
            HostNode(str(folder)).services()
        except StoreError:
            os._exit(3)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3


# Files in the folder


def record_name(number: int = 1) -> str:
    return f"{ONE}-{number:016x}.json"


def plant_large_record(folder: Path) -> Any:
    return locked(folder / record_name(), b'{"v":1,"services":{"arith":{}}}'.ljust(10 * MOST_BYTES))


def plant_garbage(folder: Path) -> Any:
    return locked(folder / record_name(), b"\xff\x00 no record")


def plant_foreign_format(folder: Path) -> Any:
    return locked(folder / record_name(), b'{"v":7,"services":{}}')


def plant_link_to_record(folder: Path) -> Any:
    outside = folder.with_name("outside")
    kept = locked(outside, good_record(folder))
    (folder / record_name()).symlink_to(outside)
    return kept


def plant_hard_link(folder: Path) -> Any:
    outside = folder.with_name("outside")
    kept = locked(outside, good_record(folder))
    (folder / record_name()).hardlink_to(outside)
    return kept


def plant_fifo(folder: Path) -> None:
    os.mkfifo(folder / record_name(), 0o600)


def plant_folder(folder: Path) -> None:
    (folder / record_name()).mkdir(mode=0o700)


def plant_readable_record(folder: Path) -> Any:
    kept = locked(folder / record_name(), good_record(folder))
    (folder / record_name()).chmod(0o644)
    return kept


def plant_link_to_socket(folder: Path) -> Any:
    (folder / f"{ONE}.sock").symlink_to("/run/docker.sock")
    return locked(folder / record_name(), good_record(folder))


def plant_other_name(folder: Path) -> None:
    (folder / "lock").touch(mode=0o600)


def plant_foreign_owner(folder: Path) -> Any:
    if os.geteuid() != 0:
        pytest.skip("only root gives a file to another user")
    kept = locked(folder / record_name(), good_record(folder))
    os.chown(folder / record_name(), 12_345, 12_345)
    return kept


def good_record(folder: Path) -> bytes:
    return b'{"v":1,"services":{"arith":{"v":1,"address":"unix://%s/%s.sock"}}}' % (
        os.fsencode(folder),
        ONE.encode(),
    )


def locked(path: Path, content: bytes) -> Any:
    """Write a file that looks as one of a living server."""
    file = os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "wb")
    fcntl.flock(file, fcntl.LOCK_EX)
    file.write(content)
    file.flush()
    return file


PLANTED = [
    plant_large_record,
    plant_garbage,
    plant_foreign_format,
    plant_link_to_record,
    plant_hard_link,
    plant_fifo,
    plant_folder,
    plant_readable_record,
    plant_link_to_socket,
    plant_other_name,
    plant_foreign_owner,
]


@pytest.mark.parametrize("plant", PLANTED)
async def test_a_planted_file_gains_nothing_and_is_named_once(
    plant: Any, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "fastrpc.registry")
    made_folder(str(folder))
    kept = plant(folder)
    node = HostNode(str(folder))
    for _ in range(3):
        assert node.services() == set()
    assert [record.getMessage().count("is ignored") for record in caplog.records] == [1]
    own = endpoint(folder, TWO)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"{folder}/{TWO}.sock")
        bound.listen()
        async with opened("host://") as registry, registry.register("arith", own):
            async with registry.watch("arith") as watch:
                await shown(watch, own)
    if kept is not None:
        kept.close()


def test_a_stranger_who_locks_the_folder_blocks_no_lookup(folder: Path) -> None:
    made_folder(str(folder))
    holder = os.open(folder, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    stale_socket(folder, ONE)
    assert HostNode(str(folder)).services() == set()
    os.close(holder)


def test_a_clock_that_is_set_back_hides_no_record(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_folder(str(folder))
    node = HostNode(str(folder))
    assert node.services() == set()
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    record = OwnRecord(str(folder), ONE)
    # The folder has the time of before the record.
    before = os.stat(folder)
    record.put("arith", b'{"v": 1, "address": "unix:///x"}')
    os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert node.services() == {"arith"}
    record.drop("arith")


def test_the_child_of_a_fork_keeps_no_record_of_its_parent(folder: Path) -> None:
    record = OwnRecord(str(folder), ONE)
    record.put("arith", b'{"v": 1, "address": "unix:///x"}')
    (told, telling), (ending, lasting) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.close(lasting)
        os.write(telling, b".")
        os.read(ending, 1)
        os._exit(0)
    os.read(told, 1)
    # As at the end of the process, which removes no file.
    record.forget()
    assert HostNode(str(folder)).services() == set()
    os.close(lasting)
    os.waitpid(child, 0)
    for one in (told, telling, ending):
        os.close(one)


def stale_socket(folder: Path, name: str) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(f"{folder}/{name}.sock")


@contextlib.contextmanager
def serving(folder: Path, count: int) -> Iterator[list[Program]]:
    """Start servers at `any://`; they are killed at the latest at the end."""
    with contextlib.ExitStack() as stack:
        environment = {FOLDER_VARIABLE: str(folder)}
        programs = [
            stack.enter_context(Program(["-c", PROGRAM], folder.parent, environment)) for _ in range(count)
        ]
        for program in programs:
            program.wait_output("serving")
        yield programs


def kill(programs: Sequence[Program]) -> None:
    for program in programs:
        os.kill(program.process_id, signal.SIGKILL)


async def nothing_is_left(folder: Path) -> None:
    """Wait until a look at the folder finds no service and no file."""
    node = HostNode(str(folder))
    await eventually(lambda: node.services() == set() and names_in(folder) == [])


@pytest.mark.parametrize("target", ["host://arith", "any://arith"])
async def test_killed_servers_leave_nothing(target: str, folder: Path, scale: Scale) -> None:
    with serving(folder, scale(10)) as (last, *others):
        kill(others)
        async with Client(target) as client:
            assert await client.call("arith.mul", 6, 7) == 42
            await eventually(lambda: len(names_in(folder)) == 2)
        kill([last])
        await nothing_is_left(folder)


@pytest.mark.measures
async def test_killed_servers_leave_nothing_after_two_seconds(folder: Path, scale: Scale) -> None:
    with serving(folder, scale(10)) as programs:
        kill(programs)
        began = time.perf_counter()
        await nothing_is_left(folder)
        seconds = time.perf_counter() - began
    sys.stdout.write(f"{len(programs)} killed servers: nothing is left after {seconds:.2f} s\n")
    assert seconds <= 2.0


def test_a_living_socket_without_a_record_stays(folder: Path) -> None:
    made_folder(str(folder))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{folder}/{ONE}.sock")
        listening.listen()
        stale_socket(folder, TWO)
        HostNode(str(folder)).services()
        assert names_in(folder) == [f"{ONE}.sock"]


@pytest.mark.measures
@pytest.mark.usefixtures("listening")
def test_a_thousand_stale_records_cost_a_start_a_tenth_of_a_second(folder: Path) -> None:
    starts = []
    for _ in range(3):
        for number in range(1_000):
            name = f"{number:016x}"
            (folder / f"{name}-{number:016x}.json").touch(mode=0o600)
            stale_socket(folder, name)
        node = HostNode(str(folder))
        began = time.perf_counter()
        node.publish(ONE, "arith", b'{"v": 1, "address": "unix:///x"}')
        starts.append(time.perf_counter() - began)
        assert len(names_in(folder)) == 3
        node.withdraw(ONE, "arith")
    sys.stdout.write(f"1,000 stale records: {min(starts) * 1000:.0f} ms\n")
    assert min(starts) <= 0.1
