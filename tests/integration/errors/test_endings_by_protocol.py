"""Each call gets its answer, even if making it fails: over every protocol, for every kind of method."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import msgspec
import pytest

import fastrpc
from fastrpc import HTTP, Address, CallError, Client, ServerConfig, Status, SyncClient
from fastrpc.config.validation import SERVER_PROTOCOLS
from tests.conftest import Scale
from tests.support.http_talk import HttpClient
from tests.support.odd_endings import ENDINGS, ERRORS, LONE, Ending, Odd, Told, plain, raising, refused
from tests.support.served import Served, served
from tests.support.waiting import eventually
from tests.support.ways_in import MCP_META, WAYS, Asked

pytestmark = pytest.mark.one_loop

CONFIG = ServerConfig(
    protocols=tuple(SERVER_PROTOCOLS[:5]),
    http=HTTP(jsonrpc=True, websocket=True, mcp=True, rpcx=True, phobos=True, grpc_web=True, connect=True),
)

METHODS = {
    "unary": "unary",
    "threaded": "unary",
    "gives": "stream",
    "gives_in_thread": "stream",
    "takes": "client_stream",
    "both": "both_ways",
}
KINDS = {"lines": {"both_ways"}, "events": {"stream"}}
#: Ways that have no place for a stream both ways.
ONE_WAY_AT_A_TIME = {"native", "SyncClient", "gRPC-Web", "Connect"}
STREAMING = {
    "WebSocket",
    "WebSocket over HTTP/2",
    "gRPC",
    "gRPC-Web over HTTP/2",
    "Connect over HTTP/2",
} | ONE_WAY_AT_A_TIME
#: The status that a caller gets for any failure by these ways.
UNTOLD = {
    "HEAD": Status.OK,
    "MCP": None,
    "the header gateway of rpcx": Status.INTERNAL,
    "the header gateway of Phobos": None,
}


async def by_client(asked: Asked) -> Status:
    async with Client(str(asked.address)) as client:
        try:
            if asked.kind == "unary":
                await client.call(asked.method)
            else:
                async with client.stream(asked.method) as stream:
                    async for _ in stream:
                        pass
        except CallError as error:
            return error.status
    return Status.OK


def call_blocking(asked: Asked) -> Status:
    with SyncClient(str(asked.address)) as client:
        try:
            if asked.kind == "unary":
                client.call(asked.method)
            else:
                with client.stream(asked.method) as stream:
                    for _ in stream:
                        pass
        except CallError as error:
            return error.status
    return Status.OK


async def by_blocking_client(asked: Asked) -> Status:
    return await asyncio.to_thread(call_blocking, asked)


ASKS: dict[str, Callable[[Asked], Awaitable[Status | None]]] = {
    "native": by_client,
    "SyncClient": by_blocking_client,
    # A notification has no answer.
    **{name: way.ask for name, way in WAYS.items() if way.form != "a notification of JSON-RPC"},
}


def form_of(way: str) -> str:
    """Return a way without the version of HTTP."""
    return WAYS[way].form if way in WAYS else way


def methods_of(way: str) -> list[str]:
    """Return the methods that a way can call."""
    kinds = KINDS.get(form_of(way))
    if kinds is None:
        kinds = set(METHODS.values()) if way in STREAMING else {"unary"}
        if way in ONE_WAY_AT_A_TIME:
            kinds -= {"both_ways"} if way.startswith(("gRPC", "Connect")) else {"both_ways", "client_stream"}
    return [name for name, kind in METHODS.items() if kind in kinds]


@pytest.fixture
async def odd() -> Odd:
    return Odd()


@pytest.fixture
async def target(odd: Odd) -> AsyncIterator[Served]:
    async with served(odd, scheme="tcp", config=CONFIG) as target:
        yield target
        assert target.server._gate is not None
        gate = target.server._gate
        # The answer of a thread leaves before the thread is back.
        await eventually(lambda: gate.running == 0)


async def status_of(target: Served, way: str, name: str) -> Status | None:
    asked = Asked(Address.parse(target), None, None, f"odd.{name}", METHODS[name])
    async with asyncio.timeout(20):
        return await ASKS[way](asked)


@pytest.mark.parametrize("way", ASKS)
async def test_a_text_that_is_not_utf_8_is_reported_over_every_protocol(
    way: str, odd: Odd, target: Served
) -> None:
    odd.ending = refused(LONE)
    for name in methods_of(way):
        for odd.suspends in (False, True):
            assert await status_of(target, way, name) == UNTOLD.get(form_of(way), Status.NOT_FOUND), name


@pytest.mark.parametrize("way", ASKS)
async def test_no_ending_leaves_a_call_without_its_answer(
    way: str, odd: Odd, target: Served, scale: Scale, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    names = methods_of(way)
    for number, (ending, status) in enumerate(ENDINGS.values(), list(ASKS).index(way)):
        odd.ending = ending
        chosen = names if scale.factor > 1 else [names[number % len(names)]]
        for name in chosen:
            odd.suspends = bool(number & 1)
            odd.sends_first = bool(number & 2)
            assert await status_of(target, way, name) == UNTOLD.get(form_of(way), status), (name, number)


async def test_a_text_that_is_not_utf_8_keeps_its_valid_part(odd: Odd, target: Served) -> None:
    odd.ending = refused(LONE)
    async with await HttpClient.to(Address.parse(target)) as client:
        answer = await client.post("/odd/unary", {})
        assert answer.value["detail"] == "no file b?d"
        # The connection stays usable.
        odd.ending = plain
        assert (await client.post("/odd/unary", {})).status == 200


async def test_one_odd_text_of_a_batch_leaves_the_other_answers(odd: Odd, target: Served) -> None:
    ends = iter([plain, refused(LONE), plain])
    odd.ending = lambda: next(ends)()
    entries = [{"jsonrpc": "2.0", "method": "odd.unary", "id": number} for number in range(3)]
    async with await HttpClient.to(Address.parse(target)) as client:
        answer = await client.post("/jsonrpc", entries)
    assert [entry.get("error", {}).get("message") for entry in answer.value] == [None, "no file b?d", None]


# The last resort


class RaisingFilter(logging.Filter):
    """A filter of a program's log that has a mistake."""

    def __init__(self, error: type[BaseException]) -> None:
        super().__init__()
        self.error = error

    def filter(self, record: logging.LogRecord) -> bool:
        raise self.error("no record")


@pytest.fixture
def with_filter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[type[BaseException]], list[Any]]]:
    """Return a switch that makes the server's log raise; it returns the list of errors that no log took."""
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: unraisable.append(told.exc_value))
    added: list[RaisingFilter] = []

    def add(error: type[BaseException]) -> list[Any]:
        added.append(RaisingFilter(error))
        logging.getLogger("fastrpc.server").addFilter(added[-1])
        return unraisable

    yield add
    for one in added:
        logging.getLogger("fastrpc.server").removeFilter(one)


@pytest.mark.parametrize("way", ASKS)
async def test_a_call_whose_error_cannot_be_logged_is_answered_over_every_protocol(
    way: str, odd: Odd, target: Served, with_filter: Callable[[type[BaseException]], list[Any]]
) -> None:
    odd.ending = raising(KeyError("a mistake"))
    unraisable = with_filter(SystemExit if len(way) & 1 else ValueError)
    for name in methods_of(way):
        for odd.suspends in (False, True):
            assert await status_of(target, way, name) == UNTOLD.get(form_of(way), Status.INTERNAL), name
    assert unraisable


@pytest.mark.parametrize("error", ERRORS)
async def test_the_last_resort_takes_any_error(
    error: type[BaseException],
    odd: Odd,
    target: Served,
    with_filter: Callable[[type[BaseException]], list[Any]],
) -> None:
    odd.ending = raising(KeyError("a mistake"))
    with_filter(error)
    async with Client(target) as client:
        with pytest.raises(CallError, match=r"odd\.unary failed, and so did its") as failed:
            await client.call("odd.unary")
        assert (failed.value.status, failed.value.processed) == (Status.INTERNAL, "yes")
        # Neither the connection nor the other calls are affected.
        odd.ending = plain
        assert await client.call(Odd.unary) == Told()


@fastrpc.service("raw")
class Raw:
    @fastrpc.method(tool=True)
    async def made(self) -> Any:
        return msgspec.Raw(b'{"name":"\xff"}')


async def test_a_result_that_a_protocol_cannot_write_is_a_failure_of_its_call() -> None:
    async with served(Raw(), scheme="tcp", config=CONFIG) as target:
        async with await HttpClient.to(Address.parse(target)) as client:
            parameters = {"name": "raw_made", "arguments": {}, "_meta": MCP_META}
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": parameters}
            fields = {
                "MCP_Protocol_Version": "2026-07-28",
                "Mcp_Method": "tools/call",
                "Mcp_Name": "raw_made",
            }
            async with asyncio.timeout(20):
                answer = await client.post("/mcp", body, **fields)
    result = answer.value["result"]
    assert result["isError"]
    assert result["content"][0]["text"] == "raw.made failed, and so did its answer"


# Mounted applications

Event = dict[str, Any]
Send = Callable[[Event], Awaitable[None]]


async def start_well(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


async def start_with_odd_fields(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [("odd", LONE)]})


async def start_with_an_odd_status(send: Send) -> None:
    await send({"type": "http.response.start", "status": LONE, "headers": []})


async def send_an_odd_body(send: Send) -> None:
    await start_well(send)
    await send({"type": "http.response.body", "body": LONE})


async def send_an_odd_event(send: Send) -> None:
    await send({"type": LONE})


def raise_behind(end: Ending, step: Callable[[Send], Awaitable[None]]) -> Callable[[Send], Awaitable[None]]:
    async def act(send: Send) -> None:
        await step(send)
        end()

    return act


async def nothing(send: Send) -> None:
    """Send nothing."""


MISTAKES = {
    "odd fields": start_with_odd_fields,
    "an odd status": start_with_an_odd_status,
    "an odd body": send_an_odd_body,
    "an odd event": send_an_odd_event,
    "an odd text": raise_behind(refused(LONE), nothing),
    **{
        f"{error.__name__} {where}": raise_behind(raising(error(LONE)), step)
        for error in ERRORS
        for where, step in (("at once", nothing), ("behind the head", start_well))
    },
}


@pytest.mark.parametrize("suspends", [False, True])
async def test_a_mounted_application_that_fails_in_any_way_is_answered_for(
    suspends: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    steps = iter(MISTAKES.values())

    async def application(scope: Event, receive: Any, send: Send) -> None:
        if scope["type"] == "http":
            if suspends:
                await asyncio.sleep(0)
            await next(steps)(send)

    config = ServerConfig(protocols=("http",), http=HTTP(mounts={"/app": application}))
    async with served(scheme="tcp", config=config) as target:
        async with await HttpClient.to(Address.parse(target)) as client:
            for name in MISTAKES:
                async with asyncio.timeout(20):
                    answer = await client.get("/app/")
                assert answer.status in (404, 499, 500), (name, answer)
