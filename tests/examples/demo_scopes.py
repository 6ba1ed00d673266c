"""One service and one caller, unchanged: in one process, then on one host, then back."""

import asyncio
import os
import tempfile

from demo_process import Process, check, say

import fastrpc

__all__ = ["Clock", "show_scopes"]


@fastrpc.service("clock")
class Clock:
    @fastrpc.method(idempotent=True)
    async def process(self) -> int:
        return os.getpid()


async def asked(client: fastrpc.Client, *, is_here: bool) -> str:
    """Ask until a server of this process, or one of another, answers; return its scope."""
    while True:
        reply = await client.request(Clock.process)
        if (reply.value == os.getpid()) == is_here:
            return reply.endpoint.labels["scope"]
        await asyncio.sleep(0.01)


async def show_scopes() -> None:
    """Move a service out of this process and back in."""
    say('One address everywhere: Client("any://clock")')
    with tempfile.TemporaryDirectory() as folder:
        # The demonstration is separate from other programs of this user.
        os.environ["FASTRPC_HOST_FOLDER"] = folder
        try:
            await _show_scopes()
        finally:
            del os.environ["FASTRPC_HOST_FOLDER"]


async def _show_scopes() -> None:
    async with fastrpc.Client("any://clock") as client:
        # Callers see the new place within a second, and the old one serves for that long.
        config = fastrpc.ServerConfig(timeouts=fastrpc.Timeouts(announce=1))
        async with fastrpc.Server(Clock, config=config) as here:
            await here.listen("any://")
            check(
                await asked(client, is_here=True) == "process", "the caller finds a server in its own process"
            )
            far = Process("run", "demo_scopes:Clock", "--address", "any://")
            try:
                await asyncio.to_thread(far.wait_started, "addresses")
                await here.drain()
                check(
                    await asked(client, is_here=False) == "host", "the service moved to a process of its own"
                )
                async with fastrpc.Server(Clock) as back:
                    await back.listen("any://")
                    check(await asked(client, is_here=True) == "process", "and back, with no failed call")
                check(await asyncio.to_thread(far.stop) == 0, "that process drains, and ends with 0")
            finally:
                far.close()
    check(os.listdir(os.environ["FASTRPC_HOST_FOLDER"]) == [], "no file of a server is left")
