"""`serve` with a registry: one record for all workers, taken out before the drain."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fastrpc import Endpoint, SyncClient
from fastrpc.coordination import RegistryService
from fastrpc.registries.base.record import decode_record
from tests.support.program import WAIT_SECONDS, Program

SERVE = """
import json
import logging
import os
import sys

import fastrpc
from fastrpc.endpoint import Address
from fastrpc.workers.plan import Plan
from fastrpc.workers.serve import run


@fastrpc.service("work", version="3")
class Work:
    @fastrpc.method
    async def where(self) -> int:
        return os.getpid()

    @fastrpc.method
    async def until_drained(self) -> str:
        print("begun", flush=True)
        await fastrpc.current_call().draining
        print("told", flush=True)
        return "finished"


if __name__ == "__main__":
    logging.basicConfig()
    options = json.loads(sys.argv[1])
    timeouts = fastrpc.Timeouts(announce=options.get("announce", 0.0), linger=0.1)
    sys.exit(run(Plan(
        load=lambda: [Work],
        addresses=tuple(map(Address.parse, options["addresses"])),
        workers=options["workers"],
        registry=options["registry"],
        advertise=tuple(options.get("advertise", ())),
        config=fastrpc.ServerConfig(timeouts=timeouts),
        on_started=lambda started: print("at", *started.addresses, *started.process_ids, flush=True),
    )))
"""

#: Its registry never says whether it took the record.
UNANSWERED = """
import asyncio
import contextlib
import sys

import fastrpc
from serving import Work


class Unanswered:
    @contextlib.asynccontextmanager
    async def register(self, service, endpoint):
        print("registers", endpoint, flush=True)
        await asyncio.Event().wait()
        yield

    def watch(self, service):
        raise NotImplementedError

    async def aclose(self):
        pass


if __name__ == "__main__":
    config = fastrpc.ServerConfig(timeouts=fastrpc.Timeouts(announce=3.0))
    fastrpc.serve(
        Work, address="tcp://127.0.0.1:0", registry=Unanswered(), workers=int(sys.argv[1]), config=config
    )
"""

SIMPLE = """
import fastrpc
import sys
from serving import Work

if __name__ == "__main__":
    fastrpc.serve(Work, address="tcp://0.0.0.0:0", registry=sys.argv[1], advertise="tcp://10.0.0.7:0")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "serving.py").write_text(SERVE)
    (tmp_path / "simple.py").write_text(SIMPLE)
    (tmp_path / "unanswered.py").write_text(UNANSWERED)
    return tmp_path


@pytest.fixture(params=[1, 2], ids=["one process", "two workers"])
def workers(request: pytest.FixtureRequest) -> int:
    count: int = request.param
    return count


@pytest.fixture
def registry(folder: Path) -> Iterator[str]:
    with Program(["-m", "fastrpc", "registry", "-a", "tcp://127.0.0.1:0"], folder) as program:
        yield program.wait_output(r"registry at (\S+)\n")[1]


def serving(folder: Path, registry: str, workers: int, **options: Any) -> Program:
    values = {"addresses": ["tcp://127.0.0.1:0"], "workers": workers, "registry": registry} | options
    return Program(["serving.py", json.dumps(values)], folder)


def place(registry: str) -> str:
    return registry.replace("registry://", "tcp://")


def listed(registry: str) -> list[Endpoint]:
    with SyncClient(place(registry)) as client:
        return [decode_record(one) for one in client.call(RegistryService.watch, "work").records]


def state(registry: str) -> str:
    """Return a value that changes with each write to the list."""
    with SyncClient(place(registry)) as client:
        return client.call(RegistryService.watch, "work").cursor


def children(program: Program) -> set[int]:
    listed = Path(f"/proc/{program.process_id}/task/{program.process_id}/children")
    return {int(one) for one in listed.read_text().split()}


def wait_until(condition: Callable[[], object]) -> None:
    until = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_one_record_represents_all_workers_and_is_removed_at_the_end(
    folder: Path, registry: str, workers: int
) -> None:
    with serving(folder, registry, workers) as program:
        address = program.wait_output(r"^at (\S+) ")[1]
        (endpoint,) = listed(registry)
        assert (str(endpoint), endpoint.version) == (address, "3")
        program.signal(signal.SIGTERM)
        ended = program.wait()
    assert (ended.code, ended.errors) == (0, "")
    assert listed(registry) == []


def test_record_is_removed_before_calls_see_the_drain(folder: Path, registry: str, workers: int) -> None:
    with serving(folder, registry, workers, announce=1.0) as program:
        address = program.wait_output(r"^at (\S+) ")[1]
        with SyncClient(address) as client:
            client.notify("work.until_drained")
            program.wait_output("begun")
            program.signal(signal.SIGTERM)
            wait_until(lambda: not listed(registry))
            assert client.call("work.where") > 0
            assert "told" not in program.output
            program.wait_output("told")
        assert program.wait().code == 0


def test_a_server_drains_if_it_is_stopped_before_the_registry_has_answered(
    folder: Path, workers: int
) -> None:
    with Program(["unanswered.py", str(workers)], folder) as program:
        address = program.wait_output(r"^registers (\S+)$")[1]
        with SyncClient(address) as client, ThreadPoolExecutor(1) as pool:
            answer = pool.submit(client.with_options(timeout=WAIT_SECONDS).call, "work.until_drained")
            program.wait_output("begun")
            program.signal(signal.SIGTERM)
            # It takes connections while it announces the drain, of those that have found it in the registry.
            for _ in range(10):
                with SyncClient(address) as other:
                    assert other.call("work.where") > 0
            assert answer.result() == "finished"
        assert program.wait().code == 0


def test_worker_that_ends_takes_nothing_out(folder: Path, registry: str) -> None:
    with serving(folder, registry, 2) as program:
        address, first = program.wait_output(r"^at (\S+) (\d+) ").groups()
        before = listed(registry)
        os.kill(int(first), signal.SIGTERM)
        wait_until(lambda: int(first) not in children(program))
        assert listed(registry) == before
        with SyncClient(address) as client:
            assert client.call("work.where") != int(first)
        program.signal(signal.SIGTERM)
        assert program.wait().code == 0


def test_the_process_that_keeps_a_registration_is_started_again(folder: Path, registry: str) -> None:
    with serving(folder, registry, 2) as program:
        process_ids = {int(one) for one in program.wait_output(r"^at \S+ (\d+) (\d+)").groups()}
        (announcer,) = children(program) - process_ids
        before = state(registry)
        os.kill(announcer, signal.SIGKILL)
        program.wait_errors("announcer ended: killed by SIGKILL")
        wait_until(lambda: state(registry) != before)
        program.signal(signal.SIGTERM)
        assert program.wait().code == 0
    # The new process removed the record that the killed one had left.
    assert listed(registry) == []


def test_a_server_serves_although_the_registry_is_away(folder: Path, workers: int) -> None:
    with serving(folder, "registry://127.0.0.1:1", workers) as program:
        address = program.wait_output(r"^at (\S+) ")[1]
        with SyncClient(address) as client:
            assert client.call("work.where") > 0
        program.signal(signal.SIGTERM)
        assert program.wait().code == 0


def test_killed_parent_leaves_nobody_in_the_registry(folder: Path, registry: str) -> None:
    with serving(folder, registry, 2) as program:
        program.wait_output(r"^at ")
        program.signal(signal.SIGKILL)
        wait_until(lambda: not listed(registry))


def test_listening_everywhere_needs_an_address_to_advertise(
    folder: Path, registry: str, workers: int
) -> None:
    with serving(folder, registry, workers, addresses=["tcp://0.0.0.0:0"]) as program:
        ended = program.wait()
    assert ended.code == 1
    assert "no client can dial it" in ended.errors
    assert "advertise=" in ended.errors
    assert listed(registry) == []


def test_addresses_are_advertised_in_their_order(folder: Path, registry: str, workers: int) -> None:
    addresses = ["tcp://0.0.0.0:0", f"unix://{folder / 's'}"]
    with serving(folder, registry, workers, addresses=addresses, advertise=["tcp://10.0.0.7:99"]) as program:
        program.wait_output(r"^at ")
        assert [str(one) for one in listed(registry)] == ["tcp://10.0.0.7:99"]


def test_serve_takes_registry_and_address(folder: Path, registry: str) -> None:
    with Program(["simple.py", registry], folder) as program:
        wait_until(lambda: listed(registry))
        (endpoint,) = listed(registry)
        assert endpoint.address.host == "10.0.0.7"
        with SyncClient(f"tcp://127.0.0.1:{endpoint.address.port}") as client:
            assert client.call("work.where") == program.process_id
