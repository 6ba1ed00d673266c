"""Peers that fall silent: noticed in time, and nobody wrongly taken for one."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import fastrpc
from fastrpc import Client, ClientConfig, ConnectionLostError, Keepalive, ServerConfig, Timeouts
from tests.support.frame_factory import early_opening, opening
from tests.support.noted import Noted
from tests.support.proxy import Cut, FaultProxy
from tests.support.raw_peer import RawServer, raw_client
from tests.support.served import served
from tests.support.threaded_server import ThreadedServer
from tests.support.waiting import eventually
from tests.support.wire_frames import Goaway, Ping, SettingsFrame
from tests.support.wire_layout import Reason

#: A peer that says nothing for so long, and then nothing for so long to a ping, is given up.
KEEPALIVE = Keepalive(interval=0.5, timeout=0.5, minimum_interval=0.1)
#: The same where the time is measured.
MEASURED = Keepalive(interval=1, timeout=1, minimum_interval=0.1)
NOTICED_SECONDS = 2.5


@fastrpc.service("patient")
class Patient:
    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.told = asyncio.Event()

    @fastrpc.method
    async def wait(self) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.told.set()

    @fastrpc.method
    async def block(self, seconds: float) -> None:
        time.sleep(seconds)

    @fastrpc.method
    async def pid(self) -> int:
        return os.getpid()


@asynccontextmanager
async def waiting_calls(client: Client, count: int) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Make calls that only end when their connection does."""
    view = client.with_options(timeout=None)
    tasks = [asyncio.create_task(view.call(Patient.wait)) for _ in range(count)]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()


@pytest.mark.parametrize("is_one_way", [False, True])
async def test_both_sides_notice_a_silent_peer(is_one_way: bool) -> None:
    patient = Patient()
    config = ServerConfig(keepalive=KEEPALIVE)
    async with served(patient, scheme="tcp", config=config) as target, FaultProxy(target) as proxy:
        async with Client(proxy.address, config=ClientConfig(keepalive=KEEPALIVE)) as client:
            async with waiting_calls(client, 10) as tasks:
                await patient.started.wait()
                # One way only: nothing comes to the client, all that it sends arrives.
                (proxy.downstream if is_one_way else proxy).hold()
                async with asyncio.timeout(20):
                    await asyncio.wait(tasks)
            errors = [task.exception() for task in tasks]
            assert all(isinstance(error, ConnectionLostError) for error in errors)
            assert all("a ping included" in str(error) for error in errors)
            if not is_one_way:
                async with asyncio.timeout(20):
                    await patient.told.wait()
            proxy.resume()


@pytest.mark.measures
async def test_a_stopped_server_process_is_noticed_in_time() -> None:
    program = "from tests.integration.faults.test_liveness import main; main()"
    root = str(Path(__file__).parents[3])
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join((root, *sys.path))},
    )
    try:
        assert process.stdout is not None
        address = await asyncio.to_thread(process.stdout.readline)
        async with Client(address.strip(), config=ClientConfig(keepalive=KEEPALIVE)) as client:
            assert await client.call(Patient.pid) == process.pid
            async with waiting_calls(client, 3) as tasks:
                os.kill(process.pid, signal.SIGSTOP)
                async with asyncio.timeout(NOTICED_SECONDS):
                    await asyncio.wait(tasks)
                assert all(isinstance(task.exception(), ConnectionLostError) for task in tasks)
    finally:
        process.kill()
        process.communicate()


def main() -> None:
    """Serve at a free port until killed, and print the address."""

    async def serve() -> None:
        async with fastrpc.Server(Patient()) as server:
            print(await server.listen("tcp://127.0.0.1:0"), flush=True)
            await server.serve_forever()

    asyncio.run(serve())


async def test_a_handler_that_blocks_the_loop_drops_nobody() -> None:
    keepalive = Keepalive(interval=0.3, timeout=0.6, minimum_interval=0.05)
    patient = Patient()
    with ThreadedServer(patient, config=ServerConfig(keepalive=keepalive)) as server:
        async with Client(server.address, config=ClientConfig(keepalive=keepalive)) as client:
            session = await connected_session(client)
            for _ in range(3):
                await client.call(Patient.block, 0.5)
            assert client._pool.connections == [session]
            assert (await server.stats())["live"]["connections"] == 1


async def test_a_client_that_blocks_its_loop_drops_nobody() -> None:
    keepalive = Keepalive(interval=0.2, timeout=0.2, minimum_interval=0.05)
    with ThreadedServer(Patient()) as server:
        async with Client(server.address, config=ClientConfig(keepalive=keepalive)) as client:
            session = await connected_session(client)
            for _ in range(3):
                # Longer than interval and timeout added up: pings are due, and answers lie unread.
                time.sleep(0.5)
                await asyncio.sleep(0.15)
            assert await client.call(Patient.pid) == os.getpid()
            assert client._pool.connections == [session]


async def connected_session(client: Client) -> object:
    await client.ready()
    return client._pool.connections[0]


async def test_idle_peers_stay_connected_by_their_pings() -> None:
    keepalive = Keepalive(interval=0.1, timeout=0.2, minimum_interval=0.05)
    config = ServerConfig(keepalive=keepalive)
    async with served(Patient(), scheme="tcp", config=config) as target:
        async with Client(target, config=ClientConfig(keepalive=keepalive)) as client:
            session = await connected_session(client)
            await eventually(lambda: session.control.pings_sent >= 5)  # type: ignore[attr-defined]
            assert client._pool.connections == [session]


@pytest.mark.parametrize("said", ["nothing", "half a preface", "no acknowledgement"])
async def test_an_opening_that_is_not_finished_is_closed(said: str) -> None:
    config = ServerConfig(timeouts=Timeouts(handshake=0.3, linger=0.1))
    async with served(Patient(), scheme="tcp", config=config) as target, raw_client(target) as peer:
        if said == "half a preface":
            peer.send(opening(False)[:4])
        elif said == "no acknowledgement":
            peer.send(early_opening(False))
            goaway = await peer.next(Goaway)
            assert goaway.reason == Reason.HANDSHAKE_TIMEOUT
            assert b"0.3 s" in goaway.text
        await peer.ended()
        await eventually(lambda: target.server.stats()["live"]["connections"] == 0)


async def test_a_server_that_never_answers_the_opening_fails_the_calls_unprocessed() -> None:
    config = ClientConfig(timeouts=Timeouts(handshake=0.3, linger=0.1))
    async with RawServer() as server, Client(server.address, config=config) as client:
        with pytest.raises(fastrpc.UnavailableError) as failed:
            await client.call(Patient.wait)
        assert failed.value.processed == "no"
        assert server.address in str(failed.value)


async def test_pings_that_come_too_fast_strike() -> None:
    config = ServerConfig(keepalive=Keepalive(minimum_interval=3600))
    async with served(Patient(), scheme="tcp", config=config) as target, raw_client(target) as peer:
        peer.send(opening(False))
        await peer.next(SettingsFrame)
        peer.send(*(Ping(bytes([number] * 8)).encode() for number in range(4)))
        goaway = await peer.next(Goaway)
        assert goaway.reason == Reason.CALM_DOWN
        answers = [frame for frame in peer.frames if isinstance(frame, Ping)]
        # The first one is free, then come two warnings without words.
        assert len(answers) == 3
        await peer.ended()


async def test_pings_in_time_never_strike() -> None:
    config = ServerConfig(keepalive=Keepalive(minimum_interval=0.02))
    async with served(Patient(), scheme="tcp", config=config) as target, raw_client(target) as peer:
        peer.send(opening(False))
        await peer.next(SettingsFrame)
        for number in range(10):
            peer.send(Ping(bytes([number] * 8)).encode())
            assert (await peer.next(Ping)).ack
            await asyncio.sleep(0.02)
        assert not [frame for frame in peer.frames if isinstance(frame, Goaway)]


async def test_a_dead_peer_that_reads_nothing_is_noticed_too() -> None:
    """Half open: the client is gone, and the server gets no notice."""
    patient = Patient()
    config = ServerConfig(keepalive=Keepalive(interval=0.3, timeout=0.3, minimum_interval=0.05))
    async with served(patient, scheme="tcp", config=config) as target, FaultProxy(target) as proxy:
        proxy.upstream.cut = Cut.BLACKHOLE
        async with Client(proxy.address) as client, waiting_calls(client, 2):
            await patient.started.wait()
            proxy.upstream.cut_after = 1
            await patient.told.wait()
            await eventually(lambda: target.server.stats()["live"]["connections"] == 0)


async def test_a_connection_is_watched_from_its_opening_on_without_a_handshake_timeout() -> None:
    keepalive = Keepalive(interval=0.2, timeout=0.2, minimum_interval=0.05)
    config = ClientConfig(timeouts=Timeouts(handshake=None), keepalive=keepalive)
    async with served(Noted.__new__(Noted), scheme="tcp") as target, FaultProxy(target) as proxy:
        async with Client(proxy.address, config=config) as client:
            session = await connected_session(client)
            proxy.hold()
            await eventually(lambda: session not in client._pool.connections)
            proxy.resume()
