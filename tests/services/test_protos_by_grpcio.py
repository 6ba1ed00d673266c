"""Contracts of .proto files against grpcio's generated code: its clients at our server, our client at its server."""

import asyncio
import importlib
import itertools
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import grpc
import pytest
from google.protobuf import descriptor_pool, message_factory

from fastrpc import Client, ServerConfig
from fastrpc._core.payload.marshal import Marshal
from fastrpc.gateway.contract_files import services_in
from fastrpc.rpc.definition import MethodDefinition, ServiceDefinition
from fastrpc.rpc.protobuf.marshals import message_marshal
from fastrpc.rpc.service import service_definition
from tests.support.filled_messages import filled_messages
from tests.support.proto_contracts import FILES, FOLDER, contract_of
from tests.support.threaded_server import ThreadedServer

#: Python refuses the code that grpcio generates of these: three quotes in a comment, names that are keywords.
REFUSED = ("comments.proto", "keywords.proto")
#: Files with services that have methods.
WITH_SERVICES = [
    name
    for name in FILES
    if "\n  rpc " in (FOLDER / name).read_text(encoding="utf-8") and name not in REFUSED
]
SECONDS = 20


class Generated(NamedTuple):
    """A service: our class of it, and grpcio's code."""

    definition: ServiceDefinition
    name: str
    code: Any

    def marshal(self, method: MethodDefinition) -> Marshal:
        return message_marshal(method, depth=100, items=1_000_000)

    def named(self, method: MethodDefinition) -> str:
        return self.definition.names.grpc_method(method.name)


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[Generated]]]:
    """The services of each file."""
    folder = tmp_path_factory.mktemp("generated")
    sources = [*WITH_SERVICES, *(str(path.relative_to(FOLDER)) for path in FOLDER.glob("shared/*.proto"))]
    command = ["-m", "grpc_tools.protoc", f"-I{FOLDER}", f"-I{common_folder()}", f"--python_out={folder}"]
    command += [f"--grpc_python_out={folder}", *sources]
    subprocess.run([sys.executable, *command], check=True, timeout=60)
    sys.path.insert(0, str(folder))
    yield {name: list(services_of(name)) for name in WITH_SERVICES}
    sys.path.remove(str(folder))


def common_folder() -> Path:
    return Path(importlib.import_module("google.api").__path__[0]).parents[1]


def services_of(name: str) -> Iterator[Generated]:
    code = importlib.import_module(f"{name.removesuffix('.proto')}_pb2_grpc")
    for one in services_in(contract_of(name).module):
        definition = service_definition(one)
        if definition.methods:
            yield Generated(definition, definition.names.grpc_service.rpartition(".")[2], code)


def messages_of(service: Generated, method: MethodDefinition) -> tuple[list[Any], list[Any]]:
    """Return messages of grpcio's code for the request and for the answer of a method."""
    pool = descriptor_pool.Default()
    found = pool.FindServiceByName(service.definition.names.grpc_service).methods_by_name[
        service.named(method)
    ]
    first, second = (
        [*filled_messages(message_factory.GetMessageClass(one))][-4:]
        for one in (found.input_type, found.output_type)
    )
    return first, second


def serving(service: Generated, answers: dict[str, list[Any]], seen: dict[str, list[Any]]) -> type[Any]:
    """Return a server's class of a contract, which gives these answers and notes requests."""
    methods = {}
    for method in service.definition.methods.values():
        handler = handler_of(method, answers[method.name], seen[method.name])
        contract = getattr(service.definition.owner, method.attribute)
        hints = get_type_hints(contract, include_extras=True)
        handler.__annotations__ = {"request": next(iter(hints.values())), "return": hints["return"]}
        methods[method.attribute] = handler
    return type("Served", (service.definition.owner,), methods)


def handler_of(method: MethodDefinition, answers: list[Any], seen: list[Any]) -> Any:
    async def note(given: Any) -> None:
        seen.extend([one async for one in given] if is_stream(method, "request") else [given])

    async def handle(self: Any, request: Any) -> Any:
        await note(request)
        return answers[(len(seen) - 1) % len(answers)]

    async def stream(self: Any, request: Any) -> AsyncIterator[Any]:
        await note(request)
        for one in answers:
            yield one

    return stream if is_stream(method, "answer") else handle


def same(
    service: Generated, method: MethodDefinition, values: list[Any], messages: list[Any], side: str
) -> None:
    """Check that messages hold these values."""
    marshal = service.marshal(method)
    for value, message in zip(values, messages, strict=True):
        if side == "answer":
            payload = marshal.encode_result(value)
        elif method.kind in {"client_stream", "both_ways"}:
            payload = marshal.encode_message(value)
        else:
            payload = marshal.encode_arguments((value,), None)
        assert type(message).FromString(payload) == message, (method.name, value)


def value_of(service: Generated, method: MethodDefinition, message: Any, side: str) -> Any:
    marshal: Any = service.marshal(method)
    payload = message.SerializeToString()
    if side == "answer":
        return marshal.decode_result(payload)
    if method.kind in {"client_stream", "both_ways"}:
        return marshal.decode_message(payload)
    return marshal.decode_arguments(payload)[0]


def is_stream(method: MethodDefinition, side: str) -> bool:
    return method.kind in {"both_ways", "client_stream" if side == "request" else "server_stream"}


@pytest.mark.parametrize("name", WITH_SERVICES)
def test_their_clients_call_a_server_of_the_contract(
    generated: dict[str, list[Generated]], name: str
) -> None:
    for service in generated[name]:
        methods = service.definition.methods
        given = {one.name: messages_of(service, one) for one in methods.values()}
        answers = {
            key: [value_of(service, methods[key], one, "answer") for one in pair[1]]
            for key, pair in given.items()
        }
        seen: dict[str, list[Any]] = {key: [] for key in given}
        config = ServerConfig(protocols=("native", "grpc"))
        with (
            ThreadedServer(serving(service, answers, seen)(), config=config) as server,
            grpc.insecure_channel(server.address.removeprefix("tcp://")) as channel,
        ):
            stub = getattr(service.code, f"{service.name}Stub")(channel)
            for key, (requests, expected) in given.items():
                got = called(getattr(stub, service.named(methods[key])), methods[key], requests)
                assert got
                if not is_stream(methods[key], "request") or is_stream(methods[key], "answer"):
                    assert got == list(itertools.islice(itertools.cycle(expected), len(got)))
                same(service, methods[key], seen[key], requests[-len(seen[key]) :], "request")
                assert seen[key]


def called(call: Any, method: MethodDefinition, requests: list[Any]) -> list[Any]:
    """Return the answers to calls by a stub of grpcio."""
    if is_stream(method, "request"):
        found = call(iter(requests), timeout=SECONDS)
        return list(found) if is_stream(method, "answer") else [found]
    if is_stream(method, "answer"):
        return list(call(requests[-1], timeout=SECONDS))
    return [call(one, timeout=SECONDS) for one in requests]


@pytest.mark.parametrize("name", WITH_SERVICES)
def test_our_client_calls_their_servers_by_the_contract(
    generated: dict[str, list[Generated]], name: str
) -> None:
    for service in generated[name]:
        given = {one.name: messages_of(service, one) for one in service.definition.methods.values()}
        seen: dict[str, list[Any]] = {key: [] for key in given}
        server = grpc.server(futures.ThreadPoolExecutor(4))
        getattr(service.code, f"add_{service.name}Servicer_to_server")(servicer(service, given, seen), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            asyncio.run(call_all(service, f"grpc://127.0.0.1:{port}", given))
        finally:
            server.stop(None).wait()
        for key, (requests, _) in given.items():
            assert seen[key] == requests


def servicer(service: Generated, given: dict[str, Any], seen: dict[str, list[Any]]) -> Any:
    """Return a servicer of grpcio that gives the answers and notes requests."""

    def handler(method: MethodDefinition) -> Any:
        answers = given[method.name][1]

        def handle(self: Any, request: Any, context: Any) -> Any:
            seen[method.name] += list(request) if is_stream(method, "request") else [request]
            return iter(answers) if is_stream(method, "answer") else answers[0]

        return handle

    methods = {service.named(one): handler(one) for one in service.definition.methods.values()}
    return type("Servicer", (), methods)()


async def call_all(service: Generated, address: str, given: dict[str, Any]) -> None:
    async with Client(address) as client:
        for key, (requests, expected) in given.items():
            method = service.definition.methods[key]
            call: Any = getattr(service.definition.owner, method.attribute)
            values = [value_of(service, method, one, "request") for one in requests]
            got: list[Any] = []
            if is_stream(method, "request"):

                async def sent(values: list[Any] = values) -> AsyncIterator[Any]:
                    for one in values:
                        yield one

                if is_stream(method, "answer"):
                    async with client.stream(call, sent()) as stream:
                        got = [one async for one in stream]
                else:
                    got = [await client.call(call, sent())]
            for value in () if is_stream(method, "request") else values:
                if is_stream(method, "answer"):
                    async with client.stream(call, value) as stream:
                        got = [one async for one in stream]
                else:
                    got = [await client.call(call, value)]
            same(service, method, got, expected[: len(got)], "answer")
            assert got
