"""The embedded registry as a service: leases, watches that wait, snapshots, the command."""

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from fastrpc import CallError, Client, Endpoint, Status, StoreError
from fastrpc.coordination import RegistryServer, RegistryService
from fastrpc.coordination.registry.registration import LONGEST_LEASE_SECONDS
from fastrpc.coordination.snapshot_file import SnapshotFile
from fastrpc.registries import open_registry
from fastrpc.registries.base.record import encode_record
from fastrpc.stores.memory import MemoryStore
from tests.support.program import Program
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

RECORD = encode_record(Endpoint("tcp://127.0.0.1:1")).decode()
OTHER = encode_record(Endpoint("tcp://127.0.0.1:2")).decode()


def opened(url: str) -> Any:
    return open_registry(url)


async def test_watch_answers_at_once_if_the_caller_lacks_a_change() -> None:
    async with RegistryServer("tcp://127.0.0.1:0") as server, Client(server.address) as client:
        empty = await client.call(RegistryService.watch, "arith", wait_seconds=60.0)
        assert empty.records == []
        await client.call(RegistryService.register, "arith", RECORD, 10.0)
        found = await client.call(RegistryService.watch, "arith", empty.cursor, 60.0)
        assert found.records == [RECORD]
        assert found.cursor != empty.cursor


async def test_a_record_of_an_earlier_version_is_taken_and_read_without_its_codecs() -> None:
    record = '{"v":1,"address":"tcp://10.0.0.1:1","codecs":["msgpack","json"],"zone":"a"}'
    async with RegistryServer("tcp://127.0.0.1:0") as server, Client(server.address) as client:
        await client.call(RegistryService.register, "arith", record, 10.0)
        async with open_registry(server.url) as registry:
            watch = registry.watch("arith")
            found = await asyncio.to_thread(watch.wait, 10)
            watch.close()
    assert found is not None
    assert list(found.endpoints) == [Endpoint("tcp://10.0.0.1:1", zone="a")]


async def test_watch_waits_for_a_change() -> None:
    async with RegistryServer("tcp://127.0.0.1:0") as server, Client(server.address) as client:
        known = await client.call(RegistryService.watch, "arith")
        waiting = asyncio.create_task(client.call(RegistryService.watch, "arith", known.cursor, 60.0))
        await client.call(RegistryService.register, "other", OTHER, 10.0)
        assert not waiting.done()
        await client.call(RegistryService.register, "arith", RECORD, 10.0)
        async with asyncio.timeout(20):
            assert (await waiting).records == [RECORD]


async def test_watch_answers_unchanged_when_its_time_is_over() -> None:
    async with RegistryServer("tcp://127.0.0.1:0") as server, Client(server.address) as client:
        known = await client.call(RegistryService.watch, "arith")
        assert await client.call(RegistryService.watch, "arith", known.cursor, 0.05) == known


def failing(monkeypatch: pytest.MonkeyPatch, owner: type, method: str) -> None:
    """Have a method raise errors of two kinds in its first calls; shorten the pauses of the registry."""
    errors = iter([LookupError("no such lease"), LookupError("no such lease"), RuntimeError("no thread")])
    original = getattr(owner, method)

    def fail_first(*arguments: Any) -> Any:
        for error in errors:
            raise error
        return original(*arguments)

    monkeypatch.setattr(owner, method, fail_first)
    monkeypatch.setattr("fastrpc.coordination.registry.service.RETRY_SECONDS", 0.01)
    monkeypatch.setattr("fastrpc.coordination.registry.saving.SNAPSHOT_SECONDS", 0.01)


def logged_errors(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [one.exc_info[0] for one in caplog.records if one.name == "fastrpc.registry" and one.exc_info]


async def test_leases_end_despite_errors_and_each_kind_of_error_is_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, MemoryStore, "expire")
    async with RegistryServer("tcp://127.0.0.1:0") as server, Client(server.address) as client:
        await client.call(RegistryService.register, "arith", RECORD, 1.0)
        known = await client.call(RegistryService.watch, "arith")
        assert (await client.call(RegistryService.watch, "arith", known.cursor, 20.0)).records == []
    assert logged_errors(caplog) == [LookupError, RuntimeError]


async def test_changes_are_written_despite_errors_and_each_kind_of_error_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, SnapshotFile, "write")
    async with (
        RegistryServer("tcp://127.0.0.1:0", data_dir=tmp_path) as server,
        Client(server.address) as client,
    ):
        await client.call(RegistryService.register, "arith", RECORD, 10.0)
        await eventually((tmp_path / "registry.json").exists)
    assert logged_errors(caplog) == [LookupError, RuntimeError]


async def test_draining_does_not_wait_for_watchers() -> None:
    async with RegistryServer("tcp://127.0.0.1:0") as server:
        client = Client(server.address)
        known = await client.call(RegistryService.watch, "arith")
        waiting = asyncio.create_task(client.call(RegistryService.watch, "arith", known.cursor, 60.0))
        await eventually(lambda: server.stats()["live"]["calls"] == 1)
    # Leaving has not waited for the 60 s of the question, or the answer would be an error.
    assert await waiting == known
    await client.close()


async def test_lease_that_is_not_renewed_ends() -> None:
    async with RegistryServer("tcp://127.0.0.1:0") as server, Client(server.address) as client:
        lease = await client.call(RegistryService.register, "arith", RECORD, 1.0)
        known = await client.call(RegistryService.watch, "arith")
        async with asyncio.timeout(20):
            found = await client.with_options(timeout=10).call(
                RegistryService.watch, "arith", known.cursor, 10.0
            )
        assert found.records == []
        assert await client.call(RegistryService.renew, lease) is False
        assert await client.call(RegistryService.deregister, lease) is False


async def test_record_that_its_successor_took_over_is_renewed_until_the_successor_takes_it_out() -> None:
    async with RegistryServer("tcp://127.0.0.1:0") as server, Client(server.address) as client:
        first = await client.call(RegistryService.register, "arith", RECORD, 10.0)
        second = await client.call(RegistryService.register, "arith", RECORD, 10.0)
        assert await client.call(RegistryService.renew, first)
        assert await client.call(RegistryService.renew, second)
        assert await client.call(RegistryService.deregister, second)
        assert await client.call(RegistryService.renew, first) is False
        third = await client.call(RegistryService.register, "arith", RECORD, 10.0)
        assert await client.call(RegistryService.renew, third)
        assert await client.call(RegistryService.services) == {"arith": 1}


async def test_record_changes_under_its_lease_unless_a_successor_has_taken_it_over(tmp_path: Path) -> None:
    heavy, light = (encode_record(Endpoint("tcp://127.0.0.1:1", weight=weight)).decode() for weight in (5, 2))
    async with (
        RegistryServer("tcp://127.0.0.1:0", data_dir=tmp_path) as server,
        Client(server.address) as client,
    ):
        first = await client.call(RegistryService.register, "arith", RECORD, 10.0)
        assert await client.call(RegistryService.change, first, heavy)
        assert (await client.call(RegistryService.watch, "arith")).records == [heavy]
        second = await client.call(RegistryService.register, "arith", RECORD, 10.0)
        assert await client.call(RegistryService.change, first, light)
        assert (await client.call(RegistryService.watch, "arith")).records == [RECORD]
        assert await client.call(RegistryService.deregister, second)
        assert await client.call(RegistryService.change, first, light) is False
        assert await client.call(RegistryService.change, second, light) is False
        assert await client.call(RegistryService.services) == {}


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (OTHER, "the lease has no record of tcp://127.0.0.1:2"),
        ("{}", "cannot be read"),
        (
            encode_record(Endpoint("tcp://127.0.0.1:1", labels={"a": "x" * 500})).decode() + " " * 8_000,
            "8192",
        ),
    ],
)
async def test_bad_change_is_refused_and_the_record_stays(record: str, reason: str) -> None:
    async with RegistryServer("tcp://127.0.0.1:0") as server, Client(server.address) as client:
        lease = await client.call(RegistryService.register, "arith", RECORD, 10.0)
        with pytest.raises(CallError, match=reason) as refused:
            await client.call(RegistryService.change, lease, record)
        assert refused.value.status is Status.INVALID_ARGUMENT
        assert (await client.call(RegistryService.watch, "arith")).records == [RECORD]


@pytest.mark.parametrize(
    ("service", "record", "seconds", "reason"),
    [
        ("a b", RECORD, 10.0, "not a service name"),
        ("arith", "{}", 10.0, "cannot be read"),
        ("arith", '{"v": 2}', 10.0, "format 2"),
        ("arith", RECORD, 0.5, "lease_seconds is 0.5"),
        ("arith", RECORD, LONGEST_LEASE_SECONDS + 1, "lease_seconds is"),
        ("arith", RECORD, float("nan"), "lease_seconds is nan"),
    ],
)
async def test_bad_registration_is_refused(service: str, record: str, seconds: float, reason: str) -> None:
    async with RegistryServer("tcp://127.0.0.1:0") as server, Client(server.address) as client:
        with pytest.raises(CallError, match=reason) as caught:
            await client.call(RegistryService.register, service, record, seconds)
        assert caught.value.status is Status.INVALID_ARGUMENT


async def test_services_are_counted() -> None:
    async with RegistryServer("tcp://127.0.0.1:0") as server, Client(server.address) as client:
        for service, record in (("arith", RECORD), ("arith", OTHER), ("users", RECORD)):
            await client.call(RegistryService.register, service, record, 10.0)
        assert await client.call(RegistryService.services) == {"arith": 2, "users": 1}


async def test_registrations_survive_a_restart_with_their_leases(tmp_path: Path) -> None:
    async with (
        RegistryServer("tcp://127.0.0.1:0", data_dir=tmp_path) as server,
        Client(server.address) as client,
    ):
        lease = await client.call(RegistryService.register, "arith", RECORD, 10.0)
        before = await client.call(RegistryService.watch, "arith")
    async with (
        RegistryServer("tcp://127.0.0.1:0", data_dir=tmp_path) as server,
        Client(server.address) as client,
    ):
        after = await client.call(RegistryService.watch, "arith", before.cursor, 60.0)
        assert after.records == [RECORD]
        assert after.cursor.partition(".")[0] != before.cursor.partition(".")[0]
        assert await client.call(RegistryService.renew, lease)


async def test_two_registries_do_not_share_a_folder(tmp_path: Path) -> None:
    async with RegistryServer("tcp://127.0.0.1:0", data_dir=tmp_path):
        with pytest.raises(StoreError, match=f"another registry keeps its snapshot in {tmp_path}"):
            await RegistryServer("tcp://127.0.0.1:0", data_dir=tmp_path).__aenter__()
    async with RegistryServer("tcp://127.0.0.1:0", data_dir=tmp_path):
        pass


async def test_changes_are_written_soon_not_only_at_the_end(tmp_path: Path) -> None:
    async with (
        RegistryServer("tcp://127.0.0.1:0", data_dir=tmp_path) as server,
        Client(server.address) as client,
    ):
        await client.call(RegistryService.register, "arith", RECORD, 10.0)
        async with asyncio.timeout(20):
            while not (tmp_path / "registry.json").exists():
                await asyncio.sleep(0.01)
        assert "arith" in (tmp_path / "registry.json").read_text(encoding="utf-8")


async def test_snapshot_that_cannot_be_read_is_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "registry.json").write_bytes(b"nonsense")
    async with (
        RegistryServer("tcp://127.0.0.1:0", data_dir=tmp_path) as server,
        Client(server.address) as client,
    ):
        assert await client.call(RegistryService.services) == {}
    assert (tmp_path / "registry.json.unreadable").read_bytes() == b"nonsense"
    assert "cannot be read" in caplog.text


async def test_full_disk_is_logged_once_and_harms_no_caller(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    async with (
        RegistryServer("tcp://127.0.0.1:0", data_dir=tmp_path) as server,
        Client(server.address) as client,
    ):
        monkeypatch.setattr("os.replace", full)
        monkeypatch.setattr("fastrpc.coordination.registry.saving.SNAPSHOT_SECONDS", 0.01)
        for record in (RECORD, OTHER):
            await client.call(RegistryService.register, "arith", record, 10.0)
            async with asyncio.timeout(20):
                while not caplog.records:
                    await asyncio.sleep(0.01)
        assert len((await client.call(RegistryService.watch, "arith")).records) == 2
    assert len(caplog.records) == 1
    assert list(tmp_path.iterdir()) == []


def test_command_serves_a_registry_that_survives_it(tmp_path: Path) -> None:
    arguments = ["-m", "fastrpc", "registry", "-a", "tcp://127.0.0.1:0", "--data-dir", "data", "--json"]

    def url_of(program: Program) -> str:
        started = json.loads(program.wait_output(r"^\{.*\}$")[0])
        return str(started["urls"][0])

    with Program(arguments, tmp_path) as program:
        registry = opened(url_of(program))
        registration = registry.register("arith", Endpoint("tcp://127.0.0.1:1"))
        registration.__enter__()
        assert registration.is_registered
        with opened(url_of(program)) as reader, reader.watch("arith") as watch:
            assert len(watch.wait(10).endpoints) == 1
            # It does not wait for those who watch, nor for those who hold leases.
            program.signal(signal.SIGTERM)
            assert program.wait(10).code == 0
    with Program(arguments, tmp_path) as program, opened(url_of(program)) as reader:
        assert len(reader.watch("arith").wait(10).endpoints) == 1
    registry.close()


def test_command_says_why_its_address_is_wrong(tmp_path: Path) -> None:
    with Program(["-m", "fastrpc", "registry", "-a", "nonsense"], tmp_path) as program:
        ended = program.wait()
    assert ended.code == 2
    assert "'nonsense' is not an address" in ended.errors
