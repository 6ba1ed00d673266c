"""grpc-go's programs of the tests between implementations: their client at our server, ours at their server."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import fastrpc.grpc
from fastrpc import CallError, Client, DeadlineExceededError, Server, ServerConfig, Status, SyncClient
from tests.support.generated import Generated
from tests.support.go_programs import GHZ, INTEROP
from tests.support.interop import ECHO_INITIAL, ECHO_TRAILING, PROTO, Interop, interop
from tests.support.ports import free_ports

pytestmark = pytest.mark.one_loop

CLIENT, SERVER, HOSTILE_CLIENT = INTEROP.names

#: Cases that need no cloud account and no compression, which grpc-go's programs lack.
CASES = (
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
)

#: With an honest server these cases have a meaning; the other cases expect a server that resets.
NEGATIVE_CASES = ("goaway", "ping", "max_streams")

#: The sizes of a large request and answer, and of the messages of streams, as the descriptions have them.
LARGE_REQUEST, LARGE_ANSWER = 271_828, 314_159
REQUEST_SIZES, ANSWER_SIZES = (27_182, 8, 1_828, 45_904), (31_415, 9, 2_653, 58_979)

SPECIAL = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP \U0001f608\t\n"


@pytest.fixture(scope="module")
def service() -> Generated:
    return interop()


@pytest.fixture(scope="module")
def target(interop_programs: Path) -> Iterator[str]:
    """grpc-go's server."""
    (port,) = free_ports(1)
    process = subprocess.Popen([interop_programs / SERVER, f"--port={port}"], stderr=subprocess.DEVNULL)
    try:
        yield f"grpc://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@asynccontextmanager
async def serving(service: Generated) -> AsyncIterator[int]:
    source = fastrpc.grpc.service(descriptor_of(service), Interop(service.pb2))
    async with Server(source, config=ServerConfig(protocols=("native", "grpc"))) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        assert address.port is not None
        yield address.port


async def ended(program: Path, *options: str) -> tuple[int | None, str]:
    """Run a program to its end; return its code and its output."""
    process = await asyncio.create_subprocess_exec(
        program, *options, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(60):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, output.decode()


class TestTheirClient:
    @pytest.mark.parametrize("case", CASES)
    async def test_each_case_passes(self, case: str, interop_programs: Path, service: Generated) -> None:
        async with serving(service) as port:
            options = (f"--server_port={port}", "--server_host=127.0.0.1", f"--test_case={case}")
            code, said = await ended(interop_programs / CLIENT, *options)
        assert code == 0, said

    @pytest.mark.parametrize("case", NEGATIVE_CASES)
    async def test_each_case_against_hostile_servers_passes(
        self, case: str, interop_programs: Path, service: Generated
    ) -> None:
        async with serving(service) as port:
            options = (f"--server_port={port}", "--server_host=127.0.0.1", f"--test_case={case}")
            code, said = await ended(interop_programs / HOSTILE_CLIENT, *options)
        assert code == 0, said


class TestOurClient:
    """The cases of the descriptions at grpc-go's server."""

    async def test_unary_calls(self, target: str, service: Generated) -> None:
        pb2 = service.pb2
        async with stubbing(target, service) as (stub, _):
            assert await stub.EmptyCall(pb2.Empty()) == pb2.Empty()
            assert len((await stub.UnaryCall(large(pb2))).payload.body) == LARGE_ANSWER

    async def test_streams_of_every_kind(self, target: str, service: Generated) -> None:
        pb2 = service.pb2
        inputs = (pb2.StreamingInputCallRequest(payload=body(pb2, size)) for size in REQUEST_SIZES)
        wanted = [pb2.ResponseParameters(size=size) for size in ANSWER_SIZES]
        async with stubbing(target, service) as (stub, _):
            assert (await stub.StreamingInputCall(inputs)).aggregated_payload_size == sum(REQUEST_SIZES)
            order = pb2.StreamingOutputCallRequest(response_parameters=wanted)
            async with stub.StreamingOutputCall(order) as answers:
                assert [len(answer.payload.body) async for answer in answers] == list(ANSWER_SIZES)
            async with stub.FullDuplexCall() as talk:
                for request, answer in zip(REQUEST_SIZES, ANSWER_SIZES, strict=True):
                    await talk.send(order_of(pb2, answer, request))
                    assert len((await talk.receive()).payload.body) == answer
                await talk.end()
                assert [answer async for answer in talk] == []
            async with stub.FullDuplexCall() as talk:
                await talk.end()
                assert [answer async for answer in talk] == []

    async def test_deadlines_and_cancellation(self, target: str, service: Generated) -> None:
        pb2 = service.pb2
        async with stubbing(target, service) as (stub, client):
            slow = fastrpc.grpc.stub(descriptor_of(service), client.with_options(timeout=0.05))
            with pytest.raises(DeadlineExceededError):
                async with slow.FullDuplexCall() as talk:
                    await talk.send(order_of(pb2, 31_415, 27_182, interval_us=1_000_000))
                    await talk.receive()
            async with stub.StreamingInputCall() as stream:
                await stream.send(pb2.StreamingInputCallRequest(payload=body(pb2, 8)))
                stream.cancel()
            async with stub.FullDuplexCall() as talk:
                await talk.send(order_of(pb2, 31_415, 27_182))
                await talk.receive()
                talk.cancel()
            assert await stub.EmptyCall(pb2.Empty()) == pb2.Empty()

    async def test_statuses_and_their_texts(self, target: str, service: Generated) -> None:
        pb2 = service.pb2
        async with stubbing(target, service) as (stub, client):
            for text in ("test status message", SPECIAL):
                status = pb2.EchoStatus(code=2, message=text)
                with pytest.raises(CallError) as failed:
                    await stub.UnaryCall(pb2.SimpleRequest(response_status=status))
                assert (failed.value.status, failed.value.message) == (Status.UNKNOWN, text)
            async with stub.FullDuplexCall() as talk:
                await talk.send(pb2.StreamingOutputCallRequest(response_status=status))
                await talk.end()
                with pytest.raises(CallError) as failed:
                    await talk.receive()
                assert (failed.value.status, failed.value.message) == (Status.UNKNOWN, SPECIAL)
            for name in ("TestService.UnimplementedCall", "UnimplementedService.UnimplementedCall"):
                with pytest.raises(CallError) as failed:
                    await client.call(f"grpc.testing.{name}", b"")
                assert failed.value.status is Status.UNIMPLEMENTED

    async def test_metadata_comes_back(self, target: str, service: Generated) -> None:
        sent: dict[str, str | bytes] = {
            ECHO_INITIAL: "test_initial_metadata_value",
            ECHO_TRAILING: b"\xab\xab\xab",
        }
        pb2 = service.pb2
        async with stubbing(target, service) as (stub, client):
            view = client.with_options(metadata=sent)
            request = large(pb2).SerializeToString()
            reply = await view.request("grpc.testing.TestService.UnaryCall", request)
            assert sent.items() <= reply.metadata.entries.items()
            async with stub.FullDuplexCall(metadata=sent) as talk:
                await talk.send(order_of(pb2, LARGE_ANSWER, LARGE_REQUEST))
                assert (await talk.headers()).entries[ECHO_INITIAL] == sent[ECHO_INITIAL]
                assert len((await talk.receive()).payload.body) == LARGE_ANSWER

    def test_a_client_without_a_loop(self, target: str, service: Generated) -> None:
        pb2 = service.pb2
        with SyncClient(target) as client:
            stub = fastrpc.grpc.stub(descriptor_of(service), client)
            assert len(stub.UnaryCall(large(pb2)).payload.body) == LARGE_ANSWER
            wanted = [pb2.ResponseParameters(size=size) for size in ANSWER_SIZES]
            with stub.StreamingOutputCall(pb2.StreamingOutputCallRequest(response_parameters=wanted)) as got:
                assert [len(answer.payload.body) for answer in got] == list(ANSWER_SIZES)


def descriptor_of(service: Generated) -> Any:
    return service.pb2.DESCRIPTOR.services_by_name["TestService"]


@asynccontextmanager
async def stubbing(target: str, service: Generated) -> AsyncIterator[tuple[Any, Client]]:
    async with Client(target) as client:
        await client.ready(timeout=20)
        yield fastrpc.grpc.stub(descriptor_of(service), client), client


def body(pb2: Any, size: int) -> Any:
    return pb2.Payload(body=bytes(size))


def large(pb2: Any) -> Any:
    return pb2.SimpleRequest(response_size=LARGE_ANSWER, payload=body(pb2, LARGE_REQUEST))


def order_of(pb2: Any, answer: int, request: int, interval_us: int = 0) -> Any:
    wanted = pb2.ResponseParameters(size=answer, interval_us=interval_us)
    return pb2.StreamingOutputCallRequest(response_parameters=[wanted], payload=body(pb2, request))


@pytest.mark.conformance
async def test_ghz_finds_no_failed_call(ghz_folder: Path, service: Generated, tmp_path: Path) -> None:
    proto = tmp_path / "interop.proto"
    proto.write_text(PROTO, encoding="utf-8")
    async with serving(service) as port:
        options = [f"--proto={proto}", "--call=grpc.testing.TestService.EmptyCall", "--total=2000"]
        options += ["--concurrency=20", "--format=json", "--insecure", f"127.0.0.1:{port}"]
        code, said = await ended(ghz_folder / GHZ.names[0], *options)
    report = json.loads(said)
    assert (code, report["statusCodeDistribution"]) == (0, {"OK": 2000}), said
