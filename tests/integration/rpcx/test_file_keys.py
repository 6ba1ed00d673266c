"""The keys of the file service: in JSON they are the tags in Go, else the names of Go's fields."""

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest

from fastrpc import Client, ClientConfig, Server, ServerConfig
from fastrpc.files.rpcx import RpcxFiles
from fastrpc.files.rpcx.service import SERVICE_NAME
from tests.support.http_talk import HttpClient
from tests.support.peer_writing import write_to

pytestmark = pytest.mark.one_loop

DATA = b"some bytes"
METHOD = f"{SERVICE_NAME}.DownloadFile"


async def read(token: bytes, place: str) -> bytes:
    """Show a token, and return the received bytes."""
    host, _, port = place.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    write_to(writer, token)
    try:
        return await reader.read(-1)
    finally:
        writer.close()


async def answer_by(wire: str, target: str) -> dict[str, Any]:
    """Ask for a file in JSON."""
    request = {"file_name": "file"}
    if wire == "http":
        async with await HttpClient.to(target) as talk:
            found = (await talk.post(f"/{METHOD.replace('.', '/')}", {"args": request})).value
    else:
        config = ClientConfig(wire_protocol=wire)  # type: ignore[arg-type]
        async with Client(target, config=config) as client:
            found = await client.with_options(codec="json").call(METHOD, request)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("wire", ["rpcx", "native", "http"])
async def test_keys_of_json_are_as_in_go(wire: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    config = ServerConfig(protocols=("native", "rpcx", "http"))
    async with Server(RpcxFiles(tmp_path), config=config) as server:
        answer = await answer_by(wire, str(await server.listen("tcp://127.0.0.1:0")))
        assert answer.keys() == {"token", "addr", "file_size"}
        assert answer["file_size"] == len(DATA)
        assert await read(base64.b64decode(answer["token"]), answer["addr"]) == DATA


@pytest.mark.parametrize("wire", ["rpcx", "native"])
async def test_keys_of_msgpack_are_the_fields_of_go(wire: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    async with Server(RpcxFiles(tmp_path), config=ServerConfig(protocols=("native", "rpcx"))) as server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        async with Client(target, config=ClientConfig(wire_protocol=wire)) as client:  # type: ignore[arg-type]
            answer = await client.call(METHOD, {"FileName": "file"})
        assert answer.keys() == {"Token", "Addr", "FileSize"}
        assert await read(answer["Token"], answer["Addr"]) == DATA
