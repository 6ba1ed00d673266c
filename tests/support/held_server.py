"""A server whose handlers hold the loop: `python -m tests.support.held_server ADDRESS OPTIONS`, options as JSON."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import fastrpc
from fastrpc import HTTP, TLS, Admission, Keepalive, Limits, ServerConfig
from fastrpc.limits import ConcurrencyLimit

__all__ = ["HELD_SECONDS", "Held"]

#: The time of a call by the method that holds the loop.
HELD_SECONDS = {"short": 0.0001, "middle": 0.0015, "long": 0.01}


@fastrpc.service("held")
class Held:
    """Handlers that hold the loop for a while, and some that do not."""

    def __init__(self) -> None:
        self._noted = self._said = 0

    @fastrpc.method(codec="raw")
    async def short(self, given: bytes) -> bytes:
        return _held(HELD_SECONDS["short"], given)

    @fastrpc.method(codec="raw")
    async def middle(self, given: bytes) -> bytes:
        return _held(HELD_SECONDS["middle"], given)

    @fastrpc.method(codec="raw")
    async def long(self, given: bytes) -> bytes:
        return _held(HELD_SECONDS["long"], given)

    @fastrpc.method
    async def kept(self, milliseconds: float) -> float:
        """Hold the loop for a time that the caller names."""
        _held(milliseconds / 1000, b"")
        return milliseconds

    @fastrpc.method
    async def noted(self, number: int) -> None:
        """Take a notification."""
        self._noted += 1

    @fastrpc.method
    async def count(self) -> int:
        """Return how many notifications came."""
        return self._noted

    @fastrpc.method
    async def say(self) -> None:
        """Take a notification of an honest caller, counted separately from notifications of floods."""
        self._said += 1

    @fastrpc.method
    async def said(self) -> int:
        return self._said

    @fastrpc.method
    async def echo(self, value: int) -> int:
        return value

    @fastrpc.method
    async def slept(self, seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    @fastrpc.method
    async def summed(self, numbers: AsyncIterator[bytes]) -> int:
        """Read a stream after a rest of 15 s."""
        await asyncio.sleep(15)
        return sum([len(block) async for block in numbers])


def _held(seconds: float, given: bytes) -> bytes:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass
    return given


def _config(options: dict[str, Any]) -> ServerConfig:
    admission = Admission(**options.get("admission", {}))
    cert_file, key_file = options.get("certificate", (None, None))
    return ServerConfig(
        admission=admission,
        limits=Limits(concurrent_calls=options.get("calls", Limits().concurrent_calls)),
        protocols=("native", "http", "rpcx", "grpc"),
        http=HTTP(jsonrpc=True, websocket=True),
        keepalive=Keepalive(interval=options.get("silence", Keepalive().interval)),
        tls=TLS(cert_file=cert_file, key_file=key_file) if cert_file else None,
        spin_microseconds=options.get("spin", 0),
    )


def main(address: str, told: str) -> None:
    """Serve until the process is ended."""
    options = json.loads(told)
    if options.get("loop") == "asyncio":
        # Without uvloop `serve` uses the loop of asyncio.
        sys.modules["uvloop"] = None  # type: ignore[assignment]
    fastrpc.serve(
        Held(),
        address=[address, f"tls://127.0.0.1:{options['tls_port']}"] if "tls_port" in options else address,
        config=_config(options),
        workers=options.get("workers", 1),
        limits=[ConcurrencyLimit("adaptive")] if options.get("adaptive") else [],
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
