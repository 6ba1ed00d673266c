"""The records of a server about its life on the logger `fastrpc.server`."""

import asyncio
import logging
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, Client, Server, ServerConfig, SyncClient, Timeouts
from fastrpc.handlers import life
from fastrpc.registries import StaticRegistry
from tests.support.peer_writing import write_to
from tests.support.program import Program
from tests.support.served import served
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

LOGGER = "fastrpc.server"


@fastrpc.service("texts")
class Texts:
    def __init__(self) -> None:
        self.inside = asyncio.Event()

    @fastrpc.method
    async def same(self, text: str) -> str:
        return text

    @fastrpc.method
    async def hold(self) -> None:
        self.inside.set()
        await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def _levels(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.DEBUG, LOGGER):
        yield


def told(caplog: pytest.LogCaptureFixture, level: int = logging.INFO) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name == LOGGER and one.levelno == level]


async def strange(address: str, first: bytes) -> None:
    """Connect, send bytes of another protocol, and wait until the server hangs up."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    write_to(writer, first)
    while await reader.read(1000):
        pass
    writer.close()
    await writer.wait_closed()


async def test_listening_and_both_ends_of_a_drain_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    async with served(Texts, scheme="tcp") as address, Client(address) as client:
        assert told(caplog) == [f"listening at {address}"]
        await client.call(Texts.same, "a")
        assert told(caplog) == [f"listening at {address}"]
    began, ended = told(caplog)[1:]
    assert began == "the drain began: calls under way: 0"
    assert re.fullmatch(r"the drain ended after \d+\.\d s", ended)


async def test_calls_that_a_drain_cuts_off_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    texts = Texts()
    config = ServerConfig(timeouts=Timeouts(drain=0.01))
    async with Client("memory://life-cut") as client:
        async with Server(texts, config=config) as server:
            await server.listen("memory://life-cut")
            call = asyncio.ensure_future(client.call(Texts.hold))
            await texts.inside.wait()
        with pytest.raises(CallError, match="the server stops"):
            await call
    assert "the drain began: calls under way: 1" in told(caplog)
    assert told(caplog, logging.WARNING) == ["calls cut off after 0.01 s of drain (Timeouts.drain): 1"]


async def test_connections_and_refused_calls_are_told_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    async with served(Texts, scheme="tcp") as address:
        async with Client(address) as client:
            await client.ready()
            with pytest.raises(CallError):
                await client.call("texts.none", 1)
        await eventually(lambda: any("ended" in text for text in told(caplog, logging.DEBUG)))
    texts = told(caplog, logging.DEBUG)
    assert any(re.fullmatch(r"a connection of tcp://127\.0\.0\.1:\d+ opened", text) for text in texts)
    assert any("refused a call of" in text and "texts.none" in text for text in texts)
    assert any(re.match(r"the connection of tcp://127\.0\.0\.1:\d+ ended", text) for text in texts)


async def test_text_of_a_peer_is_escaped(caplog: pytest.LogCaptureFixture) -> None:
    async with served(Texts, scheme="tcp") as address:
        await strange(address, b"\x1b[31m\x9b hello")
        async with Client(address) as client:
            with pytest.raises(CallError):
                await client.call("texts.\x1b[31mnone", 1)
    assert not any("\x1b" in text or "\x9b" in text for text in told(caplog) + told(caplog, logging.DEBUG))


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"PRI * HTTP/2.0"])
async def test_a_stranger_is_told_with_its_first_bytes(
    first: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(Texts, scheme="tcp") as address:
        await strange(address, first)
        texts = told(caplog)[1:]
    assert len(texts) == 1
    assert re.match(
        r"connections that do not speak fastrpc: 1, the last of tcp://127\.0\.0\.1:\d+: ", texts[0]
    )
    assert repr(first[:8]) in texts[0] or repr(first[:4])[2:-1] in texts[0]


async def test_many_strangers_are_reported_once_a_minute_by_their_number(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(Texts, scheme="tcp") as address:
        for _ in range(5):
            await strange(address, b"GET / HTTP/1.1\r\n\r\n")
        strangers = [text for text in told(caplog) if "do not speak" in text]
        assert len(strangers) == 1
    strangers = [text for text in told(caplog) if "do not speak" in text]
    assert len(strangers) == 2
    assert "fastrpc: 4, the last of" in strangers[1]
    monkeypatch.setattr(life, "STRANGER_SECONDS", 0.01)
    async with served(Texts, scheme="tcp") as address:
        caplog.clear()
        for _ in range(3):
            await strange(address, b"GET / HTTP/1.1\r\n\r\n")
        await eventually(lambda: sum(one.count for one in caplog.records if hasattr(one, "count")) == 3)


async def test_the_first_registration_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    async with Server(Texts, registry=StaticRegistry()) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        server.set_serving(False, service="texts")
        server.set_serving(True, service="texts")
        await server.listen("tcp://127.0.0.1:0")
    registered = [text for text in told(caplog) if "registered" in text]
    assert registered == [f"registered at {address}: texts"]


SERVED = """
import logging
import sys
import fastrpc

logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s")

@fastrpc.service("texts")
class Texts:
    @fastrpc.method
    async def same(self, text: str) -> str:
        return text

if len(sys.argv) > 2 and sys.argv[3:] == ["metrics"]:
    from prometheus_client import REGISTRY
    from fastrpc import metrics
    REGISTRY.register(metrics.collector())
fastrpc.serve(Texts, address=sys.argv[1], workers=int(sys.argv[2]))
"""


def lived(folder: Path, workers: int, *more: str) -> str:
    """Return the log of a serving program between its start and its end."""
    address = f"unix://{folder / 'socket'}"
    with Program(["-c", SERVED, address, str(workers), *more], folder) as program:
        with SyncClient(address) as client:
            patient = client.with_options(timeout=20, wait_for_ready=True)
            assert patient.call("texts.same", "a") == "a"
        program.signal(signal.SIGTERM)
        ended = program.wait()
    assert ended.code == 0
    return ended.errors


@pytest.mark.parametrize("workers", [1, 3])
def test_a_program_with_workers_tells_its_life_once(workers: int, tmp_path: Path) -> None:
    lines = [line for line in lived(tmp_path, workers).splitlines() if line.startswith(LOGGER)]
    listening = [line for line in lines if "listening at unix://" in line]
    assert len(listening) == 1
    assert ("with 3 workers" in listening[0]) == (workers == 3)
    assert sum("the drain began" in line for line in lines) == 1
    assert sum("the drain ended" in line for line in lines) == 1
    started = [line for line in lines if re.search(r"worker \d is process \d+", line)]
    assert len(started) == (workers if workers > 1 else 0)


@pytest.mark.parametrize(("workers", "warns"), [(1, 0), (2, 1)])
def test_a_collector_that_shows_no_calls_of_workers_is_reported_once(
    workers: int, warns: int, tmp_path: Path
) -> None:
    pytest.importorskip("prometheus_client")
    text = "collector() shows no calls in this process"
    assert lived(tmp_path, workers, "metrics").count(text) == warns
    assert lived(tmp_path, workers).count(text) == 0


def test_the_docstring_says_where_metrics_of_workers_are() -> None:
    assert "Each worker process counts its own calls" in str(fastrpc.metrics.collector.__doc__)


async def test_a_connection_with_a_call_logs_nothing_at_the_usual_level(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """At the usual level a connection writes nothing."""
    # `set_level` would restore the level of the fixture after the test, and leave it set for later tests.
    with caplog.at_level(logging.INFO, LOGGER):
        await check_silent(caplog)


async def check_silent(caplog: pytest.LogCaptureFixture) -> None:
    async with served(Texts, scheme="tcp") as address, Client(address) as client:
        before: list[Any] = list(caplog.records)
        await client.call(Texts.same, "a")
        assert caplog.records == before
