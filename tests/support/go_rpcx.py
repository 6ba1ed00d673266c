"""Servers of rpcx for Go, in processes of their own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["go_server"]


@asynccontextmanager
async def go_server(program: str, token: str = "") -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """Run a server of Go, and yield its address."""
    process = await asyncio.create_subprocess_exec(
        program, "server", "127.0.0.1:0", token, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        while b"127.0.0.1:" not in (line := await process.stdout.readline()):
            assert line, "the server of Go ended"
        yield f"tcp://{line.decode().split()[-1]}", process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
