"""Connections from several addresses of this machine, and a program whose limits refuse some of them."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.support.admin_pages import fetch
from tests.support.http_talk import request
from tests.support.peer_writing import write_to
from tests.support.program import Program, command_line
from tests.support.scrapes import samples_of

__all__ = ["EdgedProgram", "connected", "edged_program", "is_served"]

PROGRAM = """
import os

import fastrpc
from fastrpc.handlers import life
from fastrpc.workers.monitoring import monitor

# A busy machine holds a worker up for longer than 0.2 s: the page would have its figures of a second ago.
monitor.ANSWER_SECONDS = 2.0
life.STRANGER_SECONDS = float(os.environ.get("MINUTE_SECONDS", life.STRANGER_SECONDS))


@fastrpc.service("who")
class Who:
    @fastrpc.method
    async def am_i(self) -> str:
        return str(fastrpc.current_call().peer.address.host)


app = fastrpc.App([Who])
"""

SETTINGS = """
app = "edged:app"
protocols = ["native", "http"]
admin_address = "tcp://127.0.0.1:0"
"""


@contextlib.asynccontextmanager
async def connected(port: int, source: str = "127.0.0.1") -> AsyncIterator[Any]:
    """Connect from an address of this machine."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def is_served(port: int, source: str = "127.0.0.1", first: bytes = b"") -> bool:
    """Return whether a request over a new connection gets an answer.

    Args:
        first: bytes before it.
    """
    try:
        async with connected(port, source) as (reader, writer):
            write_to(writer, first + request("GET", "/"))
            return bool(await reader.read(100))
    except ConnectionError:
        # Even the dial fails where the reset comes early.
        return False


class EdgedProgram:
    """The program, once it serves."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.port = int(program.wait_output(r"serving at tcp://127\.0\.0\.1:(\d+)")[1])
        self.admin = int(program.wait_errors(r"admin pages at tcp://127\.0\.0\.1:(\d+)")[1])

    async def refused(self) -> dict[str, float]:
        """Return the refusals by address and rate, as its admin page has them."""
        page = await asyncio.to_thread(fetch, self.admin, "/metrics")
        found = samples_of(page.text)
        name = "fastrpc_server_refused_total"
        return {
            reason: found[name, frozenset({("reason", reason)})] for reason in ("address", "connection_rate")
        }

    def told(self) -> list[tuple[int, str]]:
        """Return the number and the last address of each record of refusals that was read so far."""
        text = r"WARNING.*refused by Addresses or ConnectionRate: (\d+), the last of (\S+): "
        return [(int(count), host) for count, host in re.findall(text, self.program.errors)]


@contextlib.contextmanager
def edged_program(
    folder: Path,
    settings: str,
    *more: str,
    workers: int,
    environment: Mapping[str, str] | None = None,
) -> Iterator[EdgedProgram]:
    """Run the program.

    Args:
        settings: the end of its settings file.
        more: arguments of its command.
        environment: `MINUTE_SECONDS` is the time between two records of refusals.
    """
    (folder / "edged.py").write_text(PROGRAM)
    (folder / "fastrpc.toml").write_text(SETTINGS + settings)
    command = ["run", "--config", "fastrpc.toml", "--workers", str(workers), "--address", "tcp://127.0.0.1:0"]
    with command_line([*command, *more], folder, environment) as program:
        yield EdgedProgram(program)
