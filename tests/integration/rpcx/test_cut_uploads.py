"""An upload to rpcx's `_filetransfer` that is cut off while its file is stored."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from fastrpc.files.partial_file import PartialFile
from fastrpc.files.rpcx import RpcxFiles
from fastrpc.files.rpcx.tickets import Ticket
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


class Sender:
    """The connection of a peer that sends a file."""

    async def receive(self) -> AsyncIterator[bytes]:
        yield b"abc"


async def test_an_upload_that_is_cut_off_while_it_is_stored_lets_go_of_its_folder(
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
