"""The cases of grpcio's own asyncio tests for servers, rewritten, by name: each ends with ours as with grpcio.

They are in server_test.py and abort_test.py of src/python/grpcio_tests/tests_aio/unit.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from tests.support.grpcio_cases import (
    MESSAGES,
    REQUEST,
    RESPONSE,
    Cases,
    Outcome,
    all_of,
    block,
    check,
    ended,
    facts,
    refuse,
    served,
    waiting,
)

pytestmark = pytest.mark.one_loop

case = Cases()

CODES = grpc.StatusCode


# server_test.py


@case
async def unary_stream_reader_writer(library: Any) -> Outcome:
    async def write(request: bytes, context: Any) -> None:
        for _ in range(MESSAGES):
            await context.write(RESPONSE)

    async with served(library, stream=write) as test:
        call = test.stream(REQUEST)
        return [await call.read() for _ in range(MESSAGES)], (await call.code()).name


@case
async def unary_stream_evilly_mixed(library: Any) -> Outcome:
    async def mix(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield RESPONSE
        await context.write(RESPONSE)

    async with served(library, stream=mix) as test:
        call = test.stream(REQUEST)
        return await call.read(), await ended(all_of_later(call)), await all_of(test.stream(REQUEST))


async def all_of_later(call: Any) -> list[bytes]:
    return await all_of(call)


@case
async def cancel_unary_stream_swallowed_by_handler(library: Any) -> Outcome:
    async def swallow(request: bytes, context: Any) -> AsyncIterator[bytes]:
        try:
            yield RESPONSE
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    async with served(library, stream=swallow) as test:
        call = test.stream(REQUEST)
        first = await call.read(), call.cancel(), (await call.code()).name
        return first, await test.unary(REQUEST)


@case
async def stream_unary_async_generator_with_request_iter(library: Any) -> Outcome:
    async with served(library) as test:
        call = test.total(iter([REQUEST] * MESSAGES))
        return await call, await facts(call)


@case
async def stream_unary_evilly_mixed(library: Any) -> Outcome:
    async def mix(requests: Any, context: Any) -> bytes:
        return await context.read() + b"%d" % len(await all_of(requests))

    async with served(library, total=mix) as test:
        return await test.total(iter([REQUEST] * MESSAGES))


@case
async def stream_stream_evilly_mixed(library: Any) -> Outcome:
    async def mix(requests: Any, context: Any) -> AsyncIterator[bytes]:
        first = await context.read()
        rest = await all_of(requests)
        yield first
        for request in rest:
            await context.write(request)

    async with served(library, talk=mix) as test:
        return await all_of(test.talk(iter([REQUEST] * MESSAGES)))


@case
async def shutdown_after_call(library: Any) -> Outcome:
    async with served(library) as test:
        first = await test.unary(REQUEST)
        await test.server.stop(None)
        return first


@case
async def graceful_shutdown_success(library: Any) -> Outcome:
    begun, end = asyncio.Event(), asyncio.Event()
    async with served(library, unary=waiting(begun, end)) as test:
        call = test.unary(REQUEST)
        await begun.wait()
        stopping = asyncio.ensure_future(test.server.stop(20))
        await asyncio.sleep(0)
        end.set()
        await stopping
        return await call, call.done()


@case
async def graceful_shutdown_failed(library: Any) -> Outcome:
    begun = asyncio.Event()
    async with served(library, unary=waiting(begun, asyncio.Event())) as test:
        call = test.unary(REQUEST)
        await begun.wait()
        await test.server.stop(0.05)
        return (await call.code()).name


@case
async def concurrent_graceful_shutdown_immediate(library: Any) -> Outcome:
    begun = asyncio.Event()
    async with served(library, unary=waiting(begun, asyncio.Event())) as test:
        call = test.unary(REQUEST)
        await begun.wait()
        # The shortest grace holds.
        await asyncio.gather(*(test.server.stop(grace) for grace in (20, None, 20)))
        return (await call.code()).name


@case
async def shutdown_before_call(library: Any) -> Outcome:
    async with served(library) as test:
        await test.server.stop(None)
        return (await test.unary(REQUEST).code()).name


@case
async def unimplemented(library: Any) -> Outcome:
    async with served(library) as test:
        return (await test.channel.unary_unary("/test/none")(REQUEST).code()).name


@case
async def shutdown_during_stream_stream(library: Any) -> Outcome:
    async with served(library) as test:
        call = test.talk()
        await call.write(REQUEST)
        await call.read()
        await test.server.stop(None)
        return (await call.code()).name


@case
async def error_in_stream_stream(library: Any) -> Outcome:
    async def fail(requests: Any, context: Any) -> AsyncIterator[bytes]:
        async for _ in requests:
            raise RuntimeError("a mistake")
        yield RESPONSE

    async with served(library, talk=fail) as test:
        call = test.talk()
        await call.write(REQUEST)
        return (await call.code()).name


@case
async def error_without_raise_in_unary_unary(library: Any) -> Outcome:
    async def set_code(request: bytes, context: Any) -> None:
        context.set_code(CODES.INTERNAL)

    async with served(library, unary=set_code) as test:
        return await ended(test.unary(REQUEST))


@case
async def error_without_raise_in_stream_stream(library: Any) -> Outcome:
    async def set_code(requests: Any, context: Any) -> None:
        await all_of(requests)
        context.set_code(CODES.INTERNAL)

    async with served(library, talk=set_code) as test:
        call = test.talk()
        await call.write(REQUEST)
        await call.done_writing()
        return (await call.code()).name


@case
async def error_in_stream_unary(library: Any) -> Outcome:
    async def fail(requests: Any, context: Any) -> None:
        raise ValueError("a mistake")

    async with served(library, total=fail) as test:
        return (await test.total(iter([REQUEST])).code()).name


@case
async def port_binding_exception(library: Any) -> Outcome:
    server = library.server(options=(("grpc.so_reuseport", 0),))
    port = server.add_insecure_port("localhost:0")
    try:
        with pytest.raises(RuntimeError):
            server.add_insecure_port(f"localhost:{port}")
    finally:
        await server.stop(None)
    return True


@case
async def maximum_concurrent_rpcs_not_underflow(library: Any) -> Outcome:
    found = []
    for _ in range(2):
        begun, end = asyncio.Event(), asyncio.Event()
        options = {"maximum_concurrent_rpcs": 1}
        async with served(library, options, unary=waiting(begun, end)) as test:
            first = test.unary(REQUEST)
            await begun.wait()
            found += [(await test.unary(REQUEST).code()).name for _ in range(2)]
            end.set()
            found.append(await first)
            found.append(await test.unary(REQUEST))
    return found


@case
async def registered_handler_takes_precedence(library: Any) -> Outcome:
    async def registered(request: bytes, context: Any) -> bytes:
        return b"registered"

    server = library.server()
    handlers = {"unary": grpc.unary_unary_rpc_method_handler(registered)}
    other = {"unary": grpc.unary_unary_rpc_method_handler(block)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", other),))
    server.add_registered_method_handlers("test", handlers)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with library.insecure_channel(f"127.0.0.1:{port}") as channel:
        answer = await channel.unary_unary("/test/unary", _registered_method=True)(REQUEST)
    await server.stop(None)
    return answer


@case
async def add_registered_handler_after_server_start(library: Any) -> Outcome:
    async with served(library) as test:
        handlers = {"later": grpc.unary_unary_rpc_method_handler(block)}
        test.server.add_registered_method_handlers("test", handlers)
        call = test.channel.unary_unary("/test/later", _registered_method=True)(REQUEST)
        return (await call.code()).name


# abort_test.py


@case
async def unary_unary_abort(library: Any) -> Outcome:
    async with served(library, unary=refuse) as test:
        call = test.unary(REQUEST)
        return await facts(call), await ended(call)


@case
async def suppress_abort(library: Any) -> Outcome:
    async def suppress(request: bytes, context: Any) -> bytes:
        with contextlib.suppress(grpc.aio.AbortError):
            await refuse(request, context)
        return RESPONSE

    async with served(library, unary=suppress) as test:
        return await ended(test.unary(REQUEST))


@case
async def replace_abort(library: Any) -> Outcome:
    async def replace(request: bytes, context: Any) -> None:
        try:
            await refuse(request, context)
        except grpc.aio.AbortError:
            await context.abort(CODES.INVALID_ARGUMENT, "another")

    async with served(library, unary=replace) as test:
        return await ended(test.unary(REQUEST))


@case
async def abort_after_reply(library: Any) -> Outcome:
    async def abort(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield RESPONSE
        await refuse(request, context)

    async with served(library, stream=abort) as test:
        call = test.stream(REQUEST)
        return await call.read(), await ended(call.read()), await facts(call)


@pytest.mark.parametrize("name", case)
async def test_it_ends_as_with_grpcio(name: str) -> None:
    await check(case[name])
