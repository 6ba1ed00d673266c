"""A real server in the test's own loop, at an address of any transport."""

import itertools
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from fastrpc import Interceptor, Server, ServerConfig
from fastrpc.limits import Limit

__all__ = ["SCHEMES", "Served", "address_of", "served"]

SCHEMES = ("tcp", "unix", "memory")

_numbers = itertools.count(1)


class Served(str):
    """The address of a server that runs, as a target; `server` is the server."""

    __slots__ = ("server",)

    server: Server


@asynccontextmanager
async def served(
    *sources: Any,
    scheme: str = "memory",
    config: ServerConfig | None = None,
    interceptors: Sequence[Interceptor] = (),
    limits: Sequence[Limit] = (),
    authenticate: Any = None,
) -> AsyncIterator[Served]:
    """Serve `sources` and yield the target for clients; the server drains on leaving."""
    with address_of(scheme) as address:
        async with Server(
            *sources,
            interceptors=interceptors,
            limits=limits,
            authenticate=authenticate,
            config=config or ServerConfig(),
        ) as server:
            target = Served(await server.listen(address))
            target.server = server
            yield target


@contextmanager
def address_of(scheme: str) -> Iterator[str]:
    """Yield an address of this transport to listen at."""
    if scheme == "unix":
        with tempfile.TemporaryDirectory(prefix="fastrpc") as folder:
            yield f"unix://{Path(folder) / 'socket'}"
    else:
        yield {"tcp": "tcp://127.0.0.1:0", "memory": f"memory://test-{next(_numbers)}"}[scheme]
