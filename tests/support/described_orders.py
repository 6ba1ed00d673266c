"""A server of grpcio, with threads, that serves the generated service and describes it by grpcio's reflection."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_reflection.v1alpha import reflection
from grpc_status import rpc_status

from tests.support.generated import generated

__all__ = ["described_orders"]


def failed() -> Any:
    """Return an error with a detail of google.rpc and one of the service's own types."""
    details = []
    retry = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=2))
    for message in (retry, generated().pb2.Item(name="broken", count=3)):
        detail = any_pb2.Any()
        detail.Pack(message)
        details.append(detail)
    return rpc_status.to_status(
        status_pb2.Status(code=code_pb2.FAILED_PRECONDITION, message="not today", details=details)
    )


class _Orders:
    """The four methods; an item called `fail` fails, with details."""

    def Get(self, request: Any, context: Any) -> Any:
        if request.name == "fail":
            context.abort_with_status(failed())
        sent = dict(context.invocation_metadata())
        return generated().pb2.Order(text=request.name + sent.get("user", ""), total=request.count)

    def Follow(self, request: Any, context: Any) -> Iterator[Any]:
        for number in range(request.count):
            yield generated().pb2.Order(text=request.name, total=number)

    def Total(self, requests: Iterator[Any], context: Any) -> Any:
        return generated().pb2.Order(total=sum(one.count for one in requests))

    def Talk(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        for one in requests:
            if one.name == "fail":
                context.abort_with_status(failed())
            yield generated().pb2.Order(text=one.name.upper(), total=one.count)


@contextmanager
def described_orders(*, reflects: bool = True) -> Iterator[str]:
    """Serve, and yield the target.

    Args:
        reflects: whether the server has reflection.
    """
    server = grpc.server(ThreadPoolExecutor(8))
    generated().pb2_grpc.add_OrdersServicer_to_server(_Orders(), server)
    if reflects:
        reflection.enable_server_reflection(("shop.v1.Orders", reflection.SERVICE_NAME), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"grpc://127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
