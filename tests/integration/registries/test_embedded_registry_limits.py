"""Limits of the embedded registry, lists too large for one message, and snapshots that were damaged."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fastrpc import CallError, Client, ConfigError, Endpoint, Server, Status, StoreError, SyncClient
from fastrpc.coordination import RegistryServer, RegistryService
from fastrpc.coordination.registry.lookup import ServiceLookup
from fastrpc.coordination.registry.service_lists import ServiceList
from fastrpc.coordination.registry.snapshot import encode_snapshot
from fastrpc.registries import open_registry
from fastrpc.registries.base.record import encode_record
from tests.support.program import Program

pytestmark = pytest.mark.one_loop

#: Some 8 KiB, so that a few thousand of them are more than a message.
LABELS = {f"label-{number}": "x" * 500 for number in range(15)}


def opened(url: str) -> Any:
    return open_registry(url)


def record(number: int, labels: dict[str, str] | None = None) -> str:
    address = f"tcp://10.0.{number // 250}.{number % 250 + 1}:8972"
    return encode_record(Endpoint(address, labels=labels)).decode()


def record_of_bytes(size: int) -> str:
    """Return a record of exactly the given number of bytes."""
    text = record(0, {"a": ""})
    labels: dict[str, str] = {}
    left = size - len(text)
    while left > 520:
        labels[f"l{len(labels):02}"] = "x" * 500
        left = size - len(record(0, {"a": ""} | labels))
    found = record(0, {"a": "x" * left} | labels)
    assert len(found) == size
    return found


async def fill(client: Client, count: int, *, service: str = "arith", labels: Any = LABELS) -> None:
    arguments = [(service, record(number, labels), 60.0) for number in range(count)]
    for start in range(0, count, 200):
        await client.call_many(RegistryService.register, arguments[start : start + 200])


async def pages(client: Client, service: str, page_bytes: int) -> list[ServiceList]:
    found = [await client.call(RegistryService.watch, service, "", 0.0, page_bytes)]
    while found[-1].following:
        arguments = (service, found[0].cursor, found[-1].following, page_bytes)
        found.append(await client.call(RegistryService.page, *arguments))
    return found


async def test_record_has_eight_kibibytes_at_most() -> None:
    async with RegistryServer("tcp://127.0.0.1:0") as server, Client(server.address) as client:
        await client.call(RegistryService.register, "arith", record_of_bytes(8_192), 10.0)
        with pytest.raises(CallError, match="has 8193 bytes, the limit is 8192") as caught:
            await client.call(RegistryService.register, "arith", record_of_bytes(8_193), 10.0)
        assert caught.value.status is Status.INVALID_ARGUMENT
        # Bytes, not characters.
        with pytest.raises(CallError, match="the limit is 8192"):
            await client.call(
                RegistryService.register, "arith", record(0, {"a": "é" * 500, "b": "é" * 500} | LABELS), 10.0
            )


def test_registration_whose_record_is_too_long_is_refused_before_it_is_sent() -> None:
    with opened("registry://127.0.0.1:1") as registry:
        labels = {f"label-{number}": "x" * 500 for number in range(20)}
        with pytest.raises(ConfigError, match="the limit is 8192"):
            registry.register("arith", Endpoint("tcp://10.0.0.1:1", labels=labels))


async def test_full_registry_reports_its_limit_and_accepts_records_after_others_leave() -> None:
    async with (
        RegistryServer("tcp://127.0.0.1:0", records_bytes=20_000) as server,
        Client(server.address) as client,
    ):
        leases = [
            await client.call(RegistryService.register, "arith", record(number, LABELS), 60.0)
            for number in range(2)
        ]
        with pytest.raises(CallError, match="the limit is 20000") as caught:
            await client.call(RegistryService.register, "other", record(0, LABELS), 60.0)
        assert caught.value.status is Status.RESOURCE_EXHAUSTED
        # Existing records are renewed, and replaced by records that are no larger.
        assert await client.call(RegistryService.renew, leases[0])
        await client.call(RegistryService.register, "arith", record(1, LABELS), 60.0)
        async with opened(server.url) as registry:
            with pytest.raises(StoreError, match="the limit is 20000") as refused:
                await registry.register("arith", Endpoint("tcp://h:1", labels=LABELS)).__aenter__()
            assert refused.value.status is Status.RESOURCE_EXHAUSTED
            await client.call(RegistryService.deregister, leases[0])
            async with registry.register("arith", Endpoint("tcp://h:1", labels=LABELS)) as registration:
                assert registration.is_registered


@pytest.mark.parametrize("records_bytes", [0, -1, 1.5, True, "many", None])
def test_invalid_bound_of_bytes_is_refused(records_bytes: Any) -> None:
    with pytest.raises(ConfigError, match="records_bytes is"):
        RegistryServer(records_bytes=records_bytes)


def test_command_takes_the_bound(tmp_path: Path) -> None:
    arguments = ["-m", "fastrpc", "registry", "-a", "tcp://127.0.0.1:0", "--records-bytes", "50", "--json"]
    with Program(arguments, tmp_path) as program:
        url = json.loads(program.wait_output(r"^\{.*\}$")[0])["urls"][0]
        with opened(url) as registry, pytest.raises(StoreError, match="the limit is 50"):
            registry.register("arith", Endpoint("tcp://10.0.0.1:1")).__enter__()


async def test_list_larger_than_a_message_comes_in_pages_of_one_cursor() -> None:
    async with RegistryServer("tcp://127.0.0.1:0") as server, Client(server.address) as client:
        await fill(client, 2_500)
        found = await pages(client, "arith", 4 * 1024 * 1024)
        assert len(found) > 15
        assert {page.cursor for page in found} == {found[0].cursor}
        addresses = [json.loads(one)["address"] for page in found for one in page.records]
        assert addresses == sorted(set(addresses))
        assert len(addresses) == 2_500
        # No page is larger than a mebibyte, for any request.
        assert max(sum(map(len, page.records)) for page in found) <= 1024 * 1024
        with pytest.raises(CallError, match="ask for pages") as caught:
            await client.call(RegistryService.watch, "arith")
        assert caught.value.status is Status.RESOURCE_EXHAUSTED
        # The connection lives, and a request without pages for a short list is answered.
        await fill(client, 3, service="small")
        assert len((await client.call(RegistryService.watch, "small")).records) == 3


async def test_clients_read_a_list_larger_than_a_message() -> None:
    async with RegistryServer("tcp://127.0.0.1:0") as server, Client(server.address) as client:
        await fill(client, 2_500)
        async with opened(server.url) as registry, registry.watch("arith") as watch:
            async with asyncio.timeout(20):
                assert len((await anext(watch)).endpoints) == 2_500
                await client.call(RegistryService.register, "arith", record(3_000), 60.0)
                assert len((await anext(watch)).endpoints) == 2_501


async def test_pages_belong_to_one_list_while_it_changes() -> None:
    async with RegistryServer("tcp://127.0.0.1:0") as server, Client(server.address) as client:
        await fill(client, 50, labels=None)
        first = await client.call(RegistryService.watch, "arith", "", 0.0, 1_000)
        leases = [await client.call(RegistryService.register, "arith", record(0, {"new": "x"}), 60.0)]
        for number in range(100, 120):
            leases.append(await client.call(RegistryService.register, "arith", record(number), 60.0))
        for lease in leases:
            await client.call(RegistryService.deregister, lease)
        records = list(first.records)
        following = first.following
        while following:
            page = await client.call(RegistryService.page, "arith", first.cursor, following, 1_000)
            assert page.cursor == first.cursor
            records += page.records
            following = page.following
        assert records == sorted(
            (record(number) for number in range(50)), key=lambda one: json.loads(one)["address"]
        )


@pytest.mark.parametrize(
    "cursor", ["", "nonsense", "5", ".5", "{instance}.", "{instance}.x", "{instance}.-1", "{instance}.99"]
)
async def test_page_of_an_unknown_list_is_aborted(cursor: str) -> None:
    async with RegistryServer("tcp://127.0.0.1:0") as server, Client(server.address) as client:
        await fill(client, 5, labels=None)
        known = await client.call(RegistryService.watch, "arith")
        cursor = cursor.replace("{instance}", known.cursor.partition(".")[0])
        with pytest.raises(CallError) as caught:
            await client.call(RegistryService.page, "arith", cursor, 1, 100)
        assert caught.value.status is Status.ABORTED


@pytest.mark.parametrize("start", [0, -1, 5, 10**18])
async def test_page_that_begins_nowhere_is_refused(start: int) -> None:
    async with RegistryServer("tcp://127.0.0.1:0") as server, Client(server.address) as client:
        await fill(client, 5, labels=None)
        known = await client.call(RegistryService.watch, "arith")
        with pytest.raises(CallError, match="this list has 5 records"):
            await client.call(RegistryService.page, "arith", known.cursor, start, 100)


async def test_names_of_services_come_in_parts() -> None:
    async with RegistryServer("tcp://127.0.0.1:0") as server, Client(server.address) as client:
        for name in ("c", "a", "b", "d"):
            await fill(client, 1, service=name, labels=None)
        assert await client.call(RegistryService.services) == dict.fromkeys("abcd", 1)
        assert await client.call(RegistryService.services, "", 3) == dict.fromkeys("abc", 1)
        assert await client.call(RegistryService.services, "c", 3) == {"d": 1}
        assert await client.call(RegistryService.services, "d", 3) == {}
        async with opened(server.url) as registry:
            assert await asyncio.to_thread(registry.services) == list("abcd")


class Pages:
    """A registry with given answers: requests get them in order, and the last answer repeats for ever."""

    def __init__(self, *answers: ServiceList | CallError) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, call: Any, proceed: Callable[[Any], Awaitable[Any]]) -> Any:
        self.asked.append(call.method.rpartition(".")[2])
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, CallError):
            raise CallError(answer.status, answer.message)
        return answer


async def fetched(*answers: ServiceList | CallError) -> tuple[Any, list[str]]:
    """Return the result of a lookup from the answers of a registry, or its error, and its requests."""
    pages = Pages(*answers)
    async with Server(RegistryService(), interceptors=[pages]) as server:
        address = await server.listen("tcp://127.0.0.1:0")

        def fetch() -> Any:
            lookup = ServiceLookup("arith", SyncClient(address))
            try:
                return [one for _, one in lookup.fetch(0.0).entries]
            except StoreError as error:
                return error
            finally:
                lookup.close()

        return await asyncio.to_thread(fetch), pages.asked


A, B, C = (record(number) for number in range(3))
GONE = CallError(Status.ABORTED, "the list has changed")


def endpoints(*numbers: int) -> list[Endpoint]:
    return [Endpoint(f"tcp://10.0.0.{number + 1}:8972") for number in numbers]


async def test_dropped_list_is_read_again_from_its_beginning() -> None:
    found, asked = await fetched(
        ServiceList("x.1", [A], 1), GONE, ServiceList("x.2", [B], 1), ServiceList("x.2", [C], 0)
    )
    assert found == endpoints(1, 2)
    assert asked == ["watch", "page", "watch", "page"]


async def test_list_that_changes_on_every_page_is_abandoned() -> None:
    found, asked = await fetched(*[ServiceList("x.1", [A], 1), GONE] * 20)
    assert isinstance(found, StoreError)
    assert "changes too fast" in str(found)
    assert len(asked) < 15


@pytest.mark.parametrize(
    "pages",
    [
        [ServiceList("x.1", [A], 1), ServiceList("x.2", [B], 0)],
        [ServiceList("x.1", [A], 1), ServiceList("x.1", [], 2)],
        [ServiceList("x.1", [A], 1), ServiceList("x.1", [B], 1)],
        [ServiceList("x.1", [A], 5)],
        [ServiceList("x.1", [], 5)],
        [ServiceList("x.1", [A], -1)],
    ],
)
async def test_inconsistent_pages_are_an_error(pages: list[ServiceList]) -> None:
    found, _ = await fetched(*pages)
    assert isinstance(found, StoreError)


async def test_registry_with_endless_pages_is_not_followed_for_ever() -> None:
    answers = [ServiceList("x.1", [A] * 4_000, start) for start in range(4_000, 100_000, 4_000)]
    found, asked = await fetched(*answers)
    assert len(found) == 12_000
    assert len(asked) == 3


async def test_damaged_record_of_a_snapshot_costs_itself_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        RegistryServer("tcp://127.0.0.1:0", data_dir=tmp_path) as server,
        Client(server.address) as client,
    ):
        await fill(client, 20, labels=None)
        await fill(client, 1, service="other", labels=None)
    file = tmp_path / "registry.json"
    text = file.read_text(encoding="utf-8")
    assert len(json.loads(text)["records"]) == 21
    # Another version, an address that is not an address, an escape sequence.
    lines = text.splitlines(keepends=True)
    lines[3] = lines[3].replace('\\"v\\":1', '\\"v\\":7')
    lines[4] = lines[4].replace("tcp://", "tcp:??")
    lines[5] = lines[5].replace('"arith"', '"\\u001b[2J\\u202e"')
    file.write_text("".join(lines), encoding="utf-8")
    async with (
        RegistryServer("tcp://127.0.0.1:0", data_dir=tmp_path) as server,
        Client(server.address) as client,
    ):
        assert await client.call(RegistryService.services) == {"arith": 17, "other": 1}
    messages = [one.getMessage() for one in caplog.records]
    assert len(messages) == 3
    assert "arith at tcp://10.0.0." in messages[0]
    assert "format 7" in messages[0]
    assert all(text.isprintable() for text in messages)


async def test_snapshot_above_the_limit_keeps_the_records_that_fit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        RegistryServer("tcp://127.0.0.1:0", data_dir=tmp_path) as server,
        Client(server.address) as client,
    ):
        await fill(client, 200)
    async with (
        RegistryServer("tcp://127.0.0.1:0", data_dir=tmp_path, records_bytes=100_000) as server,
        Client(server.address) as client,
    ):
        kept = (await client.call(RegistryService.services))["arith"]
    assert 10 <= kept <= 13
    assert "the limit is 100000" in caplog.text
    # They are named one by one, but not without end.
    assert len(caplog.records) == 101
    assert caplog.records[-1].getMessage().startswith(f"{200 - kept - 100} more")


async def test_snapshot_is_written_in_another_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = set()

    def noted(items: Iterable[Any]) -> Iterator[bytes]:
        for piece in encode_snapshot(items):
            threads.add(threading.current_thread())
            yield piece

    monkeypatch.setattr("fastrpc.coordination.registry.saving.encode_snapshot", noted)
    async with (
        RegistryServer("tcp://127.0.0.1:0", data_dir=tmp_path) as server,
        Client(server.address) as client,
    ):
        await fill(client, 5, labels=None)
    assert len(json.loads((tmp_path / "registry.json").read_bytes())["records"]) == 5
    assert threads
    assert threading.main_thread() not in threads
