"""The server that `connectconformance` asks: it answers each call as that call's first message says.

    python -m tests.support.conformance_server FOLDER

FOLDER holds the generated modules of its service. Its settings come by standard input, its address goes to standard
output, each after four bytes with the length. It ends by SIGTERM.
"""

import asyncio
import base64
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import fastrpc.grpc
from fastrpc import HTTP, TLS, CallError, Server, ServerConfig, Status

__all__ = ["main"]


class Conformance:
    """The service of connectrpc/conformance/v1/service.proto."""

    def __init__(self, pb2: Any) -> None:
        self._pb2 = pb2

    async def Unary(self, request: Any, context: Any) -> Any:
        return await self._answer([request], context, self._pb2.UnaryResponse)

    async def IdempotentUnary(self, request: Any, context: Any) -> Any:
        return await self._answer([request], context, self._pb2.IdempotentUnaryResponse)

    async def Unimplemented(self, request: Any, context: Any) -> Any:
        raise CallError(Status.UNIMPLEMENTED, "Unimplemented is not implemented")

    async def ClientStream(self, requests: Any, context: Any) -> Any:
        found = [request async for request in requests]
        return await self._answer(found, context, self._pb2.ClientStreamResponse)

    async def ServerStream(self, request: Any, context: Any) -> AsyncIterator[Any]:
        async for answer in self._stream([request], context, self._pb2.ServerStreamResponse):
            yield answer

    async def BidiStream(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        found: list[Any] = []
        async for request in requests:
            found.append(request)
            if request.full_duplex or found[0].full_duplex:
                break
        if not found or not found[0].full_duplex:
            async for answer in self._stream(found, context, self._pb2.BidiStreamResponse):
                yield answer
            return
        definition = found[0].response_definition
        await context.send_initial_metadata(pairs(definition.response_headers))
        context.set_trailing_metadata(pairs(definition.response_trailers))
        data = list(definition.response_data)
        sent = 0
        while sent < len(data):
            await asyncio.sleep(definition.response_delay_ms / 1000)
            answer = self._pb2.BidiStreamResponse()
            answer.payload.data = data[sent]
            # The first one has everything, the later ones only the request that they answer.
            self._note(answer.payload.request_info, found[-1:], context if sent == 0 else None)
            sent += 1
            yield answer
            request = await anext(requests, None)
            if request is None:
                break
            found.append(request)
        for rest in data[sent:]:
            await asyncio.sleep(definition.response_delay_ms / 1000)
            answer = self._pb2.BidiStreamResponse()
            answer.payload.data = rest
            yield answer
        if definition.HasField("error"):
            raise self._error(definition.error, None if sent else self._info(found, context))

    async def _answer(self, requests: list[Any], context: Any, kind: Any) -> Any:
        """Answer with one message."""
        definition = requests[0].response_definition if requests else self._pb2.UnaryResponseDefinition()
        await context.send_initial_metadata(pairs(definition.response_headers))
        context.set_trailing_metadata(pairs(definition.response_trailers))
        await asyncio.sleep(definition.response_delay_ms / 1000)
        info = self._info(requests, context)
        if definition.HasField("error"):
            raise self._error(definition.error, info)
        answer = kind()
        answer.payload.data = definition.response_data
        answer.payload.request_info.CopyFrom(info)
        return answer

    async def _stream(self, requests: list[Any], context: Any, kind: Any) -> AsyncIterator[Any]:
        """Answer with a stream, once all requests have arrived."""
        definition = requests[0].response_definition if requests else self._pb2.StreamResponseDefinition()
        await context.send_initial_metadata(pairs(definition.response_headers))
        context.set_trailing_metadata(pairs(definition.response_trailers))
        info = self._info(requests, context)
        for number, data in enumerate(definition.response_data):
            await asyncio.sleep(definition.response_delay_ms / 1000)
            answer = kind()
            answer.payload.data = data
            if number == 0:
                answer.payload.request_info.CopyFrom(info)
            yield answer
        if definition.HasField("error"):
            raise self._error(definition.error, None if definition.response_data else info)

    def _info(self, requests: Iterable[Any], context: Any) -> Any:
        info = self._pb2.ConformancePayload.RequestInfo()
        self._note(info, requests, context)
        return info

    def _note(self, info: Any, requests: Iterable[Any], context: Any) -> None:
        """Note requests, and the head of the call with its context."""
        for request in requests:
            info.requests.add().Pack(request)
        if context is None:
            return
        left = context.time_remaining()
        if left is not None:
            info.timeout_ms = int(left * 1000)
        heads: dict[str, list[str]] = {}
        for key, value in context.invocation_metadata():
            text = base64.b64encode(value).decode().rstrip("=") if isinstance(value, bytes) else value
            heads.setdefault(key, []).append(text)
        for name, values in heads.items():
            info.request_headers.add(name=name, value=values)

    def _error(self, error: Any, info: Any) -> CallError:
        """Return the error that a definition names; with `info` its details tell of the request."""
        details = [fastrpc.grpc.AnyMessage(one.type_url, one.value) for one in error.details]
        if info is not None:
            details.append(info)
        return CallError(Status(error.code), error.message, details=details or None)


def pairs(headers: Any) -> list[tuple[str, str | bytes]]:
    """Return headers of a definition as metadata."""
    return [
        (header.name.lower(), base64.b64decode(value + "==") if header.name.endswith("-bin") else value)
        for header in headers
        for value in header.value
    ]


def config_of(request: Any, folder: Path) -> ServerConfig:
    """Return the settings that a run asks for."""
    tls = None
    if request.use_tls:
        for name, content in (("cert", request.server_creds.cert), ("key", request.server_creds.key)):
            (folder / name).write_bytes(content)
        (folder / "ca").write_bytes(request.client_tls_cert)
        has_ca = bool(request.client_tls_cert)
        tls = TLS(
            cert_file=folder / "cert",
            key_file=folder / "key",
            ca_file=folder / "ca" if has_ca else None,
            require_client_cert=has_ca,
        )
    is_http1 = request.http_version == 1
    return ServerConfig(
        protocols=("http",) if is_http1 else ("grpc",),
        http=HTTP(connect=True, grpc_web=True),
        tls=tls,
    )


async def main(folder: str) -> None:
    """Serve until SIGTERM."""
    sys.path.insert(0, folder)
    from connectrpc.conformance.v1 import server_compat_pb2, service_pb2  # type: ignore[import-not-found]

    size = int.from_bytes(sys.stdin.buffer.read(4), "big")
    request = server_compat_pb2.ServerCompatRequest.FromString(sys.stdin.buffer.read(size))
    service = service_pb2.DESCRIPTOR.services_by_name["ConformanceService"]
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    with tempfile.TemporaryDirectory() as place:
        config = config_of(request, Path(place))
        source = fastrpc.grpc.service(service, Conformance(service_pb2))
        async with Server(source, config=config) as server:
            address = await server.listen(f"{'tls' if request.use_tls else 'tcp'}://127.0.0.1:0")
            told = server_compat_pb2.ServerCompatResponse(host=address.host, port=address.port)
            told.pem_cert = request.server_creds.cert
            written = told.SerializeToString()
            sys.stdout.buffer.write(len(written).to_bytes(4, "big") + written)
            sys.stdout.buffer.flush()
            await ended.wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(sys.argv[1]))
