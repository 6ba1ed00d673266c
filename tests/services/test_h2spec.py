"""h2spec 2.2.1 asks a server about RFC 7540 and 7541: all of its cases, strict ones too, in the clear and by TLS."""

import asyncio
import re
from pathlib import Path

import pytest

from fastrpc import Limits, Server, ServerConfig
from fastrpc.protocols.base import ServerParts, register
from fastrpc.protocols.grpc import detect_http2
from fastrpc.tls import H2_ALPN
from fastrpc_harness.paged_grpc import PagedGrpcServer
from tests.support.certificates import Authority
from tests.support.raw_methods import Raw

pytestmark = pytest.mark.one_loop

CASES = 146

#: Exceeds the limit of frames by five long fields, and takes 16 KiB for the limit of every server: ours is 256 KiB.
FRAME_CASE = "/".join(("http2", "4.2", "3"))

#: Five fields of so many bytes are more, by the Huffman code as well; two are more than a header block may have.
LONG_FIELD = 61_000

#: A case sends the largest frame that a server takes as DATA, whatever its window.
WINDOW = 1_048_576


def paged_engine(parts: ServerParts) -> PagedGrpcServer:
    """Make the engine of the server with a page: most cases want an answer of 200 with a body."""
    config = parts.config
    return PagedGrpcServer(
        gate=parts.gate,
        openings=parts.openings,
        timeouts=config.timeouts,
        keepalive=config.keepalive,
        limits=config.limits,
        memory=config.memory,
    )


register("paged_grpc", detect_http2, paged_engine, agreed=(H2_ALPN,))


async def asked(program: str, port: int | None, *options: str) -> tuple[list[int], str]:
    """Let h2spec ask a server; return how many cases there are, passed, were skipped and failed, and the report."""
    process = await asyncio.create_subprocess_exec(
        program,
        *(
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--path",
            "/page",
            "--strict",
            "--timeout",
            "5",
            *options,
        ),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(300):
        output, _ = await process.communicate()
    report = output.decode()
    found = re.search(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", report)
    assert found is not None, report
    return [int(number) for number in found.groups()], report


@pytest.mark.parametrize("is_encrypted", [False, True], ids=["plain", "tls"])
async def test_a_server_passes_every_case(h2spec: str, tmp_path: Path, is_encrypted: bool) -> None:
    tls = Authority(tmp_path).certificate().tls() if is_encrypted else None
    options = ("--tls", "--insecure") if is_encrypted else ()
    config = ServerConfig(
        protocols=("native", "paged_grpc"), tls=tls, limits=Limits(stream_window_bytes=WINDOW)
    )
    async with Server(Raw(), config=config) as server:
        address = await server.listen("tls://127.0.0.1:0" if is_encrypted else "tcp://127.0.0.1:0")
        numbers, report = await asked(h2spec, address.port, *options)
        assert numbers == [CASES, CASES - 1, 0, 1], report
        assert (
            "Sends a large size HEADERS frame that exceeds the SETTINGS_MAX_FRAME_SIZE"
            in report.split("Failures:")[1]
        )
        numbers, report = await asked(
            h2spec, address.port, *options, "--max-header-length", str(LONG_FIELD), FRAME_CASE
        )
        assert numbers == [1, 1, 0, 0], report
