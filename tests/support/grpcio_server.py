"""A server of grpcio with threads: its methods take and return bytes, and it records each call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

__all__ = ["GrpcioServer", "grpcio_server"]

Metadata = tuple[tuple[str, str | bytes], ...]


class GrpcioServer(grpc.GenericRpcHandler):
    """The methods of `test.Echo`, and the calls that they got."""

    def __init__(self) -> None:
        self.port = 0
        #: The metadata of each call, and its seconds left, None without a deadline.
        self.metadata: list[dict[str, str | bytes]] = []
        self.remaining: list[float | None] = []
        #: Calls of `Wait` that have begun, and those that their caller gave up.
        self.begun = self.cancelled = 0

    @property
    def target(self) -> str:
        return f"grpc://127.0.0.1:{self.port}"

    def service(self, handler_call_details: Any) -> Any:
        self.metadata.append(dict(handler_call_details.invocation_metadata))
        kinds: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
            "Echo": (grpc.unary_unary_rpc_method_handler, self.echo),
            "Pairs": (grpc.unary_unary_rpc_method_handler, self.pairs),
            "Fail": (grpc.unary_unary_rpc_method_handler, self.fail),
            "Wait": (grpc.unary_unary_rpc_method_handler, self.wait),
            "Count": (grpc.unary_stream_rpc_method_handler, self.count),
            "Sum": (grpc.stream_unary_rpc_method_handler, self.sum),
            "Chat": (grpc.stream_stream_rpc_method_handler, self.chat),
        }
        service, _, method = handler_call_details.method[1:].partition("/")
        if service != "test.Echo" or method not in kinds:
            return None
        make, function = kinds[method]
        return make(function)

    def echo(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        left = context.time_remaining()
        self.remaining.append(None if left is None or left > 1e8 else left)
        return request

    def pairs(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.send_initial_metadata((("x-head", "1"), ("x-both", "head")))
        context.set_trailing_metadata((("x-end", "2"), ("x-end-bin", b"\0\1"), ("x-both", "end")))
        return request

    def fail(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        name, _, text = request.decode().partition(":")
        context.abort(grpc.StatusCode[name], text)
        raise AssertionError("abort() has raised")

    def wait(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        ended: list[None] = []
        self.begun += 1
        context.add_callback(lambda: ended.append(None))
        until = time.monotonic() + float(request)
        while not ended and time.monotonic() < until:
            time.sleep(0.001)
        self.cancelled += bool(ended)
        return request

    def count(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        context.send_initial_metadata((("x-head", "1"),))
        for number in range(int(request)):
            yield b"%d" % number
        context.set_trailing_metadata((("x-end", "2"),))

    def sum(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        return b"%d" % sum(map(int, requests))

    def chat(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        for request in requests:
            yield b"re: " + request


@contextmanager
def grpcio_server(
    *, key_file: Path | None = None, cert_file: Path | None = None, options: tuple[tuple[str, Any], ...] = ()
) -> Iterator[GrpcioServer]:
    """Serve on a port of this machine, encrypted if a certificate is given."""
    found = GrpcioServer()
    server = grpc.server(
        ThreadPoolExecutor(32),
        handlers=(found,),
        options=(("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), *options),
        compression=grpc.Compression.NoCompression,
    )
    if key_file is None or cert_file is None:
        found.port = server.add_insecure_port("127.0.0.1:0")
    else:
        credentials = grpc.ssl_server_credentials([(key_file.read_bytes(), cert_file.read_bytes())])
        found.port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield found
    finally:
        server.stop(None).wait()
