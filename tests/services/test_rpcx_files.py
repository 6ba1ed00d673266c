"""Files between rpcx itself, v1.9.4 for Go, and ours, in both directions."""

import asyncio
import json
from pathlib import Path

import pytest

from fastrpc import Client, ClientConfig, Server, ServerConfig
from fastrpc.auth import Identity, StaticTokens
from fastrpc.files.rpcx import RpcxFiles, download, upload
from tests.support.go_rpcx import go_server
from tests.support.transfers import content, digest_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

DATA = content(1_500_000, seed=1)


async def test_a_client_of_go_sends_files_to_our_server_and_fetches_them(
    go_rpcx: str, tmp_path: Path
) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    # A name for each codec: a client of Go does not learn when its file is stored, and a name has one writer at a time.
    sent = ["sent-msgpack", "sent-json"]
    for name in sent:
        (here / name).write_bytes(DATA)
    (there / "kept").write_bytes(DATA[::-1])
    config = ServerConfig(protocols=("native", "rpcx"))
    tokens = StaticTokens({"secret": Identity("gopher")})
    async with Server(RpcxFiles(there, writable=True), config=config, authenticate=tokens) as server:
        address = str(await server.listen("tcp://127.0.0.1:0")).removeprefix("tcp://")
        process = await asyncio.create_subprocess_exec(
            go_rpcx, "files", address, str(here), stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(60):
            output, _ = await process.communicate()
        found = json.loads(output)
        await eventually(lambda: all((there / name).exists() for name in sent))
    assert [(there / name).read_bytes() for name in sent] == [DATA, DATA]
    for codec in ("msgpack", "json"):
        assert found.pop(f"{codec} sent") is True
        assert found.pop(f"{codec} fetched") is True
        assert "is not the name of a file" in found.pop(f"{codec} outside")
        assert (here / f"fetched-{codec}").read_bytes() == DATA[::-1]
    assert found == {}


async def test_our_client_sends_files_to_a_server_of_go_and_fetches_them(
    go_rpcx: str, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (tmp_path / "a").write_bytes(DATA)
    speaks_rpcx = ClientConfig(wire_protocol="rpcx")
    async with go_server(go_rpcx, files=str(there)) as (target, _):
        async with Client(target, config=speaks_rpcx) as client:
            assert await upload(client, tmp_path / "a", "sent") == digest_of(DATA)
            assert (there / "sent").read_bytes() == DATA
            assert await download(client, "sent", tmp_path / "b") == digest_of(DATA)
    assert (tmp_path / "b").read_bytes() == DATA
