"""A server of rpcx's `_filetransfer` whose files end at another length than announced."""

import asyncio
import contextlib
import os
from pathlib import Path

import pytest

from fastrpc import CallError, Status
from fastrpc.files.rpcx import download
from tests.integration.rpcx.test_file_transfers import Place, calling
from tests.support.peer_writing import write_to

pytestmark = pytest.mark.one_loop


async def test_a_server_that_sends_more_bytes_than_announced_is_left_at_once(tmp_path: Path) -> None:
    place = Place(tmp_path)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Without an end.
        with contextlib.suppress(ConnectionError):
            while True:
                write_to(writer, bytes(65_536))
                await writer.drain()
        writer.close()

    (place.there / "a").write_bytes(bytes(100_000))
    endless = await asyncio.start_server(accept, "127.0.0.1", 0)
    host, port = endless.sockets[0].getsockname()
    async with endless, calling(place.files(advertise=f"{host}:{port}")) as client:
        async with asyncio.timeout(60):
            with pytest.raises(CallError, match="more than 100000 bytes") as caught:
                await download(client, "a", place.here / "a")
    assert caught.value.status is Status.DATA_LOSS
    assert os.listdir(place.here) == []
