"""A failed handler leaves its trace where a program configures no logging, as in a notebook."""

import logging
from pathlib import Path

import pytest

import fastrpc
from fastrpc import CallError, ServerConfig
from fastrpc.escaping import UnheardErrors
from fastrpc.testing import connected
from tests.support.program import Finished, run_program

pytestmark = pytest.mark.one_loop

PROGRAM = """
import asyncio
import logging
import sys

import fastrpc
from fastrpc.testing import connected

{configured}

@fastrpc.service("bad")
class Bad:
    @fastrpc.method
    async def crash(self) -> int:
        logging.getLogger("fastrpc.server").warning("a warning")
        raise ValueError("sword\\x1bfish")

    @fastrpc.method
    def crash_in_thread(self) -> int:
        raise ValueError("swordfish")

async def main() -> None:
    async with fastrpc.Server(Bad) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with fastrpc.Client(str(address)) as client:
            for method in (Bad.crash, Bad.crash_in_thread):
                try:
                    await client.call(method)
                except fastrpc.CallError as error:
                    print(error.message)

asyncio.run(main())
"""

TRACED = """
from concurrent.futures import ThreadPoolExecutor

import fastrpc.grpc
import grpc

ours = grpc.server
grpc.server = lambda *given, **named: ours(*given, **named)
for _ in range(2):
    fastrpc.grpc.server(ThreadPoolExecutor(1))
"""


def output_of(folder: Path, configured: str = "") -> Finished:
    (folder / "bad.py").write_text(PROGRAM.replace("{configured}", configured))
    done = run_program(["bad.py"], folder)
    assert done.code == 0, done
    assert "the server's log has the reason under id" in done.output
    return done


def test_an_error_reaches_standard_error_and_a_warning_does_not(tmp_path: Path) -> None:
    done = output_of(tmp_path)
    identifiers = [line.rpartition(" ")[2] for line in done.output.splitlines()]
    for method, identifier in zip(("crash", "crash_in_thread"), identifiers, strict=True):
        assert done.errors.count(f"bad.{method} failed [{identifier}]") == 1
    assert done.errors.count("Traceback (most recent call last)") == 2
    assert r"ValueError: sword\x1bfish" in done.errors
    assert "a warning" not in done.errors


@pytest.mark.parametrize(
    ("configured", "errors", "warnings"),
    [
        ("logging.basicConfig()", 2, 1),
        ("logging.getLogger().addHandler(logging.NullHandler())", 0, 0),
        ("logging.getLogger('fastrpc').addHandler(logging.NullHandler())", 0, 0),
        ("logging.getLogger('fastrpc.server').addHandler(logging.StreamHandler())", 2, 1),
        ("logging.getLogger('fastrpc').propagate = False", 2, 0),
        ("logging.getLogger('fastrpc').setLevel(logging.CRITICAL)", 0, 0),
        ("logging.lastResort = None", 0, 0),
    ],
)
def test_logging_that_the_program_configures_is_kept(
    configured: str, errors: int, warnings: int, tmp_path: Path
) -> None:
    done = output_of(tmp_path, configured)
    assert done.errors.count("Traceback (most recent call last)") == errors
    assert done.errors.count("a warning") == warnings


@fastrpc.service("bad")
class Bad:
    @fastrpc.method
    async def crash(self) -> int:
        raise ValueError("swordfish")


async def test_connected_tells_the_reason_unless_a_config_says_otherwise() -> None:
    async with connected(Bad) as client:
        with pytest.raises(CallError, match="under id [0-9a-f]{8}: ValueError: swordfish$"):
            await client.call(Bad.crash)
    async with connected(Bad, config=ServerConfig()) as client:
        with pytest.raises(CallError, match="under id [0-9a-f]{8}$"):
            await client.call(Bad.crash)


def test_a_warning_about_the_program_itself_reaches_standard_error(tmp_path: Path) -> None:
    """Tracing that wraps functions of grpcio writes no span after the move: a program without logging reads why."""
    (tmp_path / "traced.py").write_text(TRACED)
    done = run_program(["traced.py"], tmp_path)
    assert (done.code, done.errors.count("which does not reach fastrpc.grpc.server: give it")) == (0, 1), done


def test_one_handler_takes_errors() -> None:
    found = [one for one in logging.getLogger("fastrpc").handlers if isinstance(one, UnheardErrors)]
    assert len(found) == 1
    assert not any(isinstance(one, logging.NullHandler) for one in logging.getLogger("fastrpc").handlers)
