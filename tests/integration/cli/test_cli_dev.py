"""Lines of `fastrpc dev`, one for each request and call, and the line of `serve` at a terminal."""

import asyncio
import contextlib
import http.client
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fastrpc import Client
from tests.support.http_versions import VERSIONS, http_client
from tests.support.program import Program

pytestmark = pytest.mark.one_loop

APP = """
import fastrpc


@fastrpc.service("shop")
class Shop:
    @fastrpc.method(safe=True)
    async def price(self, item: str) -> int:
        return len(item)


app = fastrpc.App([Shop], config=fastrpc.ServerConfig(protocols=("native", "http")))
"""

SERVED = """
import fastrpc
from app import Shop

if __name__ == "__main__":
    config = fastrpc.ServerConfig(protocols=("native", "http"))
    fastrpc.serve(Shop, address=["tcp://127.0.0.1:0", "tcp://127.0.0.1:0"], config=config, workers={workers})
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


async def asked(target: str, version: str = "1.1") -> None:
    """Make a request, a refused one, and a call."""
    async with http_client(version, target) as client, Client(target) as native:
        assert (await client.get("/shop/price?item=tea")).status == 200
        assert (await client.get("/nothing/%0A%1B")).status == 404
        assert await native.call("shop.price", "tea") == 3


@pytest.mark.parametrize("version", VERSIONS)
def test_a_line_is_printed_for_each_request_and_call(folder: Path, version: str) -> None:
    with Program(["-m", "fastrpc", "dev", "app:app", "-a", "tcp://127.0.0.1:0"], folder) as program:
        target = program.wait_output(r"(?s)serving at (\S+).*started")[1]
        # Its loop closes the connections.
        asyncio.run(asked(target, version))
        program.wait_output(r"\n\d\d:\d\d:\d\d GET /shop/price\?item=tea 200 OK \d+\.\d ms\n")
        program.wait_output(r"\n\d\d:\d\d:\d\d GET /nothing/%0A%1B 404 Not Found \d+\.\d ms\n")
        program.wait_output(r"\n\d\d:\d\d:\d\d native shop\.price OK \d+\.\d ms\n")
        # The new process prints as well.
        (folder / "app.py").write_text(APP + "\n# changed\n")
        program.wait_output("(?s)started.*started")
        asyncio.run(asked(target, version))
        program.wait_output(r"(?s)native shop\.price OK.*native shop\.price OK")
        program.signal(signal.SIGTERM)
        assert program.wait().code == 0


def test_a_kept_connection_makes_no_end_unclean(folder: Path) -> None:
    """The drain of `dev` is shorter than the second that a kept connection has for a last request."""
    with Program(["-m", "fastrpc", "dev", "app:app", "-a", "tcp://127.0.0.1:0"], folder) as program:
        host, port = program.wait_output(r"(?s)serving at tcp://(\S+):(\d+).*started").groups()
        with contextlib.closing(http.client.HTTPConnection(host, int(port))) as browser:
            browser.request("GET", "/shop/price?item=tea")
            assert browser.getresponse().read() == b"3"
            program.signal(signal.SIGINT)
            ended = program.wait()
    assert (ended.code, "cut off" in ended.errors, "cancelled" in ended.errors) == (0, False, False)


def test_quiet_leaves_the_lines_out(folder: Path) -> None:
    arguments = ["-m", "fastrpc", "dev", "app:app", "--quiet", "-a", "tcp://127.0.0.1:0"]
    with Program(arguments, folder) as program:
        target = program.wait_output(r"(?s)serving at (\S+).*started")[1]
        asyncio.run(asked(target))
        program.signal(signal.SIGTERM)
        ended = program.wait()
    assert (ended.code, "/shop/price" in ended.output, "native shop" in ended.output) == (0, False, False)


@pytest.mark.parametrize("workers", [1, 2])
def test_serve_tells_a_terminal_where_and_by_which_protocols(folder: Path, workers: int) -> None:
    (folder / "served.py").write_text(SERVED.format(workers=workers))
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "served.py"], cwd=folder, stdout=theirs, stderr=subprocess.PIPE
    ) as program:
        os.close(theirs)
        found = b""
        while not found.endswith(b"\n"):
            found += os.read(ours, 1_000)
        program.send_signal(signal.SIGTERM)
        assert program.wait(timeout=60) == 0
        assert program.stderr is not None
        assert program.stderr.read() == b""
    os.close(ours)
    place = r"tcp://127\.0\.0\.1:\d+"
    assert re.fullmatch(rf"serving at {place}, {place} by native, http", found.decode().strip())
