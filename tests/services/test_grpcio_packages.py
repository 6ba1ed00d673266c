"""Packages of grpcio on our servers and channels: health checks, reflection, rich errors."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

import fastrpc.grpc
from fastrpc.grpc import aio
from tests.support.generated import generated
from tests.support.orders import item, servicer_with

pytestmark = [pytest.mark.one_loop, pytest.mark.parametrize("stack", ["ours", "grpcio"])]

CHANNELS = {"ours": aio.insecure_channel, "grpcio": grpc.aio.insecure_channel}
BLOCKING = {"ours": fastrpc.grpc.insecure_channel, "grpcio": grpc.insecure_channel}


@asynccontextmanager
async def serving(*add: Any, servicer: Any = None) -> AsyncIterator[str]:
    """Serve the methods that functions add to a server of ours, and yield its target."""
    server = aio.server()
    if servicer is not None:
        generated().pb2_grpc.add_OrdersServicer_to_server(servicer, server)
    for one in add:
        one(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(5)


@pytest.mark.parametrize("servicer", [health.aio.HealthServicer, health.HealthServicer])
async def test_health_of_the_package_replaces_ours(stack: str, servicer: Any) -> None:
    served = servicer()
    states = health_pb2.HealthCheckResponse
    request = health_pb2.HealthCheckRequest(service="shop.v1.Orders")

    async def put(state: Any) -> None:
        done = served.set("shop.v1.Orders", state)
        if done is not None:
            await done

    async with serving(lambda server: health_pb2_grpc.add_HealthServicer_to_server(served, server)) as target:
        await put(states.SERVING)
        async with CHANNELS[stack](target) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            assert (await stub.Check(request)).status == states.SERVING
            watch = stub.Watch(request)
            assert (await watch.read()).status == states.SERVING
            await put(states.NOT_SERVING)
            assert (await watch.read()).status == states.NOT_SERVING
            watch.cancel()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Check(health_pb2.HealthCheckRequest(service="unknown"))
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_reflection_of_the_package_replaces_ours(stack: str) -> None:
    names = ("shop.v1.Orders", reflection.SERVICE_NAME)

    def ask(target: str) -> tuple[Any, ...]:
        with BLOCKING[stack](target) as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            return database.get_services(), database.FindFileContainingSymbol("shop.v1.Orders").name

    async with serving(
        lambda server: reflection.enable_server_reflection(names, server), servicer=servicer_with()
    ) as target:
        services, file = await asyncio.to_thread(ask, target)
    assert sorted(services) == sorted(names)
    assert file == "orders.proto"


async def test_rich_errors_come_and_go(stack: str) -> None:
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.RetryInfo())
    rich = status_pb2.Status(code=code_pb2.NOT_FOUND, message="no such item", details=[detail])

    async def get(request: Any, context: Any) -> Any:
        await context.abort_with_status(rpc_status.to_status(rich))

    def ask(target: str) -> Any:
        with BLOCKING[stack](target) as channel:
            with pytest.raises(grpc.RpcError) as caught:
                generated().pb2_grpc.OrdersStub(channel).Get(item())
            return rpc_status.from_call(caught.value)

    async with serving(servicer=servicer_with(Get=get)) as target:
        assert await asyncio.to_thread(ask, target) == rich
