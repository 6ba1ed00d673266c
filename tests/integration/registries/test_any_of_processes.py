"""Programs at `any://`: workers with one record, a program in the place of another, and servers that are killed."""

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, Server, SyncClient
from fastrpc.discovery.any_registry import AnyRegistry
from fastrpc.registries import StaticRegistry
from fastrpc.registries.host.folder import FOLDER_VARIABLE
from fastrpc.registries.host.node import HostNode
from tests.support.host_folder import host_folder, names_in
from tests.support.open_loop import OpenLoop
from tests.support.program import Program
from tests.support.running_workers import PROGRAM, Callers
from tests.support.successors import Successors, started
from tests.support.waiting import eventually
from tests.support.who import Who

pytestmark = pytest.mark.one_loop

#: A server that is called by its process number.
SERVER = """
import os

import fastrpc


@fastrpc.service("who")
class Who:
    @fastrpc.method(idempotent=True)
    async def name_of(self) -> str:
        return str(os.getpid())
"""


#: The variables of a program that is ready once it is registered.
READY = {"FASTRPC_READY_NEEDS_REGISTRY": "true", "FASTRPC_ADMIN_ADDRESS": "tcp://127.0.0.1:0"}


@pytest.fixture(autouse=True)
def folder() -> Iterator[Path]:
    with host_folder() as path:
        yield path


def program_at(
    folder: Path, *more: str, source: str = SERVER, name: str = "who:Who", **variables: str
) -> Program:
    """Start `fastrpc run --address any://` with the host folder."""
    module = name.partition(":")[0]
    (folder.parent / f"{module}.py").write_text(source)
    arguments = ["-m", "fastrpc", "run", name, "-a", "any://", "--json", *more]
    return Program(arguments, folder.parent, environment(folder) | variables)


def environment(folder: Path) -> dict[str, str]:
    return {FOLDER_VARIABLE: str(folder)}


async def serves(program: Program) -> dict[str, Any]:
    return await asyncio.to_thread(started, program)


@pytest.mark.parametrize("more", [(), ("--registry", "any://")])
@pytest.mark.parametrize("variables", [{}, READY])
async def test_a_program_of_one_process_is_found(
    folder: Path, more: tuple[str, ...], variables: dict[str, str]
) -> None:
    with program_at(folder, *more, **variables) as program:
        await serves(program)
        async with Client("any://who") as client:
            reply = await client.request("who.name_of")
        assert (reply.value, reply.endpoint.labels["scope"]) == (str(program.process_id), "host")
        program.signal(signal.SIGTERM)
        assert (await asyncio.to_thread(program.wait)).code == 0
    assert names_in(folder) == []


def test_a_server_for_development_is_refused_there(folder: Path) -> None:
    (folder.parent / "who.py").write_text(SERVER)
    arguments = ["-m", "fastrpc", "dev", "who:Who", "-a", "any://"]
    with Program(arguments, folder.parent, environment(folder)) as program:
        ended = program.wait()
    assert ended.code == 1
    assert "registers nothing, so no client finds it at any://" in ended.errors


async def test_workers_share_one_record_which_their_announcer_holds(folder: Path) -> None:
    with program_at(folder, "-w", "3", source=PROGRAM, name="work:Work") as program:
        said = await serves(program)
        assert [name.rpartition(".")[2] for name in names_in(folder)] == ["json", "sock"]
        callers = Callers("any://work", clients=4)
        assert (await callers.shares()).keys() == set(said["process_ids"])
        found = await fastrpc.discover("work")
        assert [one.scope for one in found] == ["host"]
        await callers.close()
        assert callers.failures == []
        announcer = announcer_of(program, said["process_ids"])
        os.kill(announcer, signal.SIGKILL)
        before = names_in(folder)
        await eventually(lambda: HostNode(str(folder)).services() == {"work"} and names_in(folder) != before)
        callers = Callers("any://work", clients=4)
        await callers.shares()
        await callers.close()
        assert callers.failures == []
        program.signal(signal.SIGTERM)
        assert (await asyncio.to_thread(program.wait)).code == 0
    assert names_in(folder) == []


def announcer_of(program: Program, workers: list[int]) -> int:
    path = Path(f"/proc/{program.process_id}/task/{program.process_id}/children")
    (found,) = {int(one) for one in path.read_text().split()} - set(workers)
    return found


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_program_takes_the_place_of_another_and_no_call_fails(folder: Path, workers: str) -> None:
    programs = Successors(folder.parent, ["-a", "any://", "-w", workers])
    with programs.program(environment=environment(folder)) as old:
        first = await serves(old)
        callers = Callers("any://work", clients=4)
        await callers.shares()
        with programs.program("--takeover", environment=environment(folder)) as new:
            second = await serves(new)
            assert second["addresses"] == first["addresses"]
            assert (await asyncio.to_thread(old.wait)).code == 0
            assert (await callers.shares()).keys() == set(second["process_ids"])
            assert [one.scope for one in await fastrpc.discover("work")] == ["host"]
            await callers.close()
            assert callers.failures == []
            new.signal(signal.SIGTERM)
            assert (await asyncio.to_thread(new.wait)).code == 0
    await eventually(lambda: names_in(folder) == [])


@asynccontextmanager
async def beyond_the_host() -> AsyncIterator[AnyRegistry]:
    """Serve `who` at a registry beyond the host, and yield the registry of all scopes."""
    listed = StaticRegistry()
    async with Server(Who("far"), registry=listed) as server:
        await server.listen("tcp://127.0.0.1:0")
        scopes = AnyRegistry(wan=listed)
        yield scopes
        await scopes.aclose()


async def test_no_call_fails_while_the_nearest_server_is_killed_and_starts_again(folder: Path) -> None:
    async with beyond_the_host() as scopes, Client("who", registry=scopes) as client:
        answers: list[str] = []

        async def call(_: int) -> None:
            answers.append(await client.with_options(timeout=20, idempotent=True).call("who.name_of"))

        async def answered_by(name: str) -> None:
            await eventually(lambda: answers[-1:] == [name])

        async with OpenLoop(500, call):
            await answered_by("far")
            for _ in range(2):
                with program_at(folder) as near:
                    await serves(near)
                    await answered_by(str(near.process_id))
                    os.kill(near.process_id, signal.SIGKILL)
                    await answered_by("far")
    node = HostNode(str(folder))
    await eventually(lambda: node.services() == set() and names_in(folder) == [])


def test_a_blocking_client_loses_no_call_when_the_nearest_server_is_killed(folder: Path) -> None:
    registry = StaticRegistry()

    async def serve(ready: Any, done: Any) -> None:
        async with Server(Who("far"), registry=registry) as server:
            await server.listen("tcp://127.0.0.1:0")
            ready.set()
            await asyncio.to_thread(done.wait)

    ready, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(serve(ready, done)))
    thread.start()
    try:
        assert ready.wait(20)
        with AnyRegistry(wan=registry) as scopes, SyncClient("who", registry=scopes) as client:
            call = client.with_options(timeout=20, idempotent=True)
            for _ in range(2):
                with program_at(folder) as near:
                    started(near)
                    until(lambda: call.call("who.name_of"), str(near.process_id))
                    os.kill(near.process_id, signal.SIGKILL)
                    until(lambda: call.call("who.name_of"), "far")
    finally:
        done.set()
        thread.join()


def until(call: Any, wanted: str) -> None:
    ends = time.monotonic() + 20
    while call() != wanted:
        assert time.monotonic() < ends


@pytest.mark.measures
async def test_calls_are_back_at_the_nearest_server_within_two_seconds(folder: Path) -> None:
    async with beyond_the_host() as scopes, Client("who", registry=scopes) as client:
        assert await client.call("who.name_of") == "far"
        with program_at(folder) as near:
            await serves(near)
            began = time.perf_counter()
            async with asyncio.timeout(20):
                while await client.call("who.name_of") == "far":
                    await asyncio.sleep(0.001)
            assert time.perf_counter() - began <= 2.0


def test_the_command_lists_all_scopes(folder: Path) -> None:
    with program_at(folder) as program:
        started(program)
        with Program(
            ["-m", "fastrpc", "list", "any://", "--json"], folder.parent, environment(folder)
        ) as listing:
            ended = listing.wait()
    (service,) = json.loads(ended.output)
    (endpoint,) = service["endpoints"]
    assert (service["name"], endpoint["health"]) == ("who", "SERVING")
    assert endpoint["labels"].keys() == {"provider", "scope", "server"}
