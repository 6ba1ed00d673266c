"""Blanks at the ends of values, with grpcio, grpc-go and tonic on the other side: no call fails for one."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

import fastrpc
import fastrpc.grpc
from fastrpc import CallError, Server, ServerConfig, Status, current_call
from fastrpc.grpc import aio
from tests.services.test_grpc_go import SERVICE, serving
from tests.support.either_client import CLIENTS, connected, in_own_thread
from tests.support.raw_methods import Raw

pytestmark = pytest.mark.one_loop

TEXT = "no such order: "
TRAILING = (("x-said", " v "), ("x-end", "v "))


@fastrpc.service("test.v1.Fail")
class Fail:
    @fastrpc.method(codec="raw")
    async def seen(self, data: bytes) -> bytes:
        return str(current_call().metadata.entries["user-agent"]).encode()

    @fastrpc.method(codec="raw")
    async def told(self, data: bytes) -> bytes:
        """Return the received metadata in brackets, as metadata is sent without blanks."""
        call = current_call()
        call.reply_metadata = {"x-seen": "[" + str(call.metadata.entries["x-said"]) + "]"}
        return b""

    @fastrpc.method(codec="raw")
    async def fail(self, data: bytes) -> bytes:
        current_call().reply_metadata = {"x-said": " v ", "x-bad": "caf\u00e9"}
        raise CallError(Status.NOT_FOUND, TEXT)


class Handler(grpc.GenericRpcHandler):
    def service(self, handler_call_details: Any) -> Any:
        method = {"Echo": self.echo, "Fail": self.fail}[handler_call_details.method.rpartition("/")[2]]
        return grpc.unary_unary_rpc_method_handler(method)

    def echo(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.send_initial_metadata((("x-head", " h"),))
        context.set_trailing_metadata(TRAILING)
        return request

    def fail(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.set_trailing_metadata(TRAILING)
        context.abort(grpc.StatusCode.NOT_FOUND, TEXT)
        raise AssertionError("abort() has raised")


@pytest.fixture
def port() -> Iterator[int]:
    """A server of grpcio."""
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, handlers=[Handler()])
        found = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield found
        finally:
            server.stop(None).wait()


@pytest.mark.parametrize("kind", CLIENTS)
async def test_our_clients_read_answers_of_grpcio(port: int, kind: str) -> None:
    async with connected(kind, f"grpc://127.0.0.1:{port}") as client:
        for _ in range(3):
            reply = await client.request("test.Echo.Echo", b"a")
            assert reply.value == b"a"
            assert {key: reply.metadata[key] for key in ("x-head", "x-said", "x-end")} == {
                "x-head": " h",
                "x-said": " v ",
                "x-end": "v ",
            }
            with pytest.raises(CallError) as caught:
                await client.call("test.Echo.Fail", b"a")
            assert (caught.value.status, caught.value.message) == (Status.NOT_FOUND, TEXT)


async def test_our_channels_read_answers_of_grpcio_as_its_own_do(port: int) -> None:
    def outcome(channel: Any) -> tuple[Any, ...]:
        with channel:
            answer, call = channel.unary_unary("/test.Echo/Echo").with_call(b"a")
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary("/test.Echo/Fail")(b"a")
        error = caught.value
        sides = (call.initial_metadata(), call.trailing_metadata(), error.trailing_metadata())
        return answer, *map(tuple, sides), error.code(), error.details()

    target = f"127.0.0.1:{port}"
    ours = await in_own_thread(outcome, fastrpc.grpc.insecure_channel(target))
    assert ours == await in_own_thread(outcome, grpc.insecure_channel(target))
    async with aio.insecure_channel(target) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            await channel.unary_unary("/test.Echo/Fail")(b"a")
        assert caught.value.details() == TEXT


async def test_our_servers_take_requests_of_grpcio() -> None:
    async with Server(Raw(), Fail(), config=ServerConfig(protocols=("native", "grpc"))) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        options = [("grpc.secondary_user_agent", "shop ")]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{address.port}", options=options) as channel:
            for _ in range(3):
                seen = await channel.unary_unary("/test.v1.Fail/seen")(b"", metadata=(("x-said", "v "),))
                assert seen.endswith(b" shop ")
                with pytest.raises(grpc.RpcError) as caught:
                    await channel.unary_unary("/test.v1.Fail/fail")(b"")
                assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.NOT_FOUND, TEXT)
                assert tuple(caught.value.trailing_metadata()) == (("x-said", "v"),)


@pytest.mark.parametrize("kind", CLIENTS)
async def test_our_clients_and_grpc_go_understand_each_other(grpc_go_path: str, kind: str) -> None:
    async with serving(grpc_go_path) as target, connected(kind, target) as client:
        view = client.with_options(metadata={"x-grpc-test-echo-initial": " v "})
        # response_status {code: 5, message: TEXT} in field 7 of a SimpleRequest.
        status = b"\x08\x05\x12" + bytes((len(TEXT),)) + TEXT.encode()
        request = b"\x3a" + bytes((len(status),)) + status
        for _ in range(2):
            reply = await view.request(f"{SERVICE}.UnaryCall", b"")
            assert reply.metadata["x-grpc-test-echo-initial"] == "v"
            with pytest.raises(CallError) as caught:
                await view.call(f"{SERVICE}.UnaryCall", request)
            assert (caught.value.status, caught.value.message) == (Status.NOT_FOUND, TEXT)


@pytest.mark.conformance
async def test_our_servers_take_requests_of_tonic(tonic_path: str) -> None:
    async with Server(Fail(), config=ServerConfig(protocols=("native", "grpc"))) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        asking = await asyncio.create_subprocess_exec(
            *(tonic_path, "blanks", f"127.0.0.1:{address.port}"), stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(60):
            output, _ = await asking.communicate()
    assert json.loads(output) == {"seen": "[ v ]", "code": 5, "message": TEXT, "said": "v"}


@pytest.fixture
async def tonic(tonic_path: str) -> AsyncIterator[str]:
    """The address of a server of tonic."""
    process = await asyncio.create_subprocess_exec(tonic_path, "server", stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            line = (await process.stdout.readline()).decode()
        yield line.split()[-1]
    finally:
        process.kill()
        await process.wait()


@pytest.mark.conformance
@pytest.mark.parametrize("kind", CLIENTS)
async def test_our_clients_and_tonic_understand_each_other(tonic: str, kind: str) -> None:
    async with connected(kind, f"grpc://{tonic}") as client:
        view = client.with_options(metadata={"x-said": " v "})
        for _ in range(3):
            reply = await view.request("shop.v1.Sums.Told", b"")
            assert (reply.metadata["x-seen"], reply.metadata["x-said"]) == ("[v]", " v ")
            with pytest.raises(CallError) as caught:
                await view.call("shop.v1.Sums.Blank", b"")
            assert (caught.value.status, caught.value.message) == (Status.NOT_FOUND, TEXT)


@pytest.mark.conformance
async def test_our_channels_read_failures_of_tonic(tonic: str) -> None:
    def failure() -> Any:
        with fastrpc.grpc.insecure_channel(tonic) as channel, pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/shop.v1.Sums/Blank")(b"")
        return caught.value

    error = await in_own_thread(failure)
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, TEXT)
    assert ("x-said", " v ") in tuple(error.trailing_metadata())
