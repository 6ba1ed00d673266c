"""Callers that go while nothing of them is read: their handlers, descriptors and calls do not stay."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fastrpc import TLS, Identity, Peer, Server, Timeouts
from fastrpc._core.loop.loop_state import loop_state
from fastrpc._core.server.memory_budget import bytes_held
from tests.support.certificates import Authority
from tests.support.descriptors import descriptors_come_back_to, open_descriptors
from tests.support.frame_factory import opening
from tests.support.held_caller import WAYS, Caller, Held, calling
from tests.support.http_talk import soon
from tests.support.raw_peer import raw_client
from tests.support.waiting import eventually
from tests.support.wire_frames import Auth, Request
from tests.support.wire_layout import FLAG_ONE_WAY

SCHEMES = ("tcp", "unix", "tls")

#: Runs a program in a separate network.
ALONE = ("unshare", "--map-root-user", "--net")

ENDINGS: dict[str, Callable[[Caller], None]] = {
    "end": Caller.end,
    "close": Caller.close,
    "reset": Caller.reset,
}


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TLS:
    return Authority(tmp_path_factory.mktemp("held")).certificate("DNS:localhost").tls()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_caller_that_leaves_after_unread_bytes_is_noticed(
    ending: str, way: str, scheme: str, tls: TLS, tmp_path: Path
) -> None:
    before = 0
    async with calling(scheme, tls, tmp_path, WAYS[way]) as (service, server, caller):
        before = open_descriptors()
        assert bytes_held() > 0
        ENDINGS[ending](caller)
        await eventually(lambda: caller.held.look() or service.cancelled.is_set())
        await eventually(lambda: not server._gate.engines)
        # The socket of the server is closed; the caller keeps its own where it only sends no more.
        assert await descriptors_come_back_to(before - (1 if ending == "end" else 2))
        assert server.stats()["live"]["calls"] == 0
        await eventually(lambda: bytes_held() == 0)
        assert len(caller.held) == 0


async def test_the_loop_looks_by_itself(tls: TLS, tmp_path: Path) -> None:
    async with calling("tcp", tls, tmp_path, WAYS["websocket"]) as (service, _, caller):
        caller.end()
        await soon(service.cancelled)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("way", WAYS)
async def test_a_caller_that_waits_is_not_ended(way: str, scheme: str, tls: TLS, tmp_path: Path) -> None:
    async with calling(scheme, tls, tmp_path, WAYS[way]) as (service, server, caller):
        for _ in range(5):
            caller.held.look()
            await asyncio.sleep(0)
        assert (len(server._gate.engines), len(caller.held)) == (1, 1)
        assert not service.cancelled.is_set()
        service.go.set()
        if way == "pipeline":
            caller.connected.settimeout(20)
            received = await asyncio.to_thread(caller.connected.recv, 4_096)
            assert received.startswith(b"HTTP/1.1 200")
            assert b'"done"' in received
        # It is read again.
        await eventually(lambda: not caller.held.look() and not len(caller.held))


@pytest.mark.measures
@pytest.mark.parametrize("way", WAYS)
async def test_a_caller_that_waits_for_long_is_not_ended(way: str, tls: TLS, tmp_path: Path) -> None:
    endless = Timeouts(call=None)
    async with calling("tcp", tls, tmp_path, WAYS[way], timeouts=endless) as (service, server, caller):
        await asyncio.sleep(15)
        assert (len(server._gate.engines), len(caller.held)) == (1, 1)
        assert not service.cancelled.is_set()
        service.go.set()
        await eventually(lambda: not caller.held.look() and not len(caller.held))


def has_own_network() -> bool:
    programs = ("unshare", "ip")
    return all(map(shutil.which, programs)) and subprocess.run([*ALONE, "true"], check=False).returncode == 0


@pytest.mark.measures
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("way", WAYS)
def test_a_caller_that_vanished_is_found_by_keepalive(way: str, loop: str) -> None:
    if not has_own_network():
        pytest.skip("this machine lets no program have a network of its own")
    arguments = ["-m", "tests.support.vanished_peer", way, "3", "3", loop]
    ended = subprocess.run(
        [*ALONE, sys.executable, *arguments], check=True, capture_output=True, text=True, timeout=60
    )
    # It is looked for once a second.
    assert float(ended.stdout) <= 3 + 3 + 1.5


class Verdicts:
    """The first credential of a connection is good at once, a later one when the test says so."""

    def __init__(self) -> None:
        self.asked = 0
        self.go = asyncio.Event()

    async def __call__(self, peer: Peer) -> Identity:
        self.asked += 1
        if self.asked > 1:
            await self.go.wait()
        return Identity("ada")


FIRST, SECOND = (Auth(b"bearer", token).encode() for token in (b"first", b"second"))


@pytest.mark.parametrize("is_busy", [False, True])
async def test_a_native_caller_that_leaves_before_its_verdict_is_noticed_if_it_has_calls(
    is_busy: bool,
) -> None:
    verdicts, service = Verdicts(), Held()
    async with Server(service, authenticate=verdicts) as server:
        async with raw_client(str(await server.listen("tcp://127.0.0.1:0"))) as peer:
            peer.send(opening(False), FIRST)
            if is_busy:
                peer.send(Request(1, b"held.wait", b"\x90", codec=1).encode())
                await soon(service.started)
            held = loop_state(asyncio.get_running_loop()).held_sockets
            await eventually(lambda: verdicts.asked)
            peer.send(SECOND, Request(3, b"held.note", b"\x90", codec=1, flags=FLAG_ONE_WAY).encode())
            await eventually(lambda: verdicts.asked == 2 and len(held))
            peer._writer.write_eof()
            if is_busy:
                await eventually(lambda: held.look() or service.cancelled.is_set())
                await eventually(lambda: not server._gate.engines)
            else:
                for _ in range(5):
                    held.look()
                    await asyncio.sleep(0)
                assert len(server._gate.engines) == 1
            verdicts.go.set()
            await eventually(lambda: not server._gate.engines)
        # No call of it was under way: its last frame counts.
        assert service.notes == (0 if is_busy else 1)
