"""The demonstration's methods by gRPC: a stub that grpcio-tools generates calls them on the same port."""

import asyncio
import importlib
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from demo_process import check, command, say
from demo_service import Demo

import fastrpc

__all__ = ["show_grpc"]


async def show_grpc() -> None:
    """Call the methods of a server by a stub of grpcio and natively, on one port."""
    say('The same methods by gRPC, on the same port: ServerConfig(protocols=("native", "grpc"))')
    if importlib.util.find_spec("grpc_tools") is None:
        say("      left out: grpcio-tools is not installed")
        return
    async with fastrpc.Server(Demo, config=fastrpc.ServerConfig(protocols=("native", "grpc"))) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        with generated() as (messages, services):
            await asyncio.to_thread(call_by_stub, f"127.0.0.1:{address.port}", messages, services)
        async with fastrpc.Client(str(address)) as client:
            check(await client.call(Demo.mul, 6, 7) == 42, "fastrpc.Client calls the same port")
        async with fastrpc.Client(f"grpc://127.0.0.1:{address.port}") as client:
            check(await client.call(Demo.mul, 6, 7) == 42, 'and Client("grpc://…") does so by gRPC')


@contextmanager
def generated() -> Iterator[tuple[Any, Any]]:
    """Write the .proto file of the service, and generate Python modules from it."""
    with tempfile.TemporaryDirectory() as folder:
        say("      $ fastrpc proto demo_service:Demo -o demo.proto")
        written = command("proto", "demo_service:Demo", "-o", f"{folder}/demo.proto")
        subprocess.run(written, cwd=Path(__file__).parent, check=True)
        say("      $ python -m grpc_tools.protoc -I. --python_out=. --grpc_python_out=. demo.proto")
        options = ["-I.", "--python_out=.", "--grpc_python_out=.", "demo.proto"]
        subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *options], cwd=folder, check=True)
        sys.path.insert(0, folder)
        try:
            yield importlib.import_module("demo_pb2"), importlib.import_module("demo_pb2_grpc")
        finally:
            sys.path.remove(folder)


def call_by_stub(target: str, messages: Any, services: Any) -> None:
    """Call with grpcio's own channel."""
    grpc = importlib.import_module("grpc")
    with grpc.insecure_channel(target) as channel:
        stub = services.demoStub(channel)
        check(stub.mul(messages.MulRequest(a=6, b=7)).value == 42, "stub.mul(MulRequest(a=6, b=7)) is 42")
        order = messages.Order(item="pear", pieces=4)
        receipt = stub.buy(messages.BuyRequest(order=order))
        check((receipt.text, receipt.total) == ("4 x pear", 10.0), "a default of the method holds here, too")
        numbers = [one.value for one in stub.numbers(messages.NumbersRequest(limit=1_000))]
        check(numbers == list(range(1_000)), "1,000 messages of a stream came in order")
