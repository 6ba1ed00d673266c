"""The Go client of Deimos, unchanged, against our dialect; and its lock as recorded, with the condition in a form."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from fastrpc.coordination import StoreService
from fastrpc.coordination.deimos.port import DeimosPort
from tests.support.deimos_vectors import deimos_server

pytestmark = [pytest.mark.one_loop, pytest.mark.conformance]

CONTENDERS = 50

EXPECTED = """\
set set /shop/a 1 false
update update /shop/a 2 false
update error deimos API err: [100] Key not found
get get /shop/a 2 false
directory set /shop/d  true
recursive get /shop 2
time set /shop/t 3 false
delete delete /shop/a  false
delete delete /shop/d  true
event set /shop/a 1 false
event update /shop/a 2 false
event set /shop/d  true
event set /shop/t 3 false
event delete /shop/a  false
event delete /shop/d  true
get error deimos API err: [100] Key not found
event expire /shop/t  false
delete delete /shop  true
"""


async def test_client_of_go_reads_writes_and_watches(go_deimos: str, tmp_path: Path) -> None:
    async with (
        StoreService(tmp_path / "store") as service,
        DeimosPort(service, "http://127.0.0.1:0") as port,
    ):
        command = [go_deimos, port.url]
        found = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, timeout=60, check=False
        )
    assert (found.stdout, found.stderr) == (EXPECTED, "")


async def test_lock_of_the_go_client_is_not_removed_by_another() -> None:
    """Each holder is late once: it releases a lock that is the next one's by then."""
    async with deimos_server() as server:
        removed = 0
        for number in range(CONTENDERS):
            late, holder = f"late-{number}", f"holder-{number}"
            taken = await server.ask("PUT", "/keys/l", f"prevExists=false&ttl=2&value={late}")
            assert taken.status == 201
            server.advance(3)
            assert (
                await server.ask("PUT", "/keys/l", f"prevExists=false&ttl=2&value={holder}")
            ).status == 201
            removed += (await server.ask("DELETE", "/keys/l", f"prevValue={late}")).status == 200
            assert (await server.ask("DELETE", "/keys/l", f"prevValue={holder}")).status == 200
        assert removed == 0
