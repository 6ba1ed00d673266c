"""Servers of rpcx for Go, in processes of their own."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["go_server"]


@asynccontextmanager
async def go_server(
    program: str, token: str = "", *, files: str = ""
) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """Run a server of Go, and yield its address; it serves the files of a folder if one is given."""
    process = await asyncio.create_subprocess_exec(
        program,
        "server",
        "127.0.0.1:0",
        token,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "FILES": files},
    )
    try:
        assert process.stdout is not None
        address = (await process.stdout.readline()).decode().strip()
        assert address, "the server of Go ended"
        yield f"tcp://{address}", process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
