"""HAProxy in front of a server that listens at a unix socket; it shares connections to the server among its clients."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

CONFIG = """
global
    nbthread 1
defaults
    mode http
    timeout connect 20s
    timeout http-request 20s
    timeout client 20s
    timeout server 20s
frontend clients
    bind {front}
    {rule}
    default_backend servers
backend servers
    http-reuse always
    server one unix@{back} {options}
"""


@asynccontextmanager
async def haproxy(
    program: str,
    settings: Path,
    *,
    front: str,
    back: Path,
    rule: str,
    is_reached: Callable[[], Awaitable[bool]],
    options: str = "",
) -> AsyncIterator[None]:
    """Run HAProxy at `front` with one more line for its clients, once `is_reached` tells that it listens."""
    settings.write_text(CONFIG.format(front=front, back=back, rule=rule, options=options))
    process = await asyncio.create_subprocess_exec(program, "-db", "-f", str(settings))
    try:
        async with asyncio.timeout(20):
            while not await is_reached():
                assert process.returncode is None
                await asyncio.sleep(0.01)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
