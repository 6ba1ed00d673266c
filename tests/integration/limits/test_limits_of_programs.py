"""Limits of programs: `serve`, an App, workers that share the buckets of rates."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from fastrpc import OverloadedError, SyncClient
from tests.support.program import Program, command_line

CODE = """
import os

import fastrpc
from fastrpc.limits import RateLimit

LIMITS = [RateLimit(0.001, 10, methods="shop.buy")]


@fastrpc.service("shop")
class Shop:
    @fastrpc.method
    async def buy(self) -> int:
        return os.getpid()

    @fastrpc.method
    async def where(self) -> int:
        return os.getpid()


app = fastrpc.App([Shop], limits=LIMITS)


def make() -> fastrpc.App:
    return app


def main(kind: str, address: str, workers: str) -> None:
    if kind == "sources":
        fastrpc.serve(Shop, address=address, workers=int(workers), limits=LIMITS)
    else:
        fastrpc.serve(app if kind == "app" else make, address=address, workers=int(workers))


if __name__ == "__main__":
    import sys

    main(*sys.argv[1:])
"""


@contextmanager
def serving(folder: Path, kind: str, workers: int) -> Iterator[tuple[Program, str]]:
    (folder / "limited.py").write_text(CODE)
    address = f"unix://{folder / 'socket'}"
    if kind == "run":
        command = ["run", "limited:app", "--workers", str(workers), "--address", address]
        with command_line(command, folder) as program:
            yield program, address
    else:
        with Program(["limited.py", kind, address, str(workers)], folder) as program:
            yield program, address


def clients_of_each(stack: ExitStack, address: str, workers: int) -> dict[int, Any]:
    """Return a client for each worker, by its process."""
    found: dict[int, Any] = {}
    while len(found) < workers:
        client = stack.enter_context(SyncClient(address)).with_options(
            timeout=20, wait_for_ready=True, fail_mode="failfast"
        )
        found.setdefault(client.call("shop.where"), client)
    return found


def passed(client: Any, count: int) -> int:
    """Make calls; return how many were let in."""
    passed = 0
    for _ in range(count):
        try:
            client.call("shop.buy")
        except OverloadedError:
            continue
        passed += 1
    return passed


@pytest.mark.parametrize("kind", ["sources", "app", "function", "run"])
@pytest.mark.parametrize("workers", [1, 4])
def test_a_rate_is_shared_by_all_workers(workers: int, kind: str, tmp_path: Path) -> None:
    with serving(tmp_path, kind, workers) as (program, address), ExitStack() as stack:
        clients = clients_of_each(stack, address, workers)
        assert sum(passed(client, 8) for client in clients.values()) == min(10, 8 * workers)
        program.signal(signal.SIGTERM)
        assert program.wait().code == 0


def test_a_killed_worker_does_not_change_the_buckets(tmp_path: Path) -> None:
    with serving(tmp_path, "sources", 2) as (program, address), ExitStack() as stack:
        clients = clients_of_each(stack, address, 2)
        first, second = clients
        assert passed(clients[first], 6) == 6
        os.kill(first, signal.SIGKILL)
        assert passed(clients[second], 2) == 2
        again = stack.enter_context(SyncClient(address)).with_options(timeout=20, wait_for_ready=True)
        until(lambda: set(clients_now(address)) - {first, second} != set())
        assert passed(again.with_options(fail_mode="failfast"), 8) == 2
        program.signal(signal.SIGTERM)
        assert program.wait().code == 0


def clients_now(address: str) -> set[int]:
    """Return the processes that a few new connections reach."""
    found = set()
    for _ in range(4):
        with SyncClient(address) as client:
            found.add(client.with_options(timeout=20, wait_for_ready=True).call("shop.where"))
    return found


def until(fact: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not fact():
        if time.monotonic() > end:
            pytest.fail("it did not happen")
