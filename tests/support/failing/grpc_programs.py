"""Code of a program that uses `fastrpc.grpc` as grpcio: servicers, interceptors, coders, callbacks."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc
import pytest

import fastrpc.grpc
from tests.support.failing.scenes import Fail, caught, scene

GOOD, BAD = "/test.Shop/Good", "/test.Shop/Bad"


def handlers_of(functions: dict[str, Any]) -> list[Any]:
    """Return the handlers of one method that echoes, and of methods of each kind that raise."""
    methods = {
        name: getattr(grpc, f"{kind}_rpc_method_handler")(function)
        for name, (kind, function) in functions.items()
    }
    return [grpc.method_handlers_generic_handler("test.Shop", methods)]


def _threaded(fail: Fail) -> dict[str, Any]:
    def good(request: bytes, context: Any) -> bytes:
        return request

    def unary(request: bytes, context: Any) -> bytes:
        fail()

    def stream(request: bytes, context: Any) -> Iterator[bytes]:
        yield request
        fail()

    def taking(requests: Iterator[bytes], context: Any) -> bytes:
        for _ in requests:
            fail()
        return b""

    def with_callback(request: bytes, context: Any) -> bytes:
        context.add_callback(fail)
        return request

    return {
        "Good": ("unary_unary", good),
        "Bad": ("unary_unary", unary),
        "Stream": ("unary_stream", stream),
        "Take": ("stream_unary", taking),
        "Called": ("unary_unary", with_callback),
    }


def _on_loop(fail: Fail) -> dict[str, Any]:
    async def good(request: bytes, context: Any) -> bytes:
        return request

    async def unary(request: bytes, context: Any) -> bytes:
        await asyncio.sleep(0)
        fail()

    async def stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield request
        fail()

    async def taking(requests: AsyncIterator[bytes], context: Any) -> bytes:
        async for _ in requests:
            fail()
        return b""

    async def with_callback(request: bytes, context: Any) -> bytes:
        context.add_done_callback(lambda _: fail())
        return request

    return {
        "Good": ("unary_unary", good),
        "Bad": ("unary_unary", unary),
        "Stream": ("unary_stream", stream),
        "Take": ("stream_unary", taking),
        "Called": ("unary_unary", with_callback),
    }


@contextmanager
def served(functions: dict[str, Any], **options: Any) -> Iterator[str]:
    with ThreadPoolExecutor(4) as pool:
        server = fastrpc.grpc.server(pool, handlers=handlers_of(functions), **options)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(5).wait()


@asynccontextmanager
async def served_on_loop(functions: dict[str, Any], **options: Any) -> AsyncIterator[str]:
    server = fastrpc.grpc.aio.server(handlers=handlers_of(functions), **options)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(5)


def check_program(target: str) -> None:
    """Check each method of a server, from a thread."""
    with fastrpc.grpc.insecure_channel(target) as channel:
        good = channel.unary_unary("/test.Shop/Good")
        for call in (
            lambda: channel.unary_unary("/test.Shop/Bad")(b"1", timeout=10),
            lambda: list(channel.unary_stream("/test.Shop/Stream")(b"1", timeout=10)),
            lambda: channel.stream_unary("/test.Shop/Take")(iter([b"1"]), timeout=10),
        ):
            # As grpcio reports it: by an exception's text in threads, by its type on the loop.
            with pytest.raises(
                grpc.RpcError, match="Exception (calling|iterating)|Unexpected <class"
            ) as caught_error:
                call()
            assert caught_error.value.code() is grpc.StatusCode.UNKNOWN
            assert good(b"2", timeout=10) == b"2"
        assert channel.unary_unary("/test.Shop/Called")(b"3", timeout=10) == b"3"
        # More than the threads of the server.
        for _ in range(6):
            assert good(b"2", timeout=10) == b"2"


@scene
async def servicers_in_threads(fail: Fail) -> None:
    def play() -> None:
        with served(_threaded(fail)) as target:
            check_program(target)

    await asyncio.to_thread(play)


@scene
async def servicers_on_the_loop(fail: Fail) -> None:
    async with served_on_loop(_on_loop(fail)) as target:
        await asyncio.to_thread(check_program, target)


@scene
async def servicers_in_threads_of_a_server_on_the_loop(fail: Fail) -> None:
    async with served_on_loop(_threaded(fail)) as target:
        await asyncio.to_thread(check_program, target)


@scene
async def interceptors_of_grpc_servers(fail: Fail) -> None:
    class Watch(grpc.aio.ServerInterceptor):  # type: ignore[misc]
        async def intercept_service(self, continuation: Any, details: Any) -> Any:
            if details.method == BAD:
                fail()
            return await continuation(details)

    async with served_on_loop(_on_loop(fail), interceptors=[Watch()]) as target:
        await asyncio.to_thread(check_program, target)


@scene
async def code_of_a_channel_of_threads(fail: Fail) -> None:
    def play(target: str) -> None:
        called = threading.Event()

        def back(_: Any) -> None:
            called.set()
            fail()

        def requests() -> Iterator[bytes]:
            yield b"1"
            fail()

        def coder(_: Any) -> Any:
            fail()

        with fastrpc.grpc.insecure_channel(target) as channel:
            good = channel.unary_unary(GOOD)
            channel.subscribe(back, try_to_connect=True)
            assert called.wait(10)
            called.clear()
            future = good.future(b"1", timeout=10)
            with contextlib.suppress(BaseException):
                # The thread of the program calls it where the answer came first, as with grpcio.
                future.add_done_callback(back)
            assert future.result() == b"1"
            failing: tuple[Any, ...] = (
                lambda: channel.stream_unary("/test.Shop/Take")(requests(), timeout=10),
                lambda: channel.unary_unary(GOOD, request_serializer=coder)(b"1", timeout=10),
                lambda: channel.unary_unary(GOOD, response_deserializer=coder)(b"1", timeout=10),
            )
            for one in failing:
                with pytest.raises(BaseException):  # noqa: B017 (in the thread of the program)
                    one()
                assert good(b"2", timeout=10) == b"2"
            assert threading.current_thread().is_alive()

    with served(_threaded(fail)) as target:
        await asyncio.to_thread(play, target)


@scene
async def code_of_a_channel_on_the_loop(fail: Fail) -> None:
    class Watch(grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]
        async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
            fail()

    def coder(_: Any) -> Any:
        fail()

    async def requests() -> AsyncIterator[bytes]:
        yield b"1"
        fail()

    async with served_on_loop(_on_loop(fail)) as target:
        watch: Any = Watch
        async with fastrpc.grpc.aio.insecure_channel(target, interceptors=[watch()]) as channel:
            assert await caught(channel.unary_unary(GOOD)(b"1", timeout=10)) is not None
        async with fastrpc.grpc.aio.insecure_channel(target) as channel:
            good = channel.unary_unary(GOOD)
            call = good(b"1", timeout=10)
            call.add_done_callback(lambda _: fail())
            assert await call == b"1"
            stream = channel.unary_stream("/test.Shop/Stream")(b"1", timeout=10)
            stream.add_done_callback(lambda _: fail())
            assert await stream.read() == b"1"
            assert await caught(channel.stream_unary("/test.Shop/Take")(requests(), timeout=10)) is not None
            for coders in ({"request_serializer": coder}, {"response_deserializer": coder}):

                async def coded(coders: Any = coders) -> Any:
                    return await channel.unary_unary(GOOD, **coders)(b"1", timeout=10)

                assert await caught(coded()) is not None
            assert await good(b"2", timeout=10) == b"2"
