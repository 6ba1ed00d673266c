"""Errors of any size and shape reach the caller with their status and text, and harm no other call."""

import asyncio
import enum
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import fastrpc
from fastrpc import (
    Admission,
    CallError,
    Client,
    ClientConfig,
    Limits,
    Memory,
    ServerConfig,
    Status,
    SyncClient,
    current_call,
)
from tests.support.served import SCHEMES, served
from tests.support.threaded_server import ThreadedServer

pytestmark = pytest.mark.one_loop

KIB, MIB = 1 << 10, 1 << 20


def nested(depth: int, kind: type) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value] if kind is list else {"in": value}
    return value


def cyclic() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


#: Details that cannot travel, or that no receiver takes.
TOO_MUCH: dict[str, Any] = {
    "20 MB of bytes": lambda: bytes(20 * MIB),
    "20 MB of text": lambda: "x" * (20 * MIB),
    "one byte above the limit": lambda: bytes(16 * MIB - 4),
    "lists 101 deep": lambda: nested(101, list),
    "maps 150 deep": lambda: nested(150, dict),
    "lists 100,000 deep": lambda: nested(100_000, list),
    "more than a million items": lambda: [0] * 1_000_001,
    "more than a million empty maps": lambda: [{}] * 1_000_001,
    "no value of any codec": object,
    "a number that is too large": lambda: 2**70,
    "a cycle": cyclic,
}

#: Details that arrive.
FITTING: dict[str, Any] = {
    "nothing": None,
    "false": False,
    "bytes": b"\x00\xff" * 20_000,
    "lists 99 deep": nested(99, list),
    "many items": list(range(200_000)),
    "as much as the limit": bytes(16 * MIB - 5),
}

LARGE_TEXTS = ["x" * 4_097, "é" * 2_049, "x" + "é" * 2_048, "😀" * 2_000, "x" * (20 * MIB), "\ud800" * 5_000]


class Colour(enum.Enum):
    RED = "red"


class RefusalError(CallError):
    """A kind of one's own."""


@fastrpc.service("erring")
class Erring:
    behind: Client

    @fastrpc.method
    async def refuse(self, kind: str) -> None:
        raise CallError(Status.DATA_LOSS, "gone", details=made(kind))

    @fastrpc.method
    async def refuse_later(self, kind: str) -> None:
        await asyncio.sleep(0)
        raise RefusalError(Status.DATA_LOSS, "gone", details=made(kind))

    @fastrpc.method(inline=True)
    def refuse_inline(self, kind: str) -> None:
        raise CallError(Status.DATA_LOSS, "gone", details=made(kind))

    @fastrpc.method
    def refuse_in_thread(self, kind: str) -> None:
        raise CallError(Status.DATA_LOSS, "gone", details=made(kind))

    @fastrpc.method
    async def say(self, number: int) -> None:
        raise CallError(Status.ABORTED, LARGE_TEXTS[number])

    @fastrpc.method(codec="raw")
    async def refuse_raw(self, kind: bytes) -> bytes:
        raise CallError(Status.DATA_LOSS, "gone", details=made(kind.decode()))

    @fastrpc.method
    async def paint(self, colour: Colour) -> str:
        return colour.value

    @fastrpc.method
    async def pass_on(self, kind: str) -> None:
        await self.behind.call(Erring.refuse, kind)

    @fastrpc.method
    async def say_more(self, size: int, entries: int, fails: bool) -> int:
        for number in range(entries):
            current_call().reply_metadata[f"key{number}"] = "x" * size
        if fails:
            raise CallError(Status.DATA_LOSS, "gone")
        return size

    @fastrpc.method(codec="raw")
    async def say_more_raw(self, size: bytes) -> bytes:
        current_call().reply_metadata["key"] = "x" * int(size)
        return size

    @fastrpc.method
    async def echo(self, number: int) -> int:
        return number


def made(kind: str) -> Any:
    return TOO_MUCH[kind]() if kind in TOO_MUCH else FITTING[kind]


@asynccontextmanager
async def erring(scheme: str = "tcp", **options: Any) -> AsyncIterator[Client]:
    """Yield a client with one connection, on which other calls run all the time."""
    config = ClientConfig(limits=options.pop("limits", Limits()))
    # Encoding an invalid value takes a second if the machine is slow.
    options.setdefault("config", ServerConfig(admission=Admission(queue_age=60)))
    async with served(Erring, scheme=scheme, **options) as target, Client(target, config=config) as client:
        await client.ready()
        yield client
        assert await client.call(Erring.echo, 7) == 7
        assert client.stats()["totals"]["connections"] == 1


def is_told(error: BaseException) -> bool:
    return isinstance(error, CallError) and (error.status, error.message) == (Status.DATA_LOSS, "gone")


def errors_in(caplog: pytest.LogCaptureFixture, part: str) -> list[str]:
    return [
        one.getMessage()
        for one in caplog.records
        if one.levelno == logging.ERROR and part in one.getMessage()
    ]


@pytest.mark.parametrize("kind", TOO_MUCH)
@pytest.mark.parametrize("codec", ["msgpack", "json"])
async def test_details_that_cannot_travel_are_left_out_and_logged_once(
    kind: str, codec: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with erring() as client:
        if codec == "json" and kind in ("one byte above the limit", "a number that is too large"):
            pytest.skip("to JSON it is another size, or a value")
        beside = [asyncio.ensure_future(client.call(Erring.echo, number)) for number in range(20)]
        with pytest.raises(CallError) as caught:
            await client.with_options(codec=codec).call(Erring.refuse, kind)
        assert is_told(caught.value)
        assert caught.value.details is None
        assert caught.value.processed == "yes"
        assert await asyncio.gather(*beside) == list(range(20))
        assert len(errors_in(caplog, "erring.refuse")) == 1


@pytest.mark.parametrize("kind", FITTING)
@pytest.mark.parametrize("scheme", SCHEMES)
async def test_details_that_fit_arrive(kind: str, scheme: str, caplog: pytest.LogCaptureFixture) -> None:
    async with erring(scheme) as client:
        with pytest.raises(CallError) as caught:
            await client.call(Erring.refuse, kind)
        assert is_told(caught.value)
        assert caught.value.details == FITTING[kind]
        assert errors_in(caplog, "erring") == []


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    "method", [Erring.refuse_later, Erring.refuse_inline, Erring.refuse_in_thread, "erring.refuse"]
)
@pytest.mark.parametrize("compressor", [None, "gzip"])
async def test_every_kind_of_handler_and_transport_tells_its_status(
    scheme: str, method: Any, compressor: str | None
) -> None:
    async with erring(scheme) as client:
        view = client.with_options(compressor=compressor)
        for kind in ("20 MB of bytes", "lists 101 deep", "a cycle"):
            with pytest.raises(CallError) as caught:
                await view.call(method, kind)
            assert is_told(caught.value)
            assert caught.value.details is None


@pytest.mark.parametrize("kind", ["20 MB of bytes", "maps 150 deep", "a cycle"])
async def test_raw_calls_tell_their_status(kind: str) -> None:
    async with erring() as client:
        with pytest.raises(CallError) as caught:
            await client.call(Erring.refuse_raw, kind.encode())
        assert is_told(caught.value)
        assert caught.value.details is None


async def test_an_interceptor_that_refuses_with_large_details_tells_its_status(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def refuse(call: fastrpc.Call, proceed: fastrpc.Proceed) -> Any:
        if call.method == "erring.echo":
            return await proceed(call)
        raise CallError(Status.DATA_LOSS, "gone", details=bytes(20 * MIB))

    async with erring(interceptors=(refuse,)) as client:
        for method in (Erring.refuse, Erring.refuse_in_thread):
            with pytest.raises(CallError) as caught:
                await client.call(method, "nothing")
            assert is_told(caught.value)
        assert len(errors_in(caplog, "details of its error are left out")) == 2


@pytest.mark.parametrize("kind", ["20 MB of bytes", "lists 101 deep", "no value of any codec", "a cycle"])
async def test_interceptors_around_a_handler_do_not_log_its_error_again(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Status | None] = []

    async def watch(call: fastrpc.Call, proceed: fastrpc.Proceed) -> Any:
        try:
            return await proceed(call)
        finally:
            seen.append(call.status)

    async with erring(interceptors=(watch, watch)) as client:
        with pytest.raises(CallError) as caught:
            await client.call(Erring.refuse, kind)
        assert is_told(caught.value)
        assert seen == [Status.DATA_LOSS] * 2
        assert len(errors_in(caplog, "erring.refuse")) == 1


async def test_batches_tell_each_status() -> None:
    async with erring() as client:
        kinds = ["20 MB of bytes", "bytes", "lists 101 deep", "more than a million items", "nothing"]
        errors = await client.call_many(Erring.refuse, [(kind,) for kind in kinds], return_exceptions=True)
        assert all(is_told(error) for error in errors)
        assert [error.details for error in errors] == [None, FITTING["bytes"], None, None, None]


async def test_one_way_calls_with_large_errors_harm_nobody() -> None:
    async with erring() as client:
        for kind in TOO_MUCH:
            await client.notify(Erring.refuse, kind)
        assert await client.call(Erring.echo, 1) == 1


@pytest.mark.parametrize("kind", ["20 MB of bytes", "lists 101 deep", "bytes"])
async def test_an_error_of_a_server_behind_harms_no_connection(kind: str) -> None:
    async with erring() as behind, erring() as client:
        Erring.behind = behind
        for _ in range(3):
            with pytest.raises(CallError):
                await client.call(Erring.pass_on, kind)
            assert await behind.call(Erring.echo, 2) == 2


def test_sync_clients_are_told_the_status() -> None:
    with ThreadedServer(Erring) as server, SyncClient(server.address) as client:
        for kind in ("20 MB of bytes", "lists 101 deep", "a cycle"):
            with pytest.raises(CallError) as caught:
                client.call(Erring.refuse, kind)
            assert is_told(caught.value)
            assert caught.value.details is None
        assert client.stats()["totals"]["connections"] == 1


@pytest.mark.parametrize("side", ["client", "server"])
async def test_the_smaller_limit_of_both_sides_counts(side: str, caplog: pytest.LogCaptureFixture) -> None:
    limits = Limits(message_bytes=30 * KIB)
    options: dict[str, Any] = (
        {"limits": limits} if side == "client" else {"config": ServerConfig(limits=limits)}
    )
    async with erring(**options) as client:
        with pytest.raises(CallError) as caught:
            await client.call(Erring.refuse, "bytes")
        assert is_told(caught.value)
        assert caught.value.details is None
        (logged,) = errors_in(caplog, "erring.refuse")
        assert "40003 bytes, 30720 are allowed (Limits.message_bytes)" in logged


@pytest.mark.parametrize(
    "config",
    [ServerConfig(limits=Limits(depth=50)), ServerConfig(memory=Memory(items=1_000))],
    ids=["depth", "items"],
)
async def test_details_have_the_same_limits_of_depth_and_items_as_every_value(config: ServerConfig) -> None:
    async with erring(config=config) as client:
        for kind, fits in (
            ("lists 99 deep", config.limits.depth > 99),
            ("many items", False),
            ("false", True),
        ):
            with pytest.raises(CallError) as caught:
                await client.call(Erring.refuse, kind)
            assert is_told(caught.value)
            if kind == "many items" and config.memory.items > 200_000:
                fits = True
            assert caught.value.details == (FITTING[kind] if fits else None)


@pytest.mark.parametrize("number", range(len(LARGE_TEXTS)))
@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_long_text_is_cut_between_characters_and_says_so(number: int, scheme: str) -> None:
    text = LARGE_TEXTS[number].replace("\ud800", "?")
    async with erring(scheme) as client:
        with pytest.raises(CallError) as caught:
            await client.call(Erring.say, number)
        told = caught.value.message
        assert caught.value.status is Status.ABORTED
        assert 4_090 <= len(told.encode()) <= 4_096
        assert told.endswith("…")
        assert text.startswith(told[:-1])


async def test_a_text_of_the_limit_is_not_cut() -> None:
    @fastrpc.service("exact")
    class Exact:
        @fastrpc.method
        async def say(self) -> None:
            raise CallError(Status.ABORTED, "é" * 2_048)

    async with served(Exact, scheme="tcp") as target, Client(target) as client:
        with pytest.raises(CallError) as caught:
            await client.call(Exact.say)
        assert caught.value.message == "é" * 2_048


@pytest.mark.parametrize("size", [5_000, MIB])
async def test_a_refusal_that_quotes_a_long_argument_is_cut(size: int) -> None:
    async with erring() as client:
        with pytest.raises(CallError) as caught:
            await client.call("erring.paint", "é" * size)
        assert caught.value.status is Status.INVALID_ARGUMENT
        assert caught.value.processed == "no"
        assert len(caught.value.message.encode()) <= 4_096


@pytest.mark.parametrize(("size", "entries"), [(9_000, 1), (70_000, 1), (40_000, 4), (10, 500)])
async def test_reply_metadata_above_the_callers_limit_is_the_servers_mistake(
    size: int, entries: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with erring() as client:
        with pytest.raises(CallError) as caught:
            await client.call(Erring.say_more, size, entries, False)
        assert caught.value.status is Status.INTERNAL
        assert len(errors_in(caplog, "erring.say_more")) == 1
        caplog.clear()
        with pytest.raises(CallError) as caught:
            await client.call(Erring.say_more, size, entries, True)
        assert is_told(caught.value)
        assert len(errors_in(caplog, "erring.say_more")) == 1
        assert len((await client.request(Erring.say_more, 5, 1, False)).metadata) == 1


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_reply_metadata_of_raw_calls_and_batches_is_checked_as_well(scheme: str) -> None:
    async with erring(scheme) as client:
        with pytest.raises(CallError, match=r"8192.*Limits\.metadata_bytes") as caught:
            await client.call(Erring.say_more_raw, b"9000")
        assert caught.value.status is Status.INTERNAL
        found = await client.call_many(
            Erring.say_more, [(9_000, 1, False), (5, 1, False)], return_exceptions=True
        )
        assert found[0].status is Status.INTERNAL
        assert found[1] == 5
