"""A server of rpcx's `_filetransfer` whose machine is gone before it stored its received bytes."""

import asyncio
import errno
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from fastrpc import UnavailableError
from fastrpc.endpoint import Address
from fastrpc.files.rpcx import transfer, upload
from fastrpc.files.rpcx.transfer import Sending
from tests.integration.rpcx.test_file_transfers import Place, calling

pytestmark = pytest.mark.one_loop


class Vanished(socket.socket):
    """A connection that keepalive has closed: the system reports the error once, and then the end of the stream."""

    was_told = False

    def recv(self, *_: Any) -> bytes:
        if self.was_told:
            return b""
        self.was_told = True
        while transfer._unsent(self):
            # Keepalive comes after the peer has got everything.
            time.sleep(0.001)
        raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))


async def test_an_upload_whose_server_vanished_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, dial = Place(tmp_path), Sending._dial

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        await is_over.wait()
        writer.close()

    def dial_vanished(sending: Sending, address: Address) -> socket.socket:
        sending._socket = Vanished(fileno=dial(sending, address).detach())
        return sending._socket

    monkeypatch.setattr(Sending, "_dial", dial_vanished)
    is_over = asyncio.Event()
    silent = await asyncio.start_server(accept, "127.0.0.1", 0)
    host, port = silent.sockets[0].getsockname()
    (place.here / "a").write_bytes(b"abc")
    async with silent, calling(place.files(advertise=f"{host}:{port}")) as client:
        try:
            with pytest.raises(UnavailableError, match=os.strerror(errno.ETIMEDOUT)):
                await upload(client, place.here / "a", "a")
        finally:
            is_over.set()
