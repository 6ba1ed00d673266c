"""One change for many watchers: it is made and encoded once for each codec."""

import asyncio
from typing import Any

import pytest

from fastrpc import Client, Endpoint
from fastrpc.coordination import RegistryService, StoreService
from fastrpc.coordination.registry.service_lists import ServiceList, ServiceLists
from fastrpc.coordination.remote.service import ChangeBatch
from fastrpc.registries.base.record import encode_record
from fastrpc.rpc.shared_results import SharedResult
from tests.support.served import served
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

WATCHERS = 40


def codec_of(number: int) -> str:
    return "json" if number % 2 else "msgpack"


def made(monkeypatch: pytest.MonkeyPatch, kind: type[SharedResult]) -> list[Any]:
    """Return a list that gets each object of a class that is made from now on."""
    found: list[Any] = []
    begin = kind.__init__

    def note(self: Any, *arguments: Any) -> None:
        begin(self, *arguments)
        found.append(self)

    monkeypatch.setattr(kind, "__init__", note)
    return found


def shared_by_codecs(found: list[Any]) -> list[int]:
    """Return by how many encoders each object was encoded."""
    return [len(one.payloads) for one in found if hasattr(one, "payloads")]


async def test_list_of_a_registry_is_made_once_for_all_watchers(monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[ServiceList] = []
    part = ServiceLists._part

    def note(self: ServiceLists, *arguments: Any) -> ServiceList:
        parts.append(part(self, *arguments))
        return parts[-1]

    async with served(RegistryService()) as address, Client(address) as client:
        known = await client.call(RegistryService.watch, "arith")
        monkeypatch.setattr(ServiceLists, "_part", note)
        views = [client.with_options(codec=codec_of(number)) for number in range(WATCHERS)]
        waiting = [
            asyncio.create_task(view.call(RegistryService.watch, "arith", known.cursor, 60.0))
            for view in views
        ]
        await eventually(lambda: client.stats()["live"]["calls"] == WATCHERS)
        # The requests of one connection are handled in their order.
        record = encode_record(Endpoint("tcp://127.0.0.1:1")).decode()
        await client.call(RegistryService.register, "arith", record, 10.0)
        lists = await asyncio.gather(*waiting)
    assert {tuple(one.records) for one in lists} == {(record,)}
    assert shared_by_codecs(parts) == [2]


async def test_change_of_a_store_is_encoded_once_for_all_watchers(monkeypatch: pytest.MonkeyPatch) -> None:
    async def change(view: Client) -> list[ChangeBatch]:
        async with view.stream(StoreService.watch, "a/") as batches:
            first = await batches.receive()
            entered.append(first)
            return [first, await batches.receive()]

    entered: list[ChangeBatch] = []
    service = StoreService()
    async with served(service) as address, Client(address) as client:
        views = [client.with_options(codec=codec_of(number)) for number in range(WATCHERS)]
        watching = [asyncio.create_task(change(view)) for view in views]
        await eventually(lambda: service.local.figures()["watchers"] == WATCHERS)
        await eventually(lambda: len(entered) == WATCHERS)
        batches = made(monkeypatch, ChangeBatch)
        await client.call(StoreService.put, "a/k", b"x")
        found = await asyncio.gather(*watching)
    assert {batch[1].changes[0].key for batch in found} == {"a/k"}
    # Clients make their batches in this process, too, and encode none.
    assert shared_by_codecs(batches) == [2]
