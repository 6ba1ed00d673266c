"""The cases of grpcio's own asyncio tests for channels and metadata, rewritten, by name: each ends as with grpcio.

They are in metadata_test.py, done_callback_test.py, close_channel_test.py and wait_for_ready_test.py of
src/python/grpcio_tests/tests_aio/unit.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from tests.support.grpcio_cases import (
    REQUEST,
    RESPONSE,
    Cases,
    Outcome,
    all_of,
    block,
    check,
    ended,
    endless,
    served,
    waiting,
)

pytestmark = pytest.mark.one_loop

case = Cases()

SENT = (("client-to-server", "question"), ("client-to-server-bin", b"\x07\x07\x07"))
INITIAL = (("server-to-client", "answer"), ("server-to-client-bin", b"\x06\x06\x06"))
TRAILING = (("a-trailing-metadata", "trace"), ("a-trailing-metadata-bin", b"\x05\x05\x05"))


# metadata_test.py


def seen(wanted: Any, metadata: Any) -> bool:
    return set(wanted) <= {tuple(pair) for pair in metadata}


@case
async def metadata_of_each_side(library: Any) -> Outcome:
    async def tell(request: bytes, context: Any) -> bytes:
        assert seen(SENT, context.invocation_metadata())
        await context.send_initial_metadata(INITIAL)
        context.set_trailing_metadata(TRAILING)
        return RESPONSE

    async with served(library, unary=tell) as test:
        found = []
        for sent in (grpc.aio.Metadata(*SENT), SENT, list(SENT)):
            call = test.unary(REQUEST, metadata=sent)
            blocks = await call.initial_metadata(), await call.trailing_metadata()
            found.append(
                (await call, [tuple(one) for one in blocks], blocks[0] == grpc.aio.Metadata(*INITIAL))
            )
        return found


@case
async def invalid_metadata(library: Any) -> Outcome:
    async with served(library) as test:
        pairs: list[Any] = [(42, 42), ({}, {}), (None, {}), ("normal", object())]
        for pair in pairs:
            with pytest.raises(TypeError):
                await test.unary(REQUEST, metadata=(pair,))
            with pytest.raises(TypeError):
                await test.stream(REQUEST, metadata=(pair,)).read()
        return len(pairs)


@case
async def stream_unary(library: Any) -> Outcome:
    async def tell(requests: Any, context: Any) -> bytes:
        await context.send_initial_metadata(INITIAL)
        count = len(await all_of(requests))
        context.set_trailing_metadata(TRAILING)
        return b"%d" % count

    async with served(library, total=tell) as test:
        call = test.total(metadata=SENT)
        await call.write(REQUEST)
        await call.done_writing()
        first = seen(INITIAL, await call.initial_metadata())
        return first, await call, tuple(await call.trailing_metadata()), (await call.code()).name


@case
async def stream_stream(library: Any) -> Outcome:
    async def tell(requests: Any, context: Any) -> AsyncIterator[bytes]:
        await context.send_initial_metadata(INITIAL)
        await all_of(requests)
        yield RESPONSE
        context.set_trailing_metadata(TRAILING)

    async with served(library, talk=tell) as test:
        call = test.talk(metadata=SENT)
        # Before it has written anything.
        first = seen(INITIAL, await call.initial_metadata())
        await call.write(REQUEST)
        await call.done_writing()
        return first, await all_of(call), tuple(await call.trailing_metadata()), (await call.code()).name


@case
async def inspect_context(library: Any) -> Outcome:
    told: list[Any] = []

    async def tell(request: bytes, context: Any) -> bytes:
        context.set_code(grpc.StatusCode.NOT_FOUND)
        context.set_details("details")
        context.set_trailing_metadata(TRAILING)
        told.append((context.code(), context.details(), tuple(context.trailing_metadata())))
        return RESPONSE

    async with served(library, unary=tell) as test:
        return await ended(test.unary(REQUEST)), told


# done_callback_test.py


@case
async def callbacks_of_each_kind(library: Any) -> Outcome:
    async with served(library) as test:
        calls = [
            test.unary(REQUEST),
            test.stream(REQUEST),
            test.total(iter([REQUEST])),
            test.talk(iter([REQUEST])),
        ]
        told: list[Any] = []
        for call in calls:
            call.add_done_callback(told.append)
            await (call if hasattr(call, "__await__") else all_of(call))
        await until(lambda: len(told) == len(calls))
        for call in calls:
            call.add_done_callback(told.append)
        await until(lambda: len(told) == 2 * len(calls))
        return [told.count(call) for call in calls]


async def until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0)


@case
async def error_in_handler_and_callback(library: Any) -> Outcome:
    told: list[str] = []

    def fail(context: Any) -> None:
        raise RuntimeError("a mistake")

    async def tell(request: bytes, context: Any) -> bytes:
        context.add_done_callback(lambda _: told.append("told"))
        context.add_done_callback(fail)
        if request != REQUEST:
            raise RuntimeError("a mistake")
        return RESPONSE

    async with served(library, unary=tell) as test:
        answers = await test.unary(REQUEST), (await test.unary(b"").code()).name, await test.unary(REQUEST)
        await until(lambda: len(told) == len(answers))
        return answers, told


# close_channel_test.py


@case
async def graceful_close(library: Any) -> Outcome:
    begun, end = asyncio.Event(), asyncio.Event()
    async with served(library, unary=waiting(begun, end)) as test:
        call = test.unary(REQUEST)
        await begun.wait()
        closing = asyncio.ensure_future(test.channel.close(20))
        await asyncio.sleep(0)
        end.set()
        await closing
        return (await call.code()).name


@case
async def none_graceful_close(library: Any) -> Outcome:
    async with served(library, unary=block, stream=endless) as test:
        calls = [test.unary(REQUEST), test.stream(REQUEST), test.total(), test.talk()]
        await test.channel.close(None)
        return [(call.cancelled(), (await call.code()).name) for call in calls]


# wait_for_ready_test.py


@case
async def call_wait_for_ready_default_and_enabled(library: Any) -> Outcome:
    with socket.socket() as silent:
        # Bound and not listening: it refuses, and no other program gets the port.
        silent.bind(("127.0.0.1", 0))
        return await call_both_ways(library, silent.getsockname()[1])


async def call_both_ways(library: Any, port: int) -> Outcome:
    async with library.insecure_channel(f"127.0.0.1:{port}") as channel:
        method = channel.unary_unary("/test/unary")
        found = [(await method(REQUEST).code()).name]
        return [*found, (await method(REQUEST, timeout=0.1, wait_for_ready=True).code()).name]


@pytest.mark.parametrize("name", case)
async def test_it_ends_as_with_grpcio(name: str) -> None:
    await check(case[name])
