"""Independent programs reach a server behind a relay, and strace sees that the relay dials nothing."""

import asyncio
import base64
import hashlib
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import fastrpc
from fastrpc import HTTP, Client, Server, ServerConfig
from tests.support.arith import Arith
from tests.support.browsing import browsing
from tests.support.go_programs import GRPC_PROGRAMS
from tests.support.mounted import answering
from tests.support.relay_process import RelayProcess
from tests.support.relayed import RelayFiles, Relaying, relaying
from tests.support.traced import dialled_in, tracing

pytestmark = pytest.mark.one_loop

GRPCURL, _ = GRPC_PROGRAMS.names

PAGE = b"<!doctype html><title>app</title>"
HTML = [(b"content-type", b"text/html")]

CONFIG = ServerConfig(
    protocols=("native", "http", "grpc"),
    http=HTTP(mounts={"/": answering(PAGE, headers=HTML)}),
    # A relayed address is not a loopback address.
    reflection=True,
)

#: How a page calls.
FETCH = """
async ([path, argument]) => {
  const body = JSON.stringify(argument);
  const answer = await fetch(path, {method: "POST", headers: {"Content-Type": "application/json"}, body});
  return [answer.status, await answer.json()];
}
"""


@fastrpc.service("place")
class Place:
    @fastrpc.method
    async def peer(self) -> str:
        peer = fastrpc.current_call().peer
        assert peer is not None
        return peer.address.host


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> RelayFiles:
    return RelayFiles.made(tmp_path_factory.mktemp("relay"))


@asynccontextmanager
async def served(files: RelayFiles) -> AsyncIterator[Relaying]:
    async with relaying(files) as relay:
        await relay.serve(Arith, Place, config=CONFIG)
        yield relay


async def told(*command: str | Path) -> str:
    """Return the output of a program, which has to succeed."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output
    return output.decode()


@pytest.mark.conformance
async def test_grpcurl_lists_and_calls_a_server_behind_a_relay(
    grpc_programs: Path, files: RelayFiles
) -> None:
    async with served(files) as relay:
        trust = ("-cacert", files.authority.cert_file, "-authority", "edge-7.localhost")
        curl = (grpc_programs / GRPCURL, *trust)
        place = f"localhost:{relay.port}"
        assert {"arith", "place"} <= set((await told(*curl, place, "list")).split())
        answer = await told(*curl, "-d", '{"a": 6, "b": 7}', place, "arith/mul")
        assert json.loads(answer) == {"value": "42"}
        assert json.loads(await told(*curl, place, "place/peer")) == {"value": "127.0.0.1"}


def key_digest(certificate: Path) -> str:
    """Return the SHA-256 of the key in a certificate, as Chromium names keys that it trusts."""
    command = ["openssl", "x509", "-in", str(certificate), "-pubkey", "-noout"]
    pem = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    key = base64.b64decode("".join(pem.splitlines()[1:-1]))
    return base64.b64encode(hashlib.sha256(key).digest()).decode()


async def test_a_browser_calls_a_server_behind_a_relay(chromium: str, files: RelayFiles) -> None:
    async with served(files) as relay:
        options = (
            f"--host-resolver-rules=MAP edge-7.localhost 127.0.0.1:{relay.port}",
            f"--ignore-certificate-errors-spki-list={key_digest(files.edge.cert_file)}",
        )
        async with browsing(chromium, "https://edge-7.localhost/", *options) as page:
            assert await page.evaluate(FETCH, ["/arith/mul", {"a": 6, "b": 7}]) == [200, 42]
            assert await page.evaluate(FETCH, ["/place/peer", {}]) == [200, "127.0.0.1"]
        assert relay.relay.front.refusals.counts == {}


async def test_a_relay_dials_nothing(strace: str, files: RelayFiles, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    relay = RelayProcess(files, tmp_path, beneath=tracing(strace, trace))
    await asyncio.to_thread(relay.start)
    try:
        async with Server(Arith, config=ServerConfig(tls=files.edge.tls())) as server:
            await server.listen(relay.target() + files.options())
            for number in range(5):
                async with Client(relay.target(), config=files.client) as client:
                    assert await client.call(Arith.mul, number, 7) == number * 7
            async with Client(relay.target("edge-8"), config=files.client) as client:
                with pytest.raises(fastrpc.ConnectError):
                    await client.call(Arith.mul, 6, 7)
    finally:
        relay.kill()
    assert dialled_in(trace) == []
