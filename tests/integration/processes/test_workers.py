"""Several workers: connections spread evenly, a roll fails no call, a worker that hangs is replaced."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from fastrpc import Client
from tests.support.fair_http import FairClients
from tests.support.http_talk import HttpClient
from tests.support.program import WAIT_SECONDS, Program
from tests.support.running_workers import CONNECTIONS, Callers, running
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


@pytest.mark.parametrize("clients", [1, CONNECTIONS])
async def test_connections_stay_even_over_a_roll_and_the_death_of_a_worker(
    clients: int, tmp_path: Path
) -> None:
    with running(tmp_path) as serving:
        callers = Callers(serving.address, clients=clients)
        first = await callers.until_even()
        assert first == set(serving.workers())
        serving.roll()
        await asyncio.to_thread(serving.program.wait_errors, "new workers serve, the old ones drain")
        second = await callers.until_even()
        assert second == set(serving.workers())
        assert not first & second
        assert callers.failures == []
        os.kill(min(second), signal.SIGKILL)
        third = await callers.until_even()
        assert len(third & second) == 3
        await callers.close()


async def test_rolls_fail_no_call(tmp_path: Path) -> None:
    with running(tmp_path) as serving:
        callers = Callers(serving.address, clients=8)
        await callers.until_even()
        for _ in range(3):
            before = set(serving.workers())
            serving.roll()
            await asyncio.to_thread(serving.program.wait_errors, "new workers serve, the old ones drain")
            async with asyncio.timeout(WAIT_SECONDS):
                while before & (await callers.shares(200)).keys():
                    pass
        await callers.close()
        assert callers.failures == []


async def test_rolls_in_quick_succession_fail_no_call(tmp_path: Path) -> None:
    with running(tmp_path) as serving:
        callers = Callers(serving.address, clients=8)
        await callers.until_even()
        for _ in range(4):
            # The connections to the workers that end now are younger than the first pause of the backoff.
            serving.roll()
            await asyncio.to_thread(serving.program.wait_errors, "new workers serve, the old ones drain")
        await callers.until_even()
        await callers.close()
        assert callers.failures == []


async def test_rolls_fail_no_request_over_kept_connections(tmp_path: Path) -> None:
    told = {"FASTRPC_ADVERTISE": "tcp://work.example:0", "FASTRPC_REGISTRY": "registry://127.0.0.1:1"}
    environment = {"FASTRPC_PROTOCOLS": "native,http", **told}
    with running(tmp_path, environment=environment) as serving:
        async with await HttpClient.to(serving.address) as client:
            # Workers take the advertised name as a Host.
            for host, status in (("work.example", 200), ("other.example", 421)):
                assert (await client.post("/work/nap", {}, Host=host)).status == status
        clients = FairClients([serving.address], "/work/nap", {})
        async with clients.running(32):
            for _ in range(2):
                enough = clients.answered + 200
                await eventually(lambda: clients.answered > enough)  # noqa: B023 - awaited at once
                serving.roll()
                await asyncio.to_thread(serving.program.wait_errors, "new workers serve, the old ones drain")
            enough = clients.answered + 200
            await eventually(lambda: clients.answered > enough)
        assert clients.failures == []
        # All of the first and of the second workers.
        assert clients.connections >= 3 * 32


async def test_a_roll_whose_workers_cannot_start_leaves_the_old_workers(tmp_path: Path) -> None:
    with running(tmp_path) as serving:
        callers = Callers(serving.address, clients=8)
        before = await callers.until_even()
        (tmp_path / "broken").touch()
        serving.roll()
        await asyncio.to_thread(
            serving.program.wait_errors, r"cannot start, the old workers stay: (.|\n)*no database"
        )
        assert await callers.until_even() == before
        (tmp_path / "broken").unlink()
        serving.roll()
        await asyncio.to_thread(serving.program.wait_errors, "new workers serve, the old ones drain")
        assert not await callers.until_even() & before
        await callers.close()
        assert callers.failures == []


async def test_a_worker_that_hangs_is_replaced_and_says_where(tmp_path: Path) -> None:
    with running(tmp_path, "--worker-timeout", "3") as serving:
        async with Client(serving.address) as client:
            victim = await client.call("work.where")
            hanging = asyncio.ensure_future(client.with_options(timeout=None).call("work.hang"))
            # The other workers serve meanwhile.
            others = [Client(serving.address) for _ in range(3)]
            served = {await other.with_options(timeout=20).call("work.where") for other in others}
            assert victim not in served
            for other in others:
                await other.close()
            await asyncio.to_thread(serving.program.wait_errors, rf"process {victim}\) hangs")
            await asyncio.to_thread(serving.program.wait_errors, r"work\.py\", line \d+ in hang")
            await asyncio.gather(hanging, return_exceptions=True)
            await asyncio.to_thread(serving.program.wait_errors, r"ended: killed by SIG(.|\n)*is process \d+")
            assert await client.with_options(timeout=20, wait_for_ready=True).call("work.where") != victim


async def test_a_worker_with_enough_calls_is_replaced_and_no_call_fails(tmp_path: Path) -> None:
    with running(tmp_path, "--max-calls", "300") as serving:
        callers = Callers(serving.address, clients=8)
        first = set(serving.workers())
        async with asyncio.timeout(WAIT_SECONDS):
            while first & (await callers.shares(200)).keys():
                pass
        await callers.close()
        assert callers.failures == []
        told = r"(this worker is replaced: calls served(.|\n)*?){4}"
        await asyncio.to_thread(serving.program.wait_errors, told)


IMPORTING = """
import sys

import fastrpc
from fastrpc import Client


@fastrpc.service("modules")
class Modules:
    def __init__(self) -> None:
        self._before = set(sys.modules)

    @fastrpc.method
    async def added(self) -> list[str]:
        Client("tcp://127.0.0.1:1")
        return sorted(name for name in sys.modules if name.startswith("fastrpc.client") and name not in self._before)
"""


async def test_workers_import_no_parts_of_clients_that_their_program_imported(tmp_path: Path) -> None:
    (tmp_path / "modules.py").write_text(IMPORTING)
    arguments = ["-m", "fastrpc", "run", "modules:Modules", "-w", "2", "-a", "tcp://127.0.0.1:0"]
    with Program(arguments, tmp_path) as program:
        address = program.wait_output(r"serving at (\S+) with 2 workers")[1]
        async with Client(address) as client:
            assert await client.call("modules.added") == []
