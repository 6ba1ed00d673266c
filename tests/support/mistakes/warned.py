"""Mistakes that a program survives: the log has a warning, which is raised here."""

import asyncio
import inspect
import logging
import shutil
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fastrpc
from fastrpc import HTTP, Server, ServerConfig
from fastrpc.coordination.schedules import Schedules
from fastrpc.stores.local import LocalStore
from fastrpc.stores.sqlite import SqliteJournal
from fastrpc.testing import connected
from tests.support.mistakes.shop import Raisers, Shop, added_to, started
from tests.support.peer_writing import write_to
from tests.support.virtual_time import VirtualTimeLoop

__all__ = ["RAISERS"]

RAISERS: Raisers = []
raises = added_to(RAISERS)


class LoggedError(Exception):
    """A warning of the log."""


class _First(logging.Handler):
    """Keeps the first warning, and reports it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text: str | None = None
        self.came = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.WARNING and self.text is None:
            self.text = record.getMessage()
            self.came.set()


def warns(mistake: Any) -> Any:
    """Raise the first warning that a mistake leaves in the log."""

    async def raiser(folder: Path) -> None:
        logger, first = logging.getLogger("fastrpc"), _First()
        logger.addHandler(first)
        try:
            made = mistake(folder)
            if inspect.isawaitable(made):
                await made
            assert await asyncio.to_thread(first.came.wait, 20)
        finally:
            logger.removeHandler(first)
        raise LoggedError(first.text)

    raiser.__name__ = mistake.__name__
    return raises(raiser)


@warns
async def a_handler_that_blocks_the_loop(_: Path) -> None:
    @fastrpc.service("a")
    class Service:
        @fastrpc.method
        async def one(self) -> None:
            time.sleep(1.05)

    async with connected(Service()) as client:
        await client.call("a.one")


@warns
async def a_browser_at_a_native_port(_: Path) -> None:
    async with Server(Shop()) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        reader, writer = await asyncio.open_connection(address.host, address.port)
        write_to(writer, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.read()
        writer.close()


@warns
def tracing_that_wraps_grpcio(_: Path) -> None:
    import grpc

    import fastrpc.grpc
    from fastrpc.grpc import instrumentation

    server = grpc.server
    instrumentation._told.clear()
    grpc.server = lambda *given, **named: server(*given, **named)
    try:
        fastrpc.grpc.server(ThreadPoolExecutor(1))
    finally:
        grpc.server = server


@warns
async def a_route_taken_over_from_cors(_: Path) -> None:
    from fastapi import FastAPI
    from fastapi.middleware.cors import CORSMiddleware

    app = FastAPI()
    app.add_middleware(CORSMiddleware, allow_origins=["https://front.example"])
    app.add_api_route("/shop/{name}", lambda name: name, methods=["POST"])
    await started(Shop(), config=ServerConfig(protocols=("http",), http=HTTP(mounts={"/": app})))


@warns
async def any_host(_: Path) -> None:
    await started(Shop(), config=ServerConfig(protocols=("http",), http=HTTP(allowed_hosts=("*",))))


@warns
async def a_clock_that_is_set_back(_: Path) -> None:
    class Jobs:
        @fastrpc.scheduled(every=60, on="each")
        async def job(self) -> None:
            nonlocal offset
            offset = -3_600.0

    async def run() -> None:
        loop = asyncio.get_running_loop()
        schedules = Schedules(None, lambda: loop.time() + offset)
        schedules.add("jobs", Jobs())
        await asyncio.sleep(200)
        await schedules.stop()

    def run_apart() -> None:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(run())

    offset = 0.0
    await asyncio.to_thread(run_apart)


async def _stored(folder: Path) -> AsyncIterator[Path]:
    """Leave a folder as a killed store does; yield its log, then open it again."""
    async with LocalStore(SqliteJournal(folder / "alive")) as store:
        for number in range(20):
            await store.put(f"k/{number}", b"")
        shutil.copytree(folder / "alive", folder / "killed")
    yield folder / "killed" / "store.db-wal"
    async with LocalStore(SqliteJournal(folder / "killed")):
        pass


@warns
async def a_log_with_a_torn_end(folder: Path) -> None:
    async for log in _stored(folder / "torn"):
        log.write_bytes(log.read_bytes()[:-1])


@warns
async def a_log_that_is_gone(folder: Path) -> None:
    async for log in _stored(folder / "gone"):
        log.unlink()
