"""Connections that open and close through a relay for minutes: relay and server keep their size."""

import asyncio
import os
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path

import pytest

from fastrpc import Client
from tests.conftest import SCALE
from tests.support.bombs import resident_bytes
from tests.support.client_hellos import hello_of_openssl
from tests.support.relay_process import Place, RelayedProcess, RelayProcess
from tests.support.relayed import RelayFiles

pytestmark = [pytest.mark.measures, pytest.mark.one_loop]

#: Minutes of a run; FASTRPC_TEST_RELAY_MINUTES sets another number.
MINUTES = float(os.environ.get("FASTRPC_TEST_RELAY_MINUTES", 30 if SCALE >= 10 else 0.5))

#: The part of a run after which a heap has its size.
WARM_UP = 1 / 3

#: Connections at the same time.
AT_ONCE = 16

MIB = 1 << 20

HELLO = hello_of_openssl("edge-7.localhost")
AWAY = hello_of_openssl("edge-9.localhost")

#: The address of connections that name no server. The relay refuses an address with more than 200 of these in a second.
WASTEFUL = ("127.0.0.2", 0)

#: On, with 0 seconds: a close is a reset.
RESET = struct.pack("ii", 1, 0)


class Churn:
    """Opens and closes connections through a relay until an instant."""

    def __init__(self, relay: RelayProcess) -> None:
        self._relay = relay
        self.opened = 0

    async def run(self, seconds: float) -> None:
        """Open and close in each way, one after the other, in `AT_ONCE` tasks."""
        until = time.monotonic() + seconds
        await asyncio.gather(*(self._run(number, until) for number in range(AT_ONCE)))

    async def _run(self, number: int, until: float) -> None:
        ways = (self._call, self._call, self._reset, self._ask_for_a_name_that_is_away, self._say_nothing)
        while time.monotonic() < until:
            await ways[number % len(ways)]()
            self.opened += 1
            number += 1

    async def _call(self) -> None:
        async with Client(self._relay.target(), config=self._relay.files.client) as client:
            assert await client.call(Place.here) == "here"

    async def _reset(self) -> None:
        """Leave in the handshake with the server."""
        with self._socket() as opened, suppress(ConnectionResetError):
            await self._say(opened, HELLO)
            assert await asyncio.get_running_loop().sock_recv(opened, 1)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    async def _ask_for_a_name_that_is_away(self) -> None:
        with self._socket() as opened, suppress(ConnectionResetError):
            opened.bind(WASTEFUL)
            await self._say(opened, AWAY)
            await asyncio.get_running_loop().sock_recv(opened, 1)

    async def _say_nothing(self) -> None:
        with self._socket() as opened, suppress(ConnectionResetError):
            opened.bind(WASTEFUL)
            await self._say(opened, b"")

    async def _say(self, opened: socket.socket, sent: bytes) -> None:
        """Connect and send first bytes."""
        loop = asyncio.get_running_loop()
        await loop.sock_connect(opened, ("127.0.0.1", self._relay.port))
        await loop.sock_sendall(opened, sent)

    def _socket(self) -> socket.socket:
        opened = socket.socket()
        opened.setblocking(False)
        return opened


async def test_relay_and_server_do_not_grow_while_connections_open_and_close(
    files: RelayFiles, tmp_path: Path
) -> None:
    relay = RelayProcess(files, tmp_path)
    server = RelayedProcess("tests.support.relay_process:Place", relay.target(), files, tmp_path)
    with relay.running(), server.running():
        processes = [relay.process_id, server.process_id]
        churn = Churn(relay)
        await churn.run(MINUTES * 60 * WARM_UP)
        before = [resident_bytes(process) for process in processes]
        warm = churn.opened
        await churn.run(MINUTES * 60 * (1 - WARM_UP))
        grown = [resident_bytes(process) - size for process, size in zip(processes, before, strict=True)]
    told = ", ".join(f"{size / MIB:.2f} MiB" for size in grown)
    print(f"{churn.opened - warm:,} connections behind {warm:,}: relay and server grew by {told}")
    assert max(grown) <= MIB
