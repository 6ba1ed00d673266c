"""Cases of grpcio's own tests, which run with our library and with grpcio itself, and have to end in the same way.

Left out are cases of its credential objects, which are refused, of handlers that do not list their methods, of texts of
errors, of trailing metadata as a mapping, which is accepted here, and of all parts that the page "Moving from grpcio"
lists as missing. Interceptors, compression, TLS, connectivity and options have separate tests.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

import fastrpc.grpc.aio

__all__ = [
    "MESSAGES",
    "REQUEST",
    "RESPONSE",
    "Cases",
    "Outcome",
    "all_of",
    "block",
    "block_stream",
    "check",
    "ended",
    "endless",
    "facts",
    "refuse",
    "served",
    "waiting",
]

REQUEST, RESPONSE = b"\x00\x00\x00", b"\x01\x01\x01"
MESSAGES = 5

LIBRARIES = {"ours": fastrpc.grpc.aio, "grpcio": grpc.aio}

#: The outcome, in plain values.
Outcome = Any
Case = Callable[[Any], Awaitable[Outcome]]


class Cases(dict[str, Case]):
    """Cases by their names in grpcio."""

    def __call__(self, function: Case) -> Case:
        """Add one, as a decorator."""
        self[f"test_{function.__name__}"] = function
        return function


async def check(case: Case) -> None:
    """Require that a case ends with ours as with grpcio."""
    async with asyncio.timeout(30):
        outcomes = {stack: await case(library) for stack, library in LIBRARIES.items()}
    assert outcomes["ours"] == outcomes["grpcio"]


# The servicer


async def unary(request: bytes, context: Any) -> bytes:
    return RESPONSE


async def block(request: Any, context: Any) -> bytes:
    await asyncio.Event().wait()
    return RESPONSE


def waiting(begun: asyncio.Event, end: asyncio.Event) -> Any:
    async def wait(request: bytes, context: Any) -> bytes:
        begun.set()
        await end.wait()
        return RESPONSE

    return wait


async def refuse(request: bytes, context: Any) -> bytes:
    await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no more", (("key", "value"),))
    return RESPONSE


async def some(request: bytes, context: Any) -> AsyncIterator[bytes]:
    for _ in range(MESSAGES):
        yield RESPONSE


async def endless(request: bytes, context: Any) -> AsyncIterator[bytes]:
    yield RESPONSE
    await asyncio.Event().wait()


async def block_stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
    await asyncio.Event().wait()
    yield RESPONSE


async def total(requests: Any, context: Any) -> bytes:
    return b"%d" % sum([1 async for _ in requests])


async def echo(requests: Any, context: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


KINDS = {"unary": "unary_unary", "stream": "unary_stream", "total": "stream_unary", "talk": "stream_stream"}
USUAL = {"unary": unary, "stream": some, "total": total, "talk": echo}


@asynccontextmanager
async def served(library: Any, options: Any = None, **functions: Any) -> AsyncIterator[Any]:
    """Serve functions by their kinds; yield a channel whose methods have the same names."""
    server = library.server(**(options or {}))
    add(server, functions)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with library.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Methods(channel, server)
    finally:
        await server.stop(None)


def add(server: Any, functions: dict[str, Any]) -> None:
    """Add the usual functions, some of them replaced."""
    handlers = {
        name: getattr(grpc, f"{KINDS[name]}_rpc_method_handler")(function)
        for name, function in (USUAL | functions).items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))


class Methods:
    """The methods of the service, and the channel and server that they use."""

    def __init__(self, channel: Any, server: Any) -> None:
        self.channel = channel
        self.server = server

    def __getattr__(self, name: str) -> Any:
        return getattr(self.channel, KINDS[name])(f"/test/{name}")


async def ended(work: Awaitable[Any]) -> Outcome:
    """Return the result of an awaitable, or the text of its error."""
    try:
        return await work
    except grpc.aio.AioRpcError as error:
        return error.code().name, error.details()
    except (asyncio.CancelledError, Exception) as error:
        return type(error).__name__


async def facts(call: Any) -> Outcome:
    """Return the end of a call, as the call itself knows it."""
    return (await call.code()).name, await call.details(), call.done(), call.cancelled(), call.cancel()


async def all_of(messages: Any) -> list[bytes]:
    return [message async for message in messages]
