"""A server of grpc-go, with nothing but its address: called, listed and measured on the command line, and by HTTP."""

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.http_talk import HttpClient
from tests.support.program import Finished, Program

pytestmark = pytest.mark.one_loop

SERVICE = "grpc.testing.TestService"


@asynccontextmanager
async def serving(path: str) -> AsyncIterator[str]:
    """Run the server, and yield its target."""
    process = await asyncio.create_subprocess_exec(path, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            line = (await process.stdout.readline()).decode()
        yield f"grpc://{line.split()[-1]}"
    finally:
        process.kill()
        await process.wait()


def command(folder: Path, *arguments: str, given: str = "") -> Finished:
    with Program(["-m", "fastrpc", *arguments], folder, stdin=subprocess.PIPE) as program:
        program.write(given)
        program.close_input()
        return program.wait()


async def told(*arguments: Any, given: str = "") -> Finished:
    return await asyncio.to_thread(command, *arguments, given=given)


async def test_its_methods_are_listed_called_and_measured(grpc_go_path: str, tmp_path: Path) -> None:
    async with serving(grpc_go_path) as target:
        listed = await told(tmp_path, "list", target)
        assert re.search(r"^  EmptyCall\(\) -> Empty$", listed.output, re.MULTILINE)
        assert re.search(r"FullDuplexCall\(stream .*\) -> stream .* both ways", listed.output)
        call = (tmp_path, "call", target)
        answer = await told(*call, f"{SERVICE}/UnaryCall", "response_size=3", 'payload={"body": "AAA="}')
        assert json.loads(answer.output) == {"payload": {"body": "AAAA"}}
        sizes = '{"responseParameters": [{"size": 1}, {"size": 2}]}'
        answer = await told(*call, f"{SERVICE}.StreamingOutputCall", sizes)
        assert [len(json.loads(line)["payload"]["body"]) for line in answer.output.splitlines()] == [4, 4]
        answer = await told(*call, f"{SERVICE}.FullDuplexCall", "-", given=f"{sizes}\n{sizes}\n")
        assert len(answer.output.splitlines()) == 4
        status = 'response_status={"code": 9, "message": "not today"}'
        answer = await told(*call, f"{SERVICE}.UnaryCall", status)
        assert (answer.code, answer.errors) == (1, "error: FAILED_PRECONDITION: not today\n")
        assert (await told(tmp_path, "health", target)).output == "SERVING\n"
        bench = ("bench", target, f"{SERVICE}.EmptyCall", "--seconds", "0.3", "--json")
        report = json.loads((await told(tmp_path, *bench)).output)
        assert (report["errors"], report["calls"] > 0) == ({}, True)


async def test_its_methods_are_called_by_http(grpc_go_path: str, tmp_path: Path) -> None:
    async with serving(grpc_go_path) as target:
        words = ["-m", "fastrpc", "gateway", "-r", target, "-a", "http://127.0.0.1:0"]
        with Program(words, tmp_path) as program:
            origin = program.wait_output(r"gateway at (\S+)\n")[1].replace("http://", "tcp://")
            async with await HttpClient.to(origin) as client:
                answer = await client.ask("POST", f"/{SERVICE}/UnaryCall", {"responseSize": 3})
                assert answer.value == {"payload": {"body": "AAAA"}}
                body = b'{"value":{"payload":{"body":"AAAA"}}}\n' * 2
                answer = await client.ask(
                    "POST", f"/{SERVICE}/StreamingInputCall", body, Content_Type="application/x-ndjson"
                )
                assert answer.value == {"aggregatedPayloadSize": 6}
