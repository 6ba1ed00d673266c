"""A good client of a store or registry next to a crowd that one change wakes, and next to a peer that churns."""

import asyncio
import json
import statistics
import subprocess
import sys
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from fastrpc import Client, Endpoint, FastRPCError
from fastrpc.coordination import RegistryService
from fastrpc.registries.base.record import encode_record
from tests.support.churning_peer import KINDS
from tests.support.ports import free_address
from tests.support.program import Program
from tests.support.source_tree import ROOT

pytestmark = [pytest.mark.measures, pytest.mark.one_loop]

WATCHERS = 1000
RECORDS = 1000
CONNECTIONS = 20

CHURN_SECONDS = 4.0
#: Beyond their ttl, so that leases end as fast as they are made.
LEASE_SECONDS = 9.0

#: Times below this depend on other work of the machine.
LEAST_P99 = 0.02


def started(module: str, *arguments: str) -> "subprocess.Popen[str]":
    """Start a module as a process, and return it once it has begun."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"tests.support.{module}", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begins\n"
    return process


def told(process: "subprocess.Popen[str]") -> dict[str, Any]:
    output, _ = process.communicate(timeout=60)
    found: dict[str, Any] = json.loads(output)
    return found


async def test_good_client_is_served_while_a_thousand_watchers_follow_a_long_list(tmp_path: Path) -> None:
    address = free_address()
    with Program(["-m", "fastrpc", "registry", "--address", address], tmp_path) as registry:
        registry.wait_output("registry://")
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(Client(address)) for _ in range(CONNECTIONS)]

            async def register(number: int) -> None:
                record = encode_record(Endpoint(f"tcp://10.0.{number // 250}.{number % 250}:80")).decode()
                await clients[0].call(RegistryService.register, "shop", record, 600.0)

            async def watch(client: Client, cursor: str) -> int | str:
                try:
                    found = await client.with_options(timeout=60).call(
                        RegistryService.watch, "shop", cursor, 55.0
                    )
                except FastRPCError as error:
                    return str(error)
                return len(found.records)

            for number in range(RECORDS):
                await register(number)
            cursor = (await clients[0].call(RegistryService.watch, "shop")).cursor
            watching = [
                asyncio.create_task(watch(clients[number % CONNECTIONS], cursor))
                for number in range(WATCHERS)
            ]
            # Behind the requests of each connection.
            await asyncio.gather(*(client.call("fastrpc.health.check", "") for client in clients))
            good = await asyncio.to_thread(
                started, "steady_client", address, "fastrpc.health.check", '[""]', "4"
            )
            await register(RECORDS)
            answers = Counter(await asyncio.gather(*watching))
            found = await asyncio.to_thread(told, good)
    assert answers == {RECORDS + 1: WATCHERS}
    assert (found["refused"], found["longest"] < 1.0) == ([], True), found


def test_good_client_is_served_while_a_peer_opens_and_closes_watches(tmp_path: Path) -> None:
    found: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        address = free_address()
        folder = tmp_path / kind
        folder.mkdir()
        with Program(["-m", "fastrpc", "store", "--address", address], folder) as store:
            store.wait_output("store://")
            churning = started("churning_peer", address, kind)
            try:
                seconds = LEASE_SECONDS if kind == "lease" else CHURN_SECONDS
                good = started("steady_client", address, "fastrpc.store.get", '["a"]', str(seconds))
                found[kind] = told(good)
            finally:
                churning.kill()
                churning.communicate()
    others = [one["p99"] for kind, one in found.items() if kind not in {"watch", "lease"}]
    for kind in ("watch", "lease"):
        assert found[kind]["kept"] >= 0.9, found
        assert found[kind]["p99"] <= 1.25 * max(statistics.median(others), LEAST_P99), found
