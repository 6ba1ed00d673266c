"""Clients and servers of gRPC in other languages: grpclib, grpc-js, connect-go and tonic, in both roles."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import Int64Value

from fastrpc import HTTP, Client, Server, ServerConfig
from tests.services.conftest import GRPC_PEERS
from tests.support.sums import EXPECTED, Sums, called

pytestmark = [pytest.mark.one_loop, pytest.mark.conformance]

Command = Callable[..., list[str]]

CONFIG = ServerConfig(protocols=("native", "grpc"), http=HTTP(grpc_web=True, connect=True))


@pytest.fixture
def command(request: pytest.FixtureRequest) -> Command:
    """The command of a peer, for its role."""

    def of(peer: str, *words: str) -> list[str]:
        if peer == "grpc_js":
            modules = request.getfixturevalue("node_modules")
            script = [str(GRPC_PEERS / "js" / "sums.js"), str(GRPC_PEERS / "sums.proto")]
            return ["env", f"NODE_PATH={modules}", "node", *script, *words]
        return [request.getfixturevalue(f"{peer}_path"), *words]

    return of


@asynccontextmanager
async def serving() -> AsyncIterator[str]:
    async with Server(Sums(), config=CONFIG) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        yield f"127.0.0.1:{address.port}"


@pytest.mark.parametrize(
    ("peer", "words"),
    [
        ("grpc_js", ()),
        ("tonic", ()),
        ("connect_go", ("grpc",)),
        ("connect_go", ("gzip",)),
        ("connect_go", ("grpc_web",)),
        ("connect_go", ("connect",)),
    ],
)
async def test_clients_of_other_libraries_call_our_server(
    command: Command, peer: str, words: tuple[str, ...]
) -> None:
    async with serving() as address:
        process = await asyncio.create_subprocess_exec(
            *command(peer, "client", address, *words),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(60):
            output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        assert json.loads(output) == EXPECTED


@asynccontextmanager
async def served_by(command: list[str]) -> AsyncIterator[str]:
    """Run a server of another implementation, and yield its address."""
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            line = (await process.stdout.readline()).decode()
        yield line.split()[-1]
    finally:
        process.kill()
        await process.wait()


@pytest.mark.parametrize("peer", ["grpc_js", "tonic", "connect_go"])
async def test_our_client_calls_servers_of_other_libraries(command: Command, peer: str) -> None:
    async with served_by(command(peer, "server")) as address, Client(f"grpc://{address}") as client:
        assert await called(client) == EXPECTED
        # Many at once, on few connections.
        numbers = range(200)
        found = await asyncio.gather(*(client.call(Sums.twice, number) for number in numbers))
        assert found == [2 * number for number in numbers]


# grpclib, which runs here

NUMBERS = {
    "UNARY_UNARY": ("Twice", "Fail", "Wait", "Seen"),
    "UNARY_STREAM": ("UpTo",),
    "STREAM_UNARY": ("Total",),
    "STREAM_STREAM": ("Running",),
}


async def test_grpclib_calls_a_server_of_ours() -> None:
    client = pytest.importorskip(
        "grpclib.client", reason="grpclib is not installed; `make services` installs it"
    )
    exceptions = pytest.importorskip("grpclib.exceptions")

    def method(kind: str, name: str) -> Any:
        return getattr(client, f"{kind}Method")(channel, f"/shop.v1.Sums/{name}", Int64Value, Int64Value)

    def of(*values: int) -> list[Int64Value]:
        return [Int64Value(value=value) for value in values]

    async with serving() as address:
        host, _, port = address.partition(":")
        async with client.Channel(host, int(port)) as channel:
            found: dict[str, Any] = {
                "twice": (await method("UnaryUnary", "Twice")(of(1 << 40)[0])).value,
                "up_to": [one.value for one in await method("UnaryStream", "UpTo")(of(3)[0])],
                "total": (await method("StreamUnary", "Total")(of(1, 2, 3))).value,
                "running": [one.value for one in await method("StreamStream", "Running")(of(1, 2, 3))],
            }
            with pytest.raises(exceptions.GRPCError) as failed:
                await method("UnaryUnary", "Fail")(of(1)[0])
            found["fail"] = [failed.value.status.value, failed.value.message]
            with pytest.raises((asyncio.TimeoutError, exceptions.GRPCError)):
                await method("UnaryUnary", "Wait")(of(1)[0], timeout=0.3)
            async with method("UnaryUnary", "Seen").open(metadata={"key": "value"}) as stream:
                await stream.send_message(of(1)[0], end=True)
                await stream.recv_message()
                await stream.recv_trailing_metadata()
            seen = {**stream.initial_metadata, **stream.trailing_metadata}["seen"]
            assert found | {"seen": seen, "wait": EXPECTED["wait"]} == EXPECTED


class NumbersOfGrpclib:
    """The methods of `Sums` as grpclib serves them."""

    async def Twice(self, stream: Any) -> None:
        await stream.send_message(Int64Value(value=2 * (await stream.recv_message()).value))

    async def UpTo(self, stream: Any) -> None:
        for value in range(1, (await stream.recv_message()).value + 1):
            await stream.send_message(Int64Value(value=value))

    async def Total(self, stream: Any) -> None:
        await stream.send_message(Int64Value(value=sum([one.value async for one in stream])))

    async def Running(self, stream: Any) -> None:
        total = 0
        async for one in stream:
            total += one.value
            await stream.send_message(Int64Value(value=total))

    async def Fail(self, stream: Any) -> None:
        from grpclib import GRPCError, Status

        raise GRPCError(Status.NOT_FOUND, "grün")

    async def Wait(self, stream: Any) -> None:
        await asyncio.Event().wait()

    async def Seen(self, stream: Any) -> None:
        await stream.recv_message()
        await stream.send_initial_metadata(metadata={"seen": stream.metadata["key"]})
        await stream.send_message(Int64Value(value=1))

    def __mapping__(self) -> dict[str, Any]:
        from grpclib.const import Cardinality, Handler

        return {
            f"/shop.v1.Sums/{name}": Handler(getattr(self, name), Cardinality[kind], Int64Value, Int64Value)
            for kind, names in NUMBERS.items()
            for name in names
        }


async def test_a_client_of_ours_calls_a_server_of_grpclib() -> None:
    served = pytest.importorskip("grpclib.server", reason="grpclib is not installed")
    server = served.Server([NumbersOfGrpclib()])
    await server.start("127.0.0.1", 0)
    port = server._server.sockets[0].getsockname()[1]
    try:
        async with Client(f"grpc://127.0.0.1:{port}") as client:
            assert await called(client) == EXPECTED
    finally:
        server.close()
        await server.wait_closed()
