"""The client that makes the calls which `connectconformance` orders: it reports the outcome of each.

    python -m tests.support.conformance_client FOLDER

FOLDER holds the generated modules of the service. Orders come by standard input, reports go to standard output, each
after four bytes with the length. The calls are made by channels of `fastrpc.grpc.aio`.
"""

import asyncio
import base64
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from google.rpc import status_pb2

from fastrpc import TLS
from fastrpc.grpc import aio
from tests.support.conformance_server import pairs

__all__ = ["main"]

#: The bytes of a length.
LENGTH = 4
#: Calls under way at once.
MOST_CALLS = 16
SERVICE = "connectrpc.conformance.v1.ConformanceService"


class Order:
    """One order: a call to be made, and its report."""

    def __init__(self, modules: Any, channel: Any, asked: Any) -> None:
        self._asked = asked
        self._modules = modules
        self.report = modules.client_compat_pb2.ClientCompatResponse(test_name=asked.test_name)
        self._result = self.report.response
        self._result.SetInParent()
        name = asked.method or "Unary"
        method = modules.service_pb2.DESCRIPTOR.services_by_name["ConformanceService"].methods_by_name[name]
        self._request = getattr(modules.service_pb2, method.input_type.name)
        answer = getattr(modules.service_pb2, method.output_type.name)
        self._takes_stream, self._gives_stream = method.client_streaming, method.server_streaming
        kinds = {False: "unary", True: "stream"}
        make = getattr(channel, f"{kinds[self._takes_stream]}_{kinds[self._gives_stream]}")
        path = f"/{asked.service or SERVICE}/{name}"
        self._method = make(path, self._request.SerializeToString, answer.FromString)

    async def carry_out(self) -> Any:
        """Make the call; return the report."""
        asked = self._asked
        named: dict[str, Any] = {"metadata": pairs(asked.request_headers)}
        if asked.HasField("timeout_ms"):
            named["timeout"] = asked.timeout_ms / 1000
        if asked.compression == self._modules.config_pb2.COMPRESSION_GZIP:
            named["compression"] = grpc.Compression.Gzip
        requests = [self._request.FromString(one.value) for one in asked.request_messages]
        if self._takes_stream:
            call = self._method(**named)
            await self._send(call, requests)
        else:
            await asyncio.sleep(asked.request_delay_ms / 1000)
            call = self._method(requests[0], **named)
        await self._finish(call)
        return self.report

    async def _send(self, call: Any, requests: list[Any]) -> None:
        asked, sent = self._asked, 0
        is_full = asked.stream_type == self._modules.config_pb2.STREAM_TYPE_FULL_DUPLEX_BIDI_STREAM
        try:
            for request in requests:
                await asyncio.sleep(asked.request_delay_ms / 1000)
                await call.write(request)
                sent += 1
                if is_full and not await self._read(call):
                    break
            if asked.cancel.WhichOneof("cancel_timing") == "before_close_send":
                call.cancel()
            else:
                await call.done_writing()
        except (grpc.RpcError, asyncio.InvalidStateError, asyncio.CancelledError):
            pass  # `_finish` reports it.
        self._result.num_unsent_requests = len(requests) - sent

    async def _read(self, call: Any) -> bool:
        """Take one message of the answer; return whether there was one."""
        message = await call.read()
        if message is aio.EOF:
            return False
        self._result.payloads.add().CopyFrom(message.payload)
        if len(self._result.payloads) == self._asked.cancel.after_num_responses:
            call.cancel()
        return True

    async def _finish(self, call: Any) -> None:
        if self._asked.HasField("cancel") and not self._asked.cancel.after_num_responses:
            await asyncio.sleep(self._asked.cancel.after_close_send_ms / 1000)
            call.cancel()
        with suppress(grpc.RpcError, asyncio.CancelledError):
            if self._gives_stream:
                while await self._read(call):
                    pass
            else:
                answer = await call
                self._result.payloads.add().CopyFrom(answer.payload)
        code = await call.code()
        put(self._result.response_headers, await call.initial_metadata())
        trailing = await call.trailing_metadata()
        put(self._result.response_trailers, trailing)
        if code is not grpc.StatusCode.OK:
            self._result.error.code = code.value[0]
            self._result.error.message = await call.details()
            sent = dict(trailing).get("grpc-status-details-bin")
            if sent is not None:
                self._result.error.details.extend(status_pb2.Status.FromString(sent).details)


def put(headers: Any, metadata: Iterable[tuple[str, str | bytes]]) -> None:
    """Add metadata to the headers of a report."""
    found: dict[str, list[str]] = {}
    for key, value in metadata:
        text = base64.b64encode(value).decode().rstrip("=") if isinstance(value, bytes) else value
        found.setdefault(key, []).append(text)
    for name, values in found.items():
        headers.add(name=name, value=values)


class Channels:
    """The channels to the servers of a run, by address and settings."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[Any, Any] = {}

    def of(self, asked: Any) -> Any:
        """Return the channel for an order."""
        key = asked.host, asked.port, asked.client_tls_creds.cert, asked.message_receive_limit
        if key not in self._made:
            self._made[key] = self._new(asked, self._folder / str(len(self._made)))
        return self._made[key]

    def _new(self, asked: Any, folder: Path) -> Any:
        target, options = f"{asked.host}:{asked.port}", []
        if asked.message_receive_limit:
            options.append(("grpc.max_receive_message_length", asked.message_receive_limit))
        if not asked.server_tls_cert:
            return aio.insecure_channel(target, options)
        folder.mkdir()
        (folder / "ca").write_bytes(asked.server_tls_cert)
        tls = TLS(ca_file=folder / "ca")
        if asked.client_tls_creds.cert:
            (folder / "cert").write_bytes(asked.client_tls_creds.cert)
            (folder / "key").write_bytes(asked.client_tls_creds.key)
            tls = TLS(ca_file=folder / "ca", cert_file=folder / "cert", key_file=folder / "key")
        return aio.secure_channel(target, tls, options)

    async def close(self) -> None:
        """Close all of them."""
        await asyncio.gather(*(channel.close() for channel in self._made.values()))


def write(report: Any) -> None:
    """Write a report to standard output."""
    written = report.SerializeToString()
    sys.stdout.buffer.write(len(written).to_bytes(LENGTH, "big") + written)
    sys.stdout.buffer.flush()


async def main(folder: str) -> None:
    """Carry out orders until there are no more."""
    sys.path.insert(0, folder)
    from connectrpc.conformance import v1  # type: ignore[import-not-found]
    from connectrpc.conformance.v1 import (  # type: ignore[import-not-found]
        client_compat_pb2,
        config_pb2,  # noqa: F401
        service_pb2,  # noqa: F401
    )

    loop, room = asyncio.get_running_loop(), asyncio.Semaphore(MOST_CALLS)
    read = partial(loop.run_in_executor, None, sys.stdin.buffer.read)

    async def carry_out(asked: Any) -> None:
        async with room:
            write(await Order(v1, channels.of(asked), asked).carry_out())

    with tempfile.TemporaryDirectory() as place:
        channels = Channels(Path(place))
        async with asyncio.TaskGroup() as tasks:
            while size := await read(LENGTH):
                content = await read(int.from_bytes(size, "big"))
                tasks.create_task(carry_out(client_compat_pb2.ClientCompatRequest.FromString(content)))
        await channels.close()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(sys.argv[1]))
