"""A google.rpc.Status without details reaches the caller as it was set, by all that descends from gRPC."""

from typing import Any

import grpc
import pytest
from google.rpc import code_pb2, status_pb2
from grpc_status import rpc_status

from tests.support.both_servers import STYLES, ask, served

pytestmark = pytest.mark.one_loop

RICH = status_pb2.Status(code=code_pb2.NOT_FOUND, message="no such item")


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("stack", ["ours", "grpcio"])
@pytest.mark.parametrize("way", ["abort", "status"])
def test_an_error_whose_details_do_not_fit_is_sent_without_details(style: str, stack: str, way: str) -> None:
    found = rpc_status.to_status(RICH)

    def use(context: Any) -> Any:
        if way == "abort":
            return context.abort_with_status(found)
        context.set_code(found.code)
        context.set_details(found.details)
        return context.set_trailing_metadata(found.trailing_metadata)

    async def on_loop(request: bytes, context: Any) -> bytes:
        done = use(context)
        if done is not None:
            await done
        return b""

    def in_thread(request: bytes, context: Any) -> bytes:
        use(context)
        return b""

    handler = on_loop if style == "loop" else in_thread
    with served(stack, style, {"unary": handler}) as target:
        _, code, text, _, trailing = ask(target, "unary")
    assert (code, text) == (grpc.StatusCode.NOT_FOUND.name, "no such item")
    assert status_pb2.Status.FromString(dict(trailing)["grpc-status-details-bin"]) == RICH
