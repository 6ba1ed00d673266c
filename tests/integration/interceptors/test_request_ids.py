"""Request ids: how they travel through nested calls, which of a caller's count, and that a sample goes by them."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

import fastrpc
from fastrpc import Call, Client, Limits, Proceed, ServerConfig, SyncClient
from fastrpc._core.payload.metadata import encode_metadata
from fastrpc.interceptors import AccessLog
from tests.support.access_records import ended, kept_records
from tests.support.frame_factory import opening, request
from tests.support.raw_peer import raw_client
from tests.support.served import served
from tests.support.wire_frames import Response

pytestmark = pytest.mark.one_loop

records = pytest.fixture(kept_records)


@fastrpc.service("tier")
class Tier:
    """Passes a call on to the next tier, by one of several ways."""

    def __init__(self, following: Any = None) -> None:
        self._following = following

    @fastrpc.method
    async def work(self) -> None:
        if self._following is not None:
            await self._following.call(Tier.work)

    @fastrpc.method
    async def work_within(self) -> None:
        async with fastrpc.timeout(5):
            await self._following.call(Tier.work)

    @fastrpc.method
    async def work_in_tasks(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(2):
                tasks.create_task(self._following.call(Tier.work))

    @fastrpc.method
    async def work_in_a_batch(self) -> None:
        await self._following.call_many(Tier.work, [()] * 2)

    @fastrpc.method
    async def work_one_way(self) -> None:
        await self._following.notify(Tier.work)

    @fastrpc.method
    async def work_by_stream(self) -> None:
        async for _ in self._following.stream(Tier.steps):
            pass

    @fastrpc.method
    def work_blocking(self) -> None:
        self._following.call(Tier.work)

    @fastrpc.method
    async def steps(self) -> AsyncIterator[int]:
        yield 1

    @fastrpc.method
    async def same(self, text: str) -> str:
        return text


@pytest.mark.parametrize(
    "way",
    ["work", "work_within", "work_in_tasks", "work_in_a_batch", "work_one_way", "work_by_stream"],
)
async def test_one_id_joins_the_records_of_three_tiers(way: str, records: list[logging.LogRecord]) -> None:
    log = AccessLog()
    async with (
        served(Tier(), interceptors=[log]) as last,
        Client(last) as to_last,
        served(Tier(to_last), interceptors=[log]) as middle,
        Client(middle) as to_middle,
        served(Tier(to_middle), interceptors=[log]) as first,
        Client(first) as client,
    ):
        await client.call(f"tier.{way}")
        twice = way in ("work_in_tasks", "work_in_a_batch")
        count = {"work_by_stream": 2}.get(way, 5 if twice else 3)
        found = await ended(records, count)
    assert len({one.request_id for one in found}) == 1


@pytest.mark.parametrize("blocking", [False, True])
async def test_an_id_begins_with_the_client_that_logs(
    blocking: bool, records: list[logging.LogRecord]
) -> None:
    log = AccessLog()

    async def touch(call: Call, proceed: Proceed) -> Any:
        call.metadata["own"] = "kept"
        return await proceed(call)

    async with served(Tier(), scheme="tcp", interceptors=[log]) as last:
        with SyncClient(last) as to_last:
            async with (
                served(Tier(to_last), scheme="tcp", interceptors=[log]) as first,
                Client(first, interceptors=[log, touch]) as client,
            ):
                if blocking:
                    await client.call(Tier.work_blocking)
                    found = await ended(records, 3)
                else:
                    with SyncClient(first, interceptors=[touch, log]) as caller:
                        await asyncio.to_thread(caller.call, Tier.work_blocking)
                    found = await ended(records, 3)
    assert {one.side for one in found} == {"client", "server"}
    assert len({one.request_id for one in found}) == 1


async def test_a_tier_without_a_log_passes_the_id_on(records: list[logging.LogRecord]) -> None:
    log = AccessLog()
    async with (
        served(Tier(), interceptors=[log]) as last,
        Client(last) as to_last,
        served(Tier(to_last)) as middle,
        Client(middle, interceptors=[log]) as client,
    ):
        await client.call(Tier.work)
        found = await ended(records, 2)
    assert len({one.request_id for one in found}) == 1


async def test_detached_calls_have_a_separate_id(records: list[logging.LogRecord]) -> None:
    @fastrpc.service("front")
    class Front:
        @fastrpc.method
        async def work(self) -> None:
            with fastrpc.detached():
                await to_last.call(Tier.work)

    log = AccessLog()
    async with (
        served(Tier(), interceptors=[log]) as last,
        Client(last) as to_last,
        served(Front, interceptors=[log]) as first,
        Client(first) as client,
    ):
        await client.call("front.work")
        found = await ended(records, 2)
    assert len({one.request_id for one in found}) == 2


async def test_tiers_that_sample_choose_the_same_requests(records: list[logging.LogRecord]) -> None:
    log = AccessLog(sample=0.5)
    async with (
        served(Tier(), interceptors=[log]) as last,
        Client(last) as to_last,
        served(Tier(to_last), interceptors=[log]) as first,
        Client(first) as client,
    ):
        await client.call_many(Tier.work, [()] * 100)
    by_request: dict[str, int] = {}
    for record in records:
        request_id = vars(record)["request_id"]
        by_request[request_id] = by_request.get(request_id, 0) + 1
    assert 20 < len(by_request) < 80
    assert set(by_request.values()) == {2}


async def test_an_id_that_does_not_fit_is_left_out_of_the_metadata(records: list[logging.LogRecord]) -> None:
    log = AccessLog()
    small = ServerConfig(limits=Limits(metadata_bytes=1_024))
    async with (
        served(Tier(), interceptors=[log], config=small) as last,
        Client(last) as to_last,
        served(Tier(to_last.with_options(metadata={"key": "x" * 960})), interceptors=[log]) as first,
        Client(first) as client,
    ):
        await to_last.ready(timeout=10)
        await client.call(Tier.work)
        found = await ended(records, 2)
    assert [one.status for one in found] == ["OK", "OK"]
    assert len({one.request_id for one in found}) == 2


@pytest.mark.parametrize(
    ("given", "is_taken"),
    [
        ("0190f6e2-7b1c-7cc0-98c5-1f6d0a6d9c11", True),
        ("A.b_c-1", True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("", False),
        ("two words", False),
        ("line\nfeed", False),
        ("\x1b[31m", False),
        ('quote"', False),
        ("ümlaut", False),
    ],
)
async def test_only_a_plain_id_is_taken_from_the_caller(
    given: str, is_taken: bool, records: list[logging.LogRecord]
) -> None:
    # A program cannot set it: the key is reserved.
    key, value = b"frpc-request-id", given.encode()
    own = bytes((len(key), 0)) + len(value).to_bytes(2, "little") + key + value
    metadata = encode_metadata({"other": "y"}) + own
    async with served(Tier(), scheme="tcp", interceptors=[AccessLog()]) as target:
        async with raw_client(target) as peer:
            sent = request(1, msgspec.msgpack.encode(["x"]), method=b"tier.same", codec=1, metadata=metadata)
            peer.send(opening(False), sent)
            assert (await peer.next(Response)).status == 0
        (record,) = await ended(records, 1)
    assert (record.request_id == given) is is_taken
    if not is_taken:
        assert re.fullmatch("[0-9a-f]{32}", record.request_id)
