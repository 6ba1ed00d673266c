"""Honest use that looks like an attack, during attacks: nothing in time is refused, no connection ends."""

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from fastrpc import Client, DeadlineExceededError
from tests.support.certificates import Authority, Certificate
from tests.support.held_server import Held
from tests.support.http_talk import HttpClient, request
from tests.support.kept_process import ROOT
from tests.support.measured_overload import MANY_CALLS, HeldServer

pytestmark = [pytest.mark.measures, pytest.mark.one_loop]

#: The attacks, each with the given number of connections, until they are ended.
ATTACKS = {"one_way": 1, "expired": 1, "rpcx_heartbeat": 1, "jsonrpc_socket": 1}
ATTACK_SECONDS = 120

REST_SECONDS = 20.0
#: The time of a call that comes after a rest, or after other calls of its connection.
SHORT_SECONDS = 1.0

HELD_SECONDS = 3.0
PIPELINED = 20

#: More than the windows of a stream and of its connection.
BLOCKS, BLOCK_BYTES = 400, 50_000

NOTIFICATIONS = 100_000
DEADLINES = 10_000
#: More than twice the time to begin them all: next to expired calls the server refuses calls that waited longer.
DEADLINE_SECONDS = 5.0
#: How long a notification may wait: the five that flood share a part of each turn, and a burst takes more than a second
#: of it on a slow machine.
QUEUE_AGE = 5.0


@contextmanager
def attacked(port: int) -> Iterator[None]:
    """Flood a server meanwhile."""
    attacks = []
    for kind, connections in ATTACKS.items():
        told = json.dumps({"kind": kind, "connections": connections, "seconds": ATTACK_SECONDS})
        command = [sys.executable, "-m", "tests.support.unanswered", str(port), told]
        attacks.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True))
    try:
        for attack in attacks:
            assert attack.stdout is not None
            assert attack.stdout.readline() == "flooding\n"
        yield
        # No client was thrown out.
        assert [attack.poll() for attack in attacks] == [None] * len(attacks)
    finally:
        for attack in attacks:
            attack.kill()
            with attack:
                pass


@asynccontextmanager
async def kept(address: str) -> AsyncIterator[Client]:
    """Yield a client that has one connection, and still has it at the end."""
    async with Client(address) as client:
        await client.ready()
        [session] = client._pool.connections
        yield client
        assert client._pool.connections == [session]


async def rest(address: str) -> None:
    """Rest, then make calls that have little time."""
    async with kept(address) as client, await HttpClient.to(address) as http:
        for seconds in (0.0, REST_SECONDS):
            await asyncio.sleep(seconds)
            assert await client.with_options(timeout=SHORT_SECONDS).call("held.echo", 1) == 1
            assert (await http.post("/held/echo", b'{"value":1}', Timeout_Ms="1000")).status == 200


async def wait_in_a_pipeline(address: str) -> None:
    """Send requests after one that takes longer than their deadline."""
    async with await HttpClient.to(address) as http:
        http.send(request("POST", "/held/slept", {"seconds": HELD_SECONDS}))
        for _ in range(PIPELINED):
            http.send(request("POST", "/held/echo", {"value": 1}, Timeout_Ms=f"{1000 * SHORT_SECONDS:.0f}"))
        told = [(await http.response()).status for _ in range(1 + PIPELINED)]
    assert told == [200] * (1 + PIPELINED)


async def wait_for_credit(address: str) -> None:
    """Send a stream whose handler takes no message for 15 s."""
    async with kept(address) as client:
        async with client.with_options(timeout=60).open(Held.summed) as stream:
            for _ in range(BLOCKS):
                await stream.send(bytes(BLOCK_BYTES))
            await stream.end()
            assert await stream.receive() == BLOCKS * BLOCK_BYTES


async def notify_at_once(address: str) -> None:
    """Send notifications in one burst: each one runs."""
    async with kept(address) as client:
        before = await client.call("held.said")
        for _ in range(NOTIFICATIONS):
            await client.notify("held.say")
        ends = time.monotonic() + 10
        while (said := await client.call("held.said") - before) < NOTIFICATIONS and time.monotonic() < ends:
            await asyncio.sleep(0.05)
        assert said == NOTIFICATIONS


async def expire_at_once(address: str) -> None:
    """Make calls whose deadlines pass at the same time."""
    async with kept(address) as client:
        view = client.with_options(timeout=DEADLINE_SECONDS)
        calls = [view.call("held.slept", 60.0) for _ in range(DEADLINES)]
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert [error for error in found if not isinstance(error, DeadlineExceededError)] == []
        assert await view.call("held.echo", 1) == 1


async def reconnect(port: int, certificate: Certificate) -> None:
    """Connect by TLS 1.2, and five times with the last session."""
    done = await asyncio.to_thread(
        subprocess.run,
        [
            *("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_2", "-reconnect"),
            *("-alpn", "fastrpc/1", "-CAfile", str(certificate.cert_file)),
        ],
        input="Q\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^(?:New|Reused), TLSv1.2", done.stdout, re.MULTILINE)) == 6, done.stdout


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("spin", [0, 200])
async def test_honest_use_continues_beside_floods(spin: int, loop: str, tmp_path: Path) -> None:
    certificate = Authority(tmp_path).certificate()
    files = [str(certificate.cert_file), str(certificate.key_file)]
    with (
        HeldServer(
            tmp_path,
            loop=loop,
            spin=spin,
            certificate=files,
            calls=MANY_CALLS,
            admission={"queue_age": QUEUE_AGE},
        ) as server,
        attacked(server.port),
    ):
        address = f"tcp://127.0.0.1:{server.port}"
        async with asyncio.TaskGroup() as uses:
            for use in (rest, wait_in_a_pipeline, wait_for_credit):
                uses.create_task(use(address))
            # One burst after the other: more than a second of work may be refused in part (`Admission.queue_age`).
            await notify_at_once(address)
            await expire_at_once(address)
            uses.create_task(reconnect(server.tls_port, certificate))
