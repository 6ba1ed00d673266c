"""`Addresses` and `ConnectionRate` of programs with several workers: the supervisor refuses, and so do workers."""

import asyncio
import itertools
import os
import signal
from pathlib import Path

import pytest

from tests.support.admin_pages import fetch
from tests.support.edged import edged_program, is_served
from tests.support.header_proxy import header
from tests.support.http_talk import HttpClient

pytestmark = pytest.mark.one_loop

DENIED = """
[addresses]
deny = ["127.0.0.2/32"]
"""

RATE = """
[connection_rate]
rate = 0.001
burst = {burst}
"""

#: The addresses in headers count, not the address of the proxy itself, which is denied.
TOLD_ADDRESSES = """
[addresses]
deny = ["10.0.0.0/8", "127.0.0.1/32"]
"""


@pytest.mark.parametrize("workers", [1, 4])
async def test_workers_count_connections_like_one_process(workers: int, tmp_path: Path) -> None:
    with edged_program(tmp_path, DENIED + RATE.format(burst=10), workers=workers) as serving:
        port = serving.port
        assert [await is_served(port, "127.0.0.2") for _ in range(4)] == [False] * 4
        assert sum([await is_served(port, "127.0.0.3") for _ in range(24)]) == 10
        assert sum([await is_served(port, "127.0.0.4") for _ in range(12)]) == 10


async def test_refusals_of_several_workers_are_counted_and_told_once(tmp_path: Path) -> None:
    with edged_program(tmp_path, DENIED + RATE.format(burst=1), workers=4) as serving:
        assert await serving.refused() == {"address": 0, "connection_rate": 0}
        assert [await is_served(serving.port, "127.0.0.2") for _ in range(5)] == [False] * 5
        assert [await is_served(serving.port, "127.0.0.3") for _ in range(3)] == [True, False, False]
        assert await serving.refused() == {"address": 5, "connection_rate": 2}
        overview = await asyncio.to_thread(fetch, serving.admin, "/", Accept="application/json")
        assert overview.json["refused"] == {"address": 5, "connection_rate": 2}
        serving.program.signal(signal.SIGTERM)
        ended = await asyncio.to_thread(serving.program.wait)
        assert ended.code == 0
        assert serving.told() == [(1, "127.0.0.2"), (6, "127.0.0.3")]


async def test_the_supervisor_tells_further_refusals_without_a_further_event(tmp_path: Path) -> None:
    with edged_program(tmp_path, DENIED, workers=2, environment={"MINUTE_SECONDS": "0.5"}) as serving:
        assert [await is_served(serving.port, "127.0.0.2") for _ in range(4)] == [False] * 4
        # Two records, or more of them where the machine stalls.
        for records in itertools.count(2):
            found = rf"(?s)(refused by Addresses or ConnectionRate: .*?){{{records}}}"
            await asyncio.to_thread(serving.program.wait_errors, found)
            if sum(count for count, _ in serving.told()) == 4:
                break
        assert serving.told()[0] == (1, "127.0.0.2")


async def test_refusals_outlive_each_process_but_the_supervisor(tmp_path: Path) -> None:
    control = ("--control", str(tmp_path / "control"))
    with edged_program(tmp_path, DENIED, *control, workers=2) as serving:
        program = serving.program
        seen = []

        async def refuse(connections: int) -> None:
            for _ in range(connections):
                assert not await is_served(serving.port, "127.0.0.2")
            seen.append((await serving.refused())["address"])

        await refuse(5)
        monitor = int(program.wait_errors(r"monitor is process (\d+)")[1])
        program.errors = ""
        program.signal(signal.SIGHUP)
        await asyncio.to_thread(program.wait_errors, "new workers serve, the old ones drain")
        await refuse(0)
        os.kill(monitor, signal.SIGKILL)
        await asyncio.to_thread(program.wait_errors, r"monitor is process \d+")
        await refuse(0)
        await refuse(2)
        assert seen == [5, 5, 5, 7]
        with edged_program(tmp_path, DENIED, *control, "--takeover", workers=2) as new:
            assert (await asyncio.to_thread(program.wait)).code == 0
            assert (new.port, new.admin) == (serving.port, serving.admin)
            assert (await new.refused())["address"] == 0
            await refuse(1)
        assert seen[-1] == 1


# Behind proxies


async def test_workers_judge_the_address_that_the_proxy_protocol_tells(tmp_path: Path) -> None:
    settings = 'proxy_protocol = ["127.0.0.0/8"]\n' + TOLD_ADDRESSES + RATE.format(burst=1)
    with edged_program(tmp_path, settings, workers=2) as serving:
        hosts = ["11.0.0.1", "10.0.0.1", "11.0.0.2"]
        assert [await is_served(serving.port, first=header(host)) for host in hosts] == [True, False, True]
        assert await serving.refused() == {"address": 1, "connection_rate": 0}
        # The workers share their counts.
        for again in (1, 2, 3):
            assert not await is_served(serving.port, first=header("11.0.0.1"))
            assert await serving.refused() == {"address": 1, "connection_rate": again}


async def test_workers_judge_the_clients_of_trusted_proxies(tmp_path: Path) -> None:
    settings = TOLD_ADDRESSES + RATE.format(burst=1) + '\n[http]\ntrusted_proxies = ["127.0.0.0/8"]\n'
    with edged_program(tmp_path, settings, workers=2) as serving:

        async def asked(told: str) -> int:
            # Each over a separate connection: they go to the workers by turns.
            async with await HttpClient.to(f"tcp://127.0.0.1:{serving.port}") as client:
                return (await client.post("/who/am_i", {}, X_Forwarded_For=told)).status

        assert [await asked(host) for host in ("11.0.0.1", "10.0.0.1", "11.0.0.2")] == [200, 403, 200]
        assert await serving.refused() == {"address": 1, "connection_rate": 0}
        for again in (1, 2, 3):
            assert await asked("11.0.0.1") == 429
            assert await serving.refused() == {"address": 1, "connection_rate": again}
