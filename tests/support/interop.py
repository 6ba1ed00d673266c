"""The service that programs of gRPC test each other with: its messages, and its server by a descriptor.

https://github.com/grpc/grpc/blob/master/doc/interop-test-descriptions.md
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from fastrpc import Status
from tests.support.generated import Generated, generated_from

__all__ = ["ECHO_INITIAL", "ECHO_TRAILING", "PROTO", "Interop", "interop"]

#: Metadata that the server sends back, in the head and in the trailers.
ECHO_INITIAL = "x-grpc-test-echo-initial"
ECHO_TRAILING = "x-grpc-test-echo-trailing-bin"

PROTO = """
syntax = "proto3";
package grpc.testing;

message Empty {}

message Payload {
  int32 type = 1;
  bytes body = 2;
}

message EchoStatus {
  int32 code = 1;
  string message = 2;
}

message SimpleRequest {
  int32 response_size = 2;
  Payload payload = 3;
  EchoStatus response_status = 7;
}

message SimpleResponse {
  Payload payload = 1;
}

message StreamingInputCallRequest {
  Payload payload = 1;
}

message StreamingInputCallResponse {
  int32 aggregated_payload_size = 1;
}

message ResponseParameters {
  int32 size = 1;
  int32 interval_us = 2;
}

message StreamingOutputCallRequest {
  repeated ResponseParameters response_parameters = 2;
  Payload payload = 3;
  EchoStatus response_status = 7;
}

message StreamingOutputCallResponse {
  Payload payload = 1;
}

service TestService {
  rpc EmptyCall(Empty) returns (Empty);
  rpc UnaryCall(SimpleRequest) returns (SimpleResponse);
  rpc StreamingOutputCall(StreamingOutputCallRequest) returns (stream StreamingOutputCallResponse);
  rpc StreamingInputCall(stream StreamingInputCallRequest) returns (StreamingInputCallResponse);
  rpc FullDuplexCall(stream StreamingOutputCallRequest) returns (stream StreamingOutputCallResponse);
}
"""


def interop() -> Generated:
    """Return the generated modules of the service."""
    return generated_from("interop", PROTO)


class Interop:
    """The servicer; generated modules by their `pb2`."""

    def __init__(self, pb2: Any) -> None:
        self._pb2 = pb2

    async def EmptyCall(self, request: Any) -> Any:
        return self._pb2.Empty()

    async def UnaryCall(self, request: Any, context: Any) -> Any:
        await self._echo(request, context)
        return self._pb2.SimpleResponse(payload=self._payload(request.response_size))

    async def StreamingOutputCall(self, request: Any, context: Any) -> AsyncIterator[Any]:
        async for answer in self._answers(request):
            yield answer

    async def StreamingInputCall(self, requests: AsyncIterator[Any]) -> Any:
        size = sum([len(request.payload.body) async for request in requests])
        return self._pb2.StreamingInputCallResponse(aggregated_payload_size=size)

    async def FullDuplexCall(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        is_first = True
        async for request in requests:
            if is_first or request.response_status.code:
                await self._echo(request, context)
            is_first = False
            async for answer in self._answers(request):
                yield answer

    async def _answers(self, request: Any) -> AsyncIterator[Any]:
        for wanted in request.response_parameters:
            if wanted.interval_us:
                await asyncio.sleep(wanted.interval_us / 1e6)
            yield self._pb2.StreamingOutputCallResponse(payload=self._payload(wanted.size))

    async def _echo(self, request: Any, context: Any) -> None:
        """Send the metadata back that asks for it, and end with the status that the request has."""
        for key, value in context.invocation_metadata():
            if key == ECHO_INITIAL:
                await context.send_initial_metadata([(key, value)])
            elif key == ECHO_TRAILING:
                context.set_trailing_metadata([(key, value)])
        if request.response_status.code:
            await context.abort(Status(request.response_status.code), request.response_status.message)

    def _payload(self, size: int) -> Any:
        return self._pb2.Payload(body=bytes(size))
