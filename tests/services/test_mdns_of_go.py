"""Servers that we announce by multicast DNS are found by a Go program with zeroconf, and its servers by us."""

import asyncio
import os
import subprocess

import pytest

from fastrpc import Endpoint
from fastrpc.registries import open_registry
from tests.support.waiting import eventually

pytest.importorskip("zeroconf", reason="zeroconf is not installed")

pytestmark = pytest.mark.one_loop

URL = "mdns://?interface=lo"

#: Separate names: other runs on this machine hear these announcements.
OURS, THEIRS = (f"shop.{kind}-{os.getpid()}" for kind in ("ours", "go"))


async def test_go_finds_our_servers(go_mdns: str) -> None:
    registry = open_registry(URL)
    async with registry.register(OURS, Endpoint("tcp://10.0.0.1:81", zone="eu-1a")):
        command = [go_mdns, "browse", OURS]
        found = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, timeout=60, check=False
        )
    await registry.aclose()
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith(f"[10.0.0.1] 81 [service={OURS} record0={{")


async def test_servers_of_go_are_found_and_leave(go_mdns: str) -> None:
    registry = open_registry(URL)
    record = '{"v":1,"address":"tcp://10.0.0.3:80","zone":"eu-1b"}'
    with registry.watch(THEIRS) as watch:
        with subprocess.Popen(
            [go_mdns, "announce", THEIRS, record],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as program:
            expected = (Endpoint("tcp://10.0.0.3:80", zone="eu-1b"),)
            await eventually(lambda: watch.latest is not None and watch.latest.endpoints == expected)
        await eventually(lambda: watch.latest is not None and watch.latest.endpoints == ())
    assert program.returncode == 0
    await registry.aclose()
