"""A cancelled dial leaks nothing and never touches another connection."""

import asyncio
import random
from contextlib import suppress
from pathlib import Path

import pytest

from fastrpc.endpoint import Address
from fastrpc.transports.base import DialOptions, ListenOptions, Transport, transport_for
from tests.conftest import Scale
from tests.support.descriptors import descriptors_come_back_to, open_descriptors
from tests.support.recording_session import RecordingSession, Sessions

LIVE = 8


@pytest.fixture(params=["tcp", "localhost", "unix", "memory"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Address:
    return {
        "tcp": Address("tcp", host="127.0.0.1"),
        "localhost": Address("tcp", host="localhost"),
        "unix": Address("unix", path=str(tmp_path / "socket")),
        "memory": Address("memory", path="cancelled"),
    }[request.param]


class Echo(RecordingSession):
    def buffer_updated(self, nbytes: int) -> None:
        super().buffer_updated(nbytes)
        if not self.transport.is_closing():
            self.transport.write(bytes(self.received[-nbytes:]))


class LiveTraffic:
    """Connections that write numbered lines of their own and expect exactly those back."""

    def __init__(self) -> None:
        self.sessions: list[RecordingSession] = []
        self.sent = [0] * LIVE
        self._stop = asyncio.Event()

    async def run(self, transport: Transport, address: Address) -> None:
        for _ in range(LIVE):
            _, session = await transport.dial(address, RecordingSession, DialOptions())
            self.sessions.append(session)
        number = 0
        while not self._stop.is_set():
            for index, session in enumerate(self.sessions):
                line = f"{index}:{number};".encode()
                session.transport.write(line)
                self.sent[index] += len(line)
            number += 1
            await asyncio.sleep(0)
        for index, session in enumerate(self.sessions):
            await session.until_received(self.sent[index])
            session.transport.close()
            await session.until_event("lost")

    def stop(self) -> None:
        self._stop.set()

    def check(self) -> None:
        for index, session in enumerate(self.sessions):
            lines = bytes(session.received).decode().split(";")[:-1]
            foreign = [line for number, line in enumerate(lines) if line != f"{index}:{number}"]
            assert foreign[:3] == []
            assert len(session.received) == self.sent[index]
            assert session.events == ["made", "lost"]
            assert session.loss is None


async def dial_and_give_up(
    transport: Transport, address: Address, chance: random.Random, made: list[RecordingSession]
) -> bool:
    """Dial, cancel after some turns of the loop or never; return whether the dial succeeded before that."""
    sessions = Sessions()
    task = asyncio.create_task(transport.dial(address, sessions, DialOptions()))
    turns = chance.randrange(16)
    for _ in range(turns):
        if task.done():
            break
        await asyncio.sleep(0)
    if turns > 11:
        # On a busy machine every dial may take longer: another thread looks the name up.
        await asyncio.wait([task])
    task.cancel()
    try:
        _, session = await task
    except asyncio.CancelledError:
        assert sessions.made == []
        return False
    made.append(session)
    session.transport.close()
    await session.until_event("lost")
    return True


async def test_cancelled_dials_leak_nothing_and_mix_nothing(address: Address, scale: Scale) -> None:
    transport = transport_for(address)
    server = Sessions(Echo)
    before = await descriptors_at_rest(transport, address)
    listener = await transport.listen(address, server, ListenOptions())
    traffic = LiveTraffic()
    talking = asyncio.create_task(traffic.run(transport, listener.address))
    chance = random.Random(33)
    made: list[RecordingSession] = []
    attempts = scale(400)
    succeeded = 0
    for start in range(0, attempts, 20):
        results = await asyncio.gather(
            *(
                dial_and_give_up(transport, listener.address, chance, made)
                for _ in range(start, min(start + 20, attempts))
            )
        )
        succeeded += sum(results)
        # libuv accepts one connection in a turn; without a pause the listener's queue would overflow.
        for _ in range(20):
            await asyncio.sleep(0)
    traffic.stop()
    await talking
    traffic.check()
    assert all(session.received == b"" for session in made)
    assert all(session.events.count("lost") == 1 for session in made)
    for session in server.made:
        await session.until_event("lost")
    listener.close()
    await listener.wait_closed()
    if address.scheme != "memory":
        assert 0 < succeeded < attempts
    assert await descriptors_come_back_to(before)


async def test_cancelled_listen_leaks_nothing(address: Address) -> None:
    transport = transport_for(address)
    before = await descriptors_at_rest(transport, address)
    for turns in range(6):
        task = asyncio.create_task(transport.listen(address, Sessions(), ListenOptions()))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            (await task).close()
    assert await descriptors_come_back_to(before)


async def descriptors_at_rest(transport: Transport, address: Address) -> int:
    """Count once the loop has the descriptors that it keeps."""
    (await transport.listen(address, Sessions(), ListenOptions())).close()
    return open_descriptors()
