"""The cases of grpcio's own asyncio tests for calls, rewritten, by name: each ends with ours as with grpcio.

They are in src/python/grpcio_tests/tests_aio/unit/call_test.py.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc.aio
import pytest

from tests.support.grpcio_cases import (
    MESSAGES,
    REQUEST,
    Cases,
    Outcome,
    all_of,
    block,
    block_stream,
    check,
    ended,
    endless,
    facts,
    refuse,
    served,
)

pytestmark = pytest.mark.one_loop

case = Cases()


@case
async def call_ok(library: Any) -> Outcome:
    async with served(library) as test:
        call = test.unary(REQUEST)
        before = call.done(), call.cancelled()
        first = await call
        return before, first is await call, await facts(call)


@case
async def call_rpc_error(library: Any) -> Outcome:
    async with served(library, unary=refuse) as test:
        call = test.unary(REQUEST)
        errors = [await ended(call), await ended(call)]
        return errors, await facts(call), tuple(await call.trailing_metadata())


@case
async def call_facts_awaitable(library: Any) -> Outcome:
    async with served(library) as test:
        code = (await test.unary(REQUEST).code()).name
        metadata = await test.unary(REQUEST).initial_metadata(), await test.unary(REQUEST).trailing_metadata()
        return code, await test.unary(REQUEST).details(), [tuple(one) for one in metadata]


@case
async def cancel_unary_unary(library: Any) -> Outcome:
    async with served(library, unary=block) as test:
        call = test.unary(REQUEST)
        cancelled = call.cancelled(), call.cancel(), call.cancel()
        return cancelled, await ended(call), await ended(call), await facts(call)


@case
async def cancel_unary_unary_in_task(library: Any) -> Outcome:
    async with served(library, unary=block) as test:
        call = test.unary(REQUEST)
        return await cancelled_in_task(call, ended_of=lambda: call)


async def cancelled_in_task(call: Any, ended_of: Callable[[], Awaitable[Any]]) -> Outcome:
    begun = asyncio.Event()

    async def wait() -> None:
        begun.set()
        await ended_of()

    task = asyncio.ensure_future(wait())
    await begun.wait()
    task.cancel()
    return (await call.code()).name, await ended(task)


@case
async def cancel_unary_stream(library: Any) -> Outcome:
    async with served(library, stream=endless) as test:
        call = test.stream(REQUEST)
        first = call.cancelled(), await call.read(), [call.cancel() for _ in range(3)]
        return first, await facts(call), await ended(call.read()), call.cancelled()


@case
async def early_cancel_unary_stream(library: Any) -> Outcome:
    async with served(library, stream=endless) as test:
        call = test.stream(REQUEST)
        first = call.cancelled(), call.cancel(), call.cancel()
        return first, await ended(call.read()), await facts(call)


@case
async def too_many_reads_unary_stream(library: Any) -> Outcome:
    async with served(library) as test:
        call = test.stream(REQUEST)
        messages = [await call.read() for _ in range(MESSAGES)]
        ends = await call.read() is grpc.aio.EOF, await facts(call), await call.read() is grpc.aio.EOF
        return messages, ends


@case
async def unary_stream_async_generator(library: Any) -> Outcome:
    async with served(library) as test:
        call = test.stream(REQUEST)
        return call.cancelled(), await all_of(call), await facts(call)


@case
async def cancel_unary_stream_in_task_using_read(library: Any) -> Outcome:
    async with served(library, stream=block_stream) as test:
        call = test.stream(REQUEST)
        return await cancelled_in_task(call, ended_of=call.read)


@case
async def cancel_unary_stream_in_task_using_async_for(library: Any) -> Outcome:
    async with served(library, stream=block_stream) as test:
        call = test.stream(REQUEST)
        return await cancelled_in_task(call, ended_of=lambda: all_of(call))


@case
async def cancel_stream_unary(library: Any) -> Outcome:
    async with served(library) as test:
        call = test.total()
        for _ in range(MESSAGES):
            await call.write(REQUEST)
        cancelled = call.done(), call.cancelled(), call.cancel(), call.cancelled()
        return cancelled, await ended(call.done_writing()), await ended(call)


@case
async def early_cancel_stream_unary(library: Any) -> Outcome:
    async with served(library) as test:
        call = test.total()
        cancelled = call.done(), call.cancelled(), call.cancel(), call.cancelled()
        written = await ended(call.write(REQUEST)), await ended(call.done_writing())
        return cancelled, written, await ended(call)


@case
async def write_after_done_writing(library: Any) -> Outcome:
    async with served(library) as test:
        call = test.total()
        for _ in range(MESSAGES):
            await call.write(REQUEST)
        await call.done_writing()
        return await ended(call.write(REQUEST)), await call, await facts(call)


@case
async def error_in_async_generator_stream_unary(library: Any) -> Outcome:
    async with served(library) as test:
        return await cancelled_while_fed(test.total, ended)


@case
async def error_in_async_generator_stream_stream(library: Any) -> Outcome:
    async with served(library) as test:
        return await cancelled_while_fed(test.talk, lambda call: ended(all_of(call)))


async def cancelled_while_fed(method: Any, take: Callable[[Any], Awaitable[Outcome]]) -> Outcome:
    """Cancel a call whose requests come from an iterator that waits."""
    begun, thrown = asyncio.Event(), asyncio.get_running_loop().create_future()

    async def requests() -> AsyncIterator[bytes]:
        yield REQUEST
        begun.set()
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            thrown.set_result(type(error).__name__)
            raise

    call = method(requests())
    taking = asyncio.ensure_future(take(call))
    await begun.wait()
    call.cancel()
    return await taking, await thrown, (await call.code()).name


@case
async def cancel_stream_stream(library: Any) -> Outcome:
    async with served(library) as test:
        call = test.talk()
        await call.write(REQUEST)
        messages = await call.read()
        cancelled = call.done(), call.cancelled(), call.cancel(), call.cancelled()
        return messages, cancelled, await facts(call)


@case
async def cancel_with_ongoing_read(library: Any) -> Outcome:
    async with served(library) as test:
        call = test.talk()
        reading = asyncio.ensure_future(call.read())
        await call.write(REQUEST)
        first = await reading
        reading = asyncio.ensure_future(call.read())
        await asyncio.sleep(0)
        cancelled = reading.done(), call.cancel(), call.cancelled()
        return first, cancelled, await ended(reading), (await call.code()).name


@case
async def cancel_after_done_writing(library: Any) -> Outcome:
    async with served(library, talk=block_stream) as test:
        call = test.talk()
        await call.done_writing()
        return call.done(), call.cancelled(), call.cancel(), call.cancelled(), (await call.code()).name


@case
async def late_cancel(library: Any) -> Outcome:
    async with served(library) as test:
        call = test.talk()
        await call.done_writing()
        code = (await call.code()).name
        return code, call.done(), call.cancelled(), call.cancel(), call.cancelled(), (await call.code()).name


@case
async def too_many_reads(library: Any) -> Outcome:
    async def requests() -> AsyncIterator[bytes]:
        for _ in range(MESSAGES):
            yield REQUEST

    async with served(library) as test:
        call = test.talk(requests())
        messages = [await call.read() for _ in range(MESSAGES)]
        ends = [await call.read() is grpc.aio.EOF for _ in range(2)]
        return messages, ends, (await call.code()).name


@case
async def read_write_after_done_writing(library: Any) -> Outcome:
    async with served(library) as test:
        call = test.talk()
        for _ in range(2):
            await call.write(REQUEST)
        await call.done_writing()
        written = await ended(call.write(REQUEST))
        return written, [await call.read() for _ in range(2)], (await call.code()).name


@pytest.mark.parametrize("name", case)
async def test_it_ends_as_with_grpcio(name: str) -> None:
    await check(case[name])
