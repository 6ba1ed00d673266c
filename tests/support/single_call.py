"""A program that calls once by gRPC, and a second time: `python -m tests.support.single_call KIND URL`.

The second call keeps the connection open until the server has seen the answer to all that it sent.
"""

import asyncio
import contextlib
import sys
from urllib.parse import urlsplit

from fastrpc import Client, FastRPCError, SyncClient

METHOD = "test.v1.Raw.echo"
SECONDS = 1.5


async def call_on_loop(target: str) -> None:
    """Call with the client of a loop."""
    async with Client(target) as client:
        for _ in range(2):
            with contextlib.suppress(FastRPCError):
                await client.with_options(timeout=SECONDS).call(METHOD, b"")


def call_blocking(target: str) -> None:
    """Call with the blocking client."""
    with SyncClient(target) as client:
        for _ in range(2):
            with contextlib.suppress(FastRPCError):
                client.with_options(timeout=SECONDS).call(METHOD, b"")


if __name__ == "__main__":
    kind, url = sys.argv[1:]
    address = urlsplit(url)
    place = f"grpc://{address.hostname}:{address.port}"
    # What becomes of the call is nothing to the server that breaks rules.
    with contextlib.suppress(FastRPCError):
        call_blocking(place) if kind == "blocking" else asyncio.run(call_on_loop(place))
