"""The access log: one record a call, its fields, sampling, and ids that join the records of several servers."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

import fastrpc
from fastrpc import Call, CallError, Client, ConfigError, Proceed, Status
from fastrpc.interceptors import AccessLog
from tests.support.access_records import ended, kept_records
from tests.support.either_client import CLIENTS, either, taken
from tests.support.served import SCHEMES, served
from tests.support.waiting import eventually, overdue_inside

pytestmark = pytest.mark.one_loop

records = pytest.fixture(kept_records)

FIELDS = {
    "side",
    "service",
    "method",
    "status",
    "peer",
    "identity",
    "duration_ms",
    "bytes",
    "trace_id",
    "request_id",
}


@fastrpc.service("shop")
class Shop:
    def __init__(self) -> None:
        self.waiting = 0

    @fastrpc.method
    async def same(self, text: str) -> str:
        return text

    @fastrpc.method
    def same_in_a_thread(self, text: str) -> str:
        return text

    @fastrpc.method(inline=True)
    def same_inline(self, text: str) -> str:
        return text

    @fastrpc.method
    async def fail(self, status: str) -> None:
        raise CallError(Status[status], "it fails")

    @fastrpc.method
    async def crash(self) -> None:
        raise RuntimeError("secret")

    @fastrpc.method
    async def unsendable(self) -> str:
        return object()  # type: ignore[return-value]

    @fastrpc.method
    async def wait(self) -> None:
        self.waiting += 1
        await asyncio.Event().wait()

    @fastrpc.method
    async def count(self, to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number

    @fastrpc.method
    async def gather(self, numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("method", ["same", "same_in_a_thread", "same_inline"])
async def test_a_call_is_one_record_with_all_fields(
    method: str, scheme: str, records: list[logging.LogRecord]
) -> None:
    async with served(Shop, scheme=scheme, interceptors=[AccessLog()]) as target, Client(target) as client:
        await client.call(f"shop.{method}", "0123456789")
        (record,) = await ended(records, 1)
    assert vars(record).keys() >= FIELDS
    assert (record.side, record.service, record.method) == ("server", "shop", f"shop.{method}")
    assert (record.status, record.identity, record.trace_id) == ("OK", None, None)
    # Ten characters and the heads of msgpack, both ways.
    assert record.bytes == 12 + 11
    assert record.duration_ms >= 0
    assert record.peer.startswith(f"{scheme}://")
    assert re.fullmatch("[0-9a-f]{32}", record.request_id)
    assert re.fullmatch(rf"shop\.{method} OK \d+\.\d{{3}} ms", record.getMessage())


@pytest.mark.parametrize("kind", CLIENTS)
async def test_each_side_logs_streams_once_with_the_bytes_of_their_messages(
    kind: str, records: list[logging.LogRecord]
) -> None:
    log = AccessLog()
    async with either(kind, Shop, server_interceptors=[log], interceptors=[log]) as client:
        async with client.stream(Shop.count, 10) as stream:
            assert await taken(stream) == list(range(10))
        found = await ended(records, 2)
    assert {(one.side, one.method, one.status) for one in found} == {
        ("server", "shop.count", "OK"),
        ("client", "shop.count", "OK"),
    }
    # One byte a message, and the argument in its array.
    assert {one.bytes for one in found} == {10 + 2}
    assert len({one.request_id for one in found}) == 1


async def test_a_stream_of_the_caller_is_one_record(records: list[logging.LogRecord]) -> None:
    async def numbers() -> AsyncIterator[int]:
        for number in range(5):
            yield number

    async with served(Shop, interceptors=[AccessLog()]) as target, Client(target) as client:
        assert await client.call(Shop.gather, numbers()) == 10
        (record,) = await ended(records, 1)
    assert (record.method, record.status) == ("shop.gather", "OK")
    assert record.bytes >= 5 + 1


async def test_one_way_calls_and_each_call_of_a_batch_are_records(records: list[logging.LogRecord]) -> None:
    async with served(Shop, interceptors=[AccessLog()]) as target, Client(target) as client:
        await client.notify(Shop.same, "x")
        await client.call_many(Shop.same, [("a",), ("b",), ("c",)])
        found = await ended(records, 4)
    assert {(one.method, one.status) for one in found} == {("shop.same", "OK")}
    assert len({one.request_id for one in found}) == 4


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize(
    ("method", "args", "status"),
    [("fail", ("NOT_FOUND",), "NOT_FOUND"), ("crash", (), "INTERNAL"), ("unsendable", (), "INTERNAL")],
)
async def test_both_sides_log_the_error_that_the_caller_got(
    kind: str, method: str, args: tuple[Any, ...], status: str, records: list[logging.LogRecord]
) -> None:
    log = AccessLog(sample=0)  # Calls that fail are logged all the same.
    async with either(kind, Shop, server_interceptors=[log], interceptors=[log]) as client:
        with pytest.raises(CallError):
            await client.call(f"shop.{method}", *args)
        found = await ended(records, 2)
    assert {(one.side, one.status) for one in found} == {("server", status), ("client", status)}


async def test_a_call_that_an_interceptor_refuses_is_logged_for_any_place_of_the_log(
    records: list[logging.LogRecord],
) -> None:
    async def refuse(call: Call, proceed: Proceed) -> Any:
        raise CallError(Status.PERMISSION_DENIED, "no")

    for interceptors in ([AccessLog(), refuse], [refuse, AccessLog()]):
        records.clear()
        async with served(Shop, interceptors=interceptors) as target, Client(target) as client:
            with pytest.raises(CallError):
                await client.call(Shop.same, "x")
            (record,) = await ended(records, 1)
        assert record.status == "PERMISSION_DENIED"


async def test_a_cancelled_call_and_one_out_of_time_are_logged(records: list[logging.LogRecord]) -> None:
    shop = Shop()
    async with served(shop, interceptors=[AccessLog()]) as target, Client(target) as client:
        hasty = client.with_options(timeout=0.05)
        await overdue_inside(lambda: hasty.call(Shop.wait), lambda: shop.waiting)
        await eventually(lambda: records)
        task = asyncio.create_task(client.call(Shop.wait))
        await eventually(lambda: shop.waiting == 2)
        task.cancel()
        found = await ended(records, 2)
    assert [one.status for one in found] == ["DEADLINE_EXCEEDED", "CANCELLED"]


@pytest.mark.parametrize("others", [[], ["tcp://127.0.0.1:1"]])
async def test_a_call_that_its_caller_cancels_has_the_bytes_and_the_peer_of_its_attempt(
    others: list[str], records: list[logging.LogRecord]
) -> None:
    shop = Shop()
    async with (
        served(shop, scheme="tcp") as target,
        Client([target, *others], interceptors=[AccessLog()]) as client,
    ):
        await client.call(Shop.same, "x")
        records.clear()
        before = client.stats()["totals"]["sent_bytes"]
        task = asyncio.create_task(client.call(Shop.wait))
        await eventually(lambda: shop.waiting)
        task.cancel()
        (record,) = await ended(records, 1)
        sent = client.stats()["totals"]["sent_bytes"] - before
    assert record.status == "CANCELLED"
    assert record.bytes == sent > 0
    assert record.peer == target


async def test_an_interceptor_may_call_the_log_itself(records: list[logging.LogRecord]) -> None:
    log = AccessLog()

    async def some(call: Call, proceed: Proceed) -> Any:
        return await (log(call, proceed) if call.method == "shop.same" else proceed(call))

    async with served(Shop, interceptors=[some]) as target, Client(target) as client:
        await client.call(Shop.same_inline, "x")
        await client.call(Shop.same, "x")
        (record,) = await ended(records, 1)
    assert (record.method, record.status, record.side) == ("shop.same", "OK", "server")


async def test_caller_and_trace_are_fields(records: list[logging.LogRecord]) -> None:
    async def identify(call: Call, proceed: Proceed) -> Any:
        call.identity = fastrpc.Identity("alice")
        return await proceed(call)

    trace = "0af7651916cd43dd8448eb211c80319c"
    async with served(Shop, interceptors=[AccessLog(), identify]) as target, Client(target) as client:
        traced = client.with_options(metadata={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
        await traced.call(Shop.same, "x")
        await client.with_options(metadata={"traceparent": "00-\n-x-01"}).call(Shop.same, "x")
        found = await ended(records, 2)
    assert [one.identity for one in found] == ["alice", "alice"]
    assert [one.trace_id for one in found] == [trace, None]


# Logged fields


async def test_slow_calls_are_logged_for_any_sample(records: list[logging.LogRecord]) -> None:
    async with (
        served(Shop, interceptors=[AccessLog(sample=0, slow_seconds=3600)]) as target,
        Client(target) as client,
    ):
        await client.call(Shop.same, "x")
    assert records == []
    async with (
        served(Shop, interceptors=[AccessLog(sample=0, slow_seconds=0)]) as target,
        Client(target) as client,
    ):
        await client.call(Shop.same, "x")
        await ended(records, 1)


async def test_a_sample_is_about_its_share(records: list[logging.LogRecord]) -> None:
    async with served(Shop, interceptors=[AccessLog(sample=0.5)]) as target, Client(target) as client:
        await client.call_many(Shop.same, [("x",)] * 1_000)
    # Far outside of this is one run in a billion.
    assert 400 < len(records) < 600


@pytest.mark.parametrize("level", [logging.DEBUG, "debug", "DEBUG"])
async def test_records_have_the_level_asked_for(level: int | str, records: list[logging.LogRecord]) -> None:
    async with served(Shop, interceptors=[AccessLog(level=level)]) as target, Client(target) as client:
        await client.call(Shop.same, "x")
        (record,) = await ended(records, 1)
        assert record.levelno == logging.DEBUG
        logging.getLogger("fastrpc.access").setLevel(logging.INFO)
        await client.call(Shop.same, "x")
    assert len(records) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"level": "loud"},
        {"level": True},
        {"level": 1.5},
        {"sample": 1.1},
        {"sample": -0.1},
        {"sample": float("nan")},
        {"sample": "all"},
        {"sample": True},
        {"slow_seconds": -1},
        {"slow_seconds": "1"},
        {"slow_seconds": float("inf")},
    ],
)
def test_a_wrong_argument_is_named(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ConfigError, match=rf"AccessLog\.{name} is "):
        AccessLog(**wrong)


async def test_a_log_handler_that_raises_fails_no_call(
    records: list[logging.LogRecord], caplog: pytest.LogCaptureFixture
) -> None:
    def broken(record: logging.LogRecord) -> bool:
        if hasattr(record, "request_id"):
            raise RuntimeError("the filter is broken")
        return True

    logger = logging.getLogger("fastrpc.access")
    logger.addFilter(broken)
    try:
        async with served(Shop, interceptors=[AccessLog()]) as target, Client(target) as client:
            assert await client.call(Shop.same, "x") == "x"
    finally:
        logger.removeFilter(broken)
    assert "a record of shop.same could not be written" in caplog.text


# Nothing a peer sends forges a line


@pytest.mark.parametrize("kind", CLIENTS)
async def test_no_field_holds_a_line_feed(kind: str, records: list[logging.LogRecord]) -> None:
    async with either(kind, Shop, interceptors=[AccessLog()]) as client:
        with pytest.raises(CallError):
            await client.call("shop.same\nfastrpc.access INFO forged OK", "x")
        (record,) = await ended(records, 1)
    assert "\n" not in record.getMessage() + record.method + record.service
