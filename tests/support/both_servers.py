"""Servicers on the servers of both libraries, called by grpcio's own channel: each call has to end in the same way.

Handlers take and return bytes unless a case gives functions that encode and decode them.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import grpc.aio

import fastrpc.grpc
from fastrpc.grpc import aio

__all__ = ["KINDS", "STACKS", "STYLES", "Asked", "ask", "ask_both", "served"]

KINDS = {"unary": "unary_unary", "stream": "unary_stream", "total": "stream_unary", "talk": "stream_stream"}
#: The servers of each library, for handlers on the loop and in threads.
STACKS = {"ours": {"loop": aio, "thread": fastrpc.grpc}, "grpcio": {"loop": grpc.aio, "thread": grpc}}
STYLES = ("loop", "thread")
#: Any size, in both directions.
UNBOUNDED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]

#: The result of a call: the messages, the status, its text, initial and trailing metadata.
Asked = tuple[list[bytes], str, str, list[Any], list[Any]]


@contextmanager
def served(stack: str, style: str, functions: dict[str, Any], **options: Any) -> Iterator[str]:
    """Serve functions by their kinds at an address, 127.0.0.1 unless given; yield the target on loopback."""
    address = options.pop("address", "127.0.0.1:0")
    coders = {name: options.pop(name, None) for name in ("request_deserializer", "response_serializer")}
    library = STACKS[stack][style]
    handlers = {
        name: getattr(grpc, f"{KINDS[name]}_rpc_method_handler")(function, **coders)
        for name, function in functions.items()
    }
    generic = grpc.method_handlers_generic_handler("test", handlers)
    if style == "thread":
        server = library.server(ThreadPoolExecutor(4), **options)
        server.add_generic_rpc_handlers((generic,))
        port = server.add_insecure_port(address)
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait(20)
        return
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> tuple[Any, int]:
        server = library.server(**options)
        server.add_generic_rpc_handlers((generic,))
        port = server.add_insecure_port(address)
        await server.start()
        return server, port

    server, port = asyncio.run_coroutine_threadsafe(start(), loop).result(20)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(None), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


def ask(target: str, name: str, request: bytes = b"\x00") -> Asked:
    """Call a function once by grpcio's channel."""
    with grpc.insecure_channel(target, options=UNBOUNDED) as channel:
        method = getattr(channel, KINDS[name])(f"/test/{name}")
        given = iter([request]) if name in {"total", "talk"} else request
        found: list[bytes] = []
        try:
            if name in {"stream", "talk"}:
                call: Any = method(given, timeout=20)
                found.extend(call)
            else:
                answer, call = method.with_call(given, timeout=20)
                found.append(answer)
        except grpc.RpcError as error:
            call = error
        heads = call.initial_metadata(), call.trailing_metadata()
        return found, call.code().name, call.details(), *(sent(pairs) for pairs in heads)


def sent(pairs: Any) -> list[Any]:
    """Return metadata as plain pairs, without the entries of a library itself."""
    own = ("grpc-accept-encoding", "accept-encoding", "frpc-outcome", "grpc-retry-pushback-ms")
    return [tuple(pair) for pair in pairs or () if pair[0] not in own]


def ask_both(
    style: str, name: str, make: Callable[[list[Any]], Any], request: bytes = b"\x00", **options: Any
) -> dict[str, tuple[Asked, list[Any]]]:
    """Serve a function by both libraries and call it; return by library how the call ended, and its notes.

    Args:
        make: returns the function; it gets the list in which the function notes its observations.
    """
    found = {}
    for stack in STACKS:
        notes: list[Any] = []
        with served(stack, style, {name: make(notes)}, **options) as target:
            found[stack] = ask(target, name, request), notes
    return found
