"""An upload to rpcx's `_filetransfer` that is cut off while its file is stored."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from fastrpc import Client, Server
from fastrpc._core.loop.loop_state import loop_state
from fastrpc.files.partial_file import PartialFile
from fastrpc.files.rpcx import RpcxFiles
from fastrpc.files.rpcx.tickets import Ticket
from tests.support.peer_writing import write_to
from tests.support.transfers import content
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


class Sender:
    """The connection of a peer that sends a file."""

    async def receive(self) -> AsyncIterator[bytes]:
        yield b"abc"


async def test_an_upload_that_is_cut_off_while_it_is_stored_frees_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish, has_come, may_finish = PartialFile.finish, threading.Event(), threading.Event()
    held: list[PartialFile] = []

    def slow_finish(partial: PartialFile) -> None:
        held.append(partial)
        has_come.set()
        may_finish.wait(30)
        finish(partial)

    monkeypatch.setattr(PartialFile, "finish", slow_finish)
    async with RpcxFiles(tmp_path, writable=True) as files:
        ticket = Ticket("", cast(Any, None), "a", 3)
        storing = asyncio.ensure_future(files._store(cast(Any, Sender()), ticket))
        await eventually(has_come.is_set)
        storing.cancel()
        may_finish.set()
        with pytest.raises(asyncio.CancelledError):
            await storing
        assert held[0]._place is None
        assert os.listdir(tmp_path) == ["a"]


async def test_the_last_byte_of_an_upload_that_is_held_back_does_not_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, may_write = PartialFile.write, threading.Event()

    def slow_write(partial: PartialFile, pieces: Any) -> None:
        may_write.wait(30)
        write(partial, pieces)

    monkeypatch.setattr(PartialFile, "write", slow_write)
    data = content(1_500_000, seed=3)
    async with Server(RpcxFiles(tmp_path, writable=True)) as server:
        async with Client(str(await server.listen("tcp://127.0.0.1:0"))) as client:
            held = loop_state(asyncio.get_running_loop()).held_sockets
            ticket = {"FileName": "a", "FileSize": len(data)}
            answer = await client.call("_filetransfer.TransferFile", ticket)
            host, _, port = answer["Addr"].rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            write_to(writer, answer["Token"] + data)
            writer.write_eof()
            await eventually(lambda: len(held))
            for _ in range(5):
                held.look()
                await asyncio.sleep(0)
            may_write.set()
            assert await reader.read() == b""
            writer.close()
    assert (tmp_path / "a").read_bytes() == data
