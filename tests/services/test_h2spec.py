"""h2spec 2.2.1 asks a server about RFC 7540 and 7541, h2specd a client: all of their cases, strict ones too."""

import asyncio
import contextlib
import re
import socket
import sys
from pathlib import Path

import pytest

from fastrpc import Limits, Server, ServerConfig
from fastrpc._core.exchange.request_head import RequestLimits
from fastrpc._core.server.link import Link
from fastrpc.protocols.base import ServerParts, linked, register
from fastrpc.protocols.grpc import detect_http2
from fastrpc.tls import H2_ALPN
from fastrpc_harness.driven_pages import DrivenPages, DrivenRequest
from tests.support.certificates import Authority
from tests.support.driven_pages import page_wire
from tests.support.raw_methods import Raw
from tests.support.source_tree import ROOT

pytestmark = pytest.mark.one_loop

CASES = 146
CLIENT_CASES = 57

#: Exceeds the limit of frames by five long fields, and takes 16 KiB for the limit of every server: ours is 256 KiB.
FRAME_CASE = "/".join(("http2", "4.2", "3"))

#: Five fields of so many bytes are more, by the Huffman code as well; two are more than a header block may have.
LONG_FIELD = 61_000

#: A case sends the largest frame that a server takes as DATA, for any window.
WINDOW = 1_048_576


def answer(request: DrivenRequest) -> None:
    """Send a page: most cases want an answer of 200 with a body."""
    request.answer(200, b"Content-Type: text/plain\r\n", b"a page of the tests\n")


def paged_engine(parts: ServerParts) -> Link:
    """Make the engine of the server with a page."""
    return linked(page_wire(parts, DrivenPages(RequestLimits(), on_request=answer)), parts)


register("paged_grpc", detect_http2, paged_engine, agreed=(H2_ALPN,))


async def told(program: Path, *options: str) -> tuple[list[int], str]:
    """Run a program; return how many cases there are, passed, were skipped and failed, and its report."""
    process = await asyncio.create_subprocess_exec(
        program,
        "--strict",
        *options,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=ROOT,
    )
    async with asyncio.timeout(300):
        output, _ = await process.communicate()
    report = output.decode()
    found = re.search(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", report)
    assert found is not None, report
    return [int(number) for number in found.groups()], report


@pytest.mark.parametrize("is_encrypted", [False, True], ids=["plain", "tls"])
async def test_a_server_passes_every_case(h2spec_folder: Path, tmp_path: Path, is_encrypted: bool) -> None:
    tls = Authority(tmp_path).certificate().tls() if is_encrypted else None
    config = ServerConfig(
        protocols=("native", "paged_grpc"), tls=tls, limits=Limits(stream_window_bytes=WINDOW)
    )
    async with Server(Raw(), config=config) as server:
        address = await server.listen("tls://127.0.0.1:0" if is_encrypted else "tcp://127.0.0.1:0")
        options = ["--host", "127.0.0.1", "--port", str(address.port), "--path", "/page", "--timeout", "5"]
        if is_encrypted:
            options += ["--tls", "--insecure"]
        numbers, report = await told(h2spec_folder / "h2spec", *options)
        assert numbers == [CASES, CASES - 1, 0, 1], report
        assert (
            "Sends a large size HEADERS frame that exceeds the SETTINGS_MAX_FRAME_SIZE"
            in report.split("Failures:")[1]
        )
        numbers, report = await told(
            h2spec_folder / "h2spec", *options, "--max-header-length", str(LONG_FIELD), FRAME_CASE
        )
        assert numbers == [1, 1, 0, 0], report


def free_range(first: int, count: int) -> int:
    """Return the first of so many ports in a row, at which nothing listens: h2specd has one for each case."""
    # Below the ports that a system gives to those who ask for any.
    for port in range(first, first + 10_000, count):
        with contextlib.ExitStack() as stack:
            try:
                for taken in range(port, port + count):
                    stack.enter_context(socket.create_server(("127.0.0.1", taken)))
            except OSError:
                continue
            return port
    raise OSError(f"no {count} ports in a row are free")


# h2specd takes a client for silent after two seconds.
@pytest.mark.measures
async def test_clients_pass_every_case(h2spec_folder: Path) -> None:
    # Each waits for most of its minute, so they run side by side.
    reports = await asyncio.gather(
        *(
            told(
                h2spec_folder / "h2specd",
                *("--from-port", str(free_range(first, CLIENT_CASES))),
                *("--exec", f"{sys.executable} -m tests.support.single_call {kind}"),
            )
            for kind, first in (("loop", 12_000), ("blocking", 22_000))
        )
    )
    for numbers, report in reports:
        assert numbers == [CLIENT_CASES, CLIENT_CASES, 0, 0], report
