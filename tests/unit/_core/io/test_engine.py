"""A stream and its engine: each holds or borrows the other, and either may go first."""

import asyncio
import gc
import subprocess
import sys
import weakref

import pytest

from fastrpc import Client
from fastrpc._core.io.engine import Engine, PythonEngine
from fastrpc._core.io.session import Session
from tests.support.served import served
from tests.support.shop import Shop
from tests.support.source_tree import ROOT
from tests.support.still_transport import StillTransport
from tests.support.waiting import eventually


class Silent(PythonEngine):
    """Says nothing; it can be watched."""


async def test_an_engine_has_one_stream() -> None:
    engine = Silent()
    session = Session(engine, loop=asyncio.get_running_loop())
    assert engine.stream is session
    with pytest.raises(RuntimeError, match="already bound: each engine has one stream"):
        Session(engine, loop=asyncio.get_running_loop())


async def test_a_stream_holds_its_engine() -> None:
    engine = Silent()
    watch = weakref.ref(engine)
    session = Session(engine, loop=asyncio.get_running_loop())
    del engine
    gc.collect()
    assert session.engine is watch()


async def test_an_engine_outlives_its_stream() -> None:
    engine = Silent()
    session = Session(engine, loop=asyncio.get_running_loop())
    session.connection_made(StillTransport())
    session.connection_lost(None)
    del session
    gc.collect()
    assert (engine.stream, engine.transport, engine.peer_name) == (None, None, None)
    engine.send(b"x")
    engine.schedule_check(1)
    engine.close()
    engine.abort()


@pytest.mark.parametrize("has_output", [False, True])
async def test_a_stream_and_its_engine_go_without_the_collector(has_output: bool) -> None:
    engine = Silent()
    watch = weakref.ref(engine)
    session = Session(engine, loop=asyncio.get_running_loop())
    session.connection_made(StillTransport())
    gc.disable()
    try:
        if has_output:
            engine.send(b"x")
        session.connection_lost(None)
        # Answers that come too late have nowhere to go.
        engine.send(b"y")
        await asyncio.sleep(0)
        engine.send(b"z")
        await asyncio.sleep(0)
        del session, engine
        assert watch() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("scheme", ["tcp", "unix", "memory"])
async def test_a_connection_that_ends_goes_without_the_collector(scheme: str) -> None:
    def alive() -> int:
        return sum(isinstance(one, Session | Engine) for one in gc.get_objects())

    async with served(Shop, scheme=scheme) as target:
        gc.collect()
        gc.disable()
        try:
            before = alive()
            async with Client(target) as client:
                await client.call(Shop.price, "apple")
                assert alive() > before
            del client
            await eventually(lambda: alive() == before)
        finally:
            gc.enable()


async def test_an_engine_names_its_peer_and_its_transport() -> None:
    engine, transport = Silent(), StillTransport()
    assert (engine.transport, engine.peer_name) == (None, None)
    session = Session(engine, loop=asyncio.get_running_loop())
    session.connection_made(transport)
    assert (engine.transport, engine.peer_name) == (transport, "nobody")
    engine.abort()
    assert transport.is_aborted


async def test_an_engine_without_a_protocol_takes_everything_and_says_nothing() -> None:
    engine, transport = Engine(), StillTransport()
    session = Session(engine, loop=asyncio.get_running_loop())
    session.connection_made(transport)
    session.get_buffer(-1)[:3] = b"any"
    session.buffer_updated(3)
    assert (transport.written, session.is_put_off) == (b"", False)
    session.connection_lost(None)
    assert engine.is_closed


FEED_WITHOUT_INIT = """
import asyncio, importlib, inspect, pkgutil
import fastrpc._core as core
from fastrpc._core.wire.settings import usual_settings
from fastrpc._core.io.engine import Engine
from fastrpc._core.io.session import Session
from tests.support.frame_factory import opening, request
from tests.support.still_transport import StillTransport

def attempt(action, *arguments):
    try:
        action(*arguments)
    except Exception:
        pass

async def feed(kind, id, early):
    engine = kind.__new__(kind)
    session = Session(engine, loop=asyncio.get_running_loop())
    def receive(data):
        session.get_buffer(-1)[: len(data)] = data
        session.buffer_updated(len(data))
    if not early:
        attempt(session.connection_made, StillTransport())
    if hasattr(engine, "announce"):
        attempt(engine.announce, usual_settings(True))
    for is_server in (False, True):
        for data in (opening(is_server), request(id, b"x"), request(id, bytes(70_000))[:40_000], bytes(100)):
            attempt(receive, data)
            await asyncio.sleep(0)
    for action in (session.pause_writing, session.resume_writing, session.eof_received, engine.abort):
        attempt(action)
    attempt(session.connection_lost, None)

for module in pkgutil.walk_packages(core.__path__, "fastrpc._core."):
    module = importlib.import_module(module.name)
    for kind in [one for one in vars(module).values() if inspect.isclass(one) and issubclass(one, Engine)]:
        if kind.__module__ == module.__name__:
            for id in (1, 2):
                for early in (False, True):
                    print(kind.__name__, id, early, flush=True)
                    asyncio.run(feed(kind, id, early))
"""


def test_no_engine_that_was_never_initialised_crashes_the_interpreter() -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FEED_WITHOUT_INIT],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
    )

    assert ended.returncode == 0, f"{ended.stdout.splitlines()[-1:]} {ended.stderr[-2000:]}"
    fed = {line.split()[0] for line in ended.stdout.splitlines()}
    assert fed >= {
        "Engine",
        "PythonEngine",
        "Connection",
        "ServerConnection",
        "ClientConnection",
    }
