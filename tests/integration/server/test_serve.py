"""`serve`: signals, drain, worker processes, exit codes; each in a separate process."""

import asyncio
import os
import re
import signal
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from fastrpc import CallError, Client, ConnectionLostError, FastRPCError, UnavailableError
from tests.support.program import Program, run_program

T = TypeVar("T")

on_either_loop = pytest.mark.parametrize("folder", ["uvloop", "asyncio"], indirect=True)

SERVICES = """
import asyncio
import contextlib
import os
import threading

import fastrpc


@fastrpc.service("work")
class Work:
    @fastrpc.method
    async def where(self) -> int:
        return os.getpid()

    @fastrpc.method
    async def until_drained(self) -> str:
        print("begun", flush=True)
        await fastrpc.current_call().draining
        return "finished"

    @fastrpc.method
    async def stubborn(self) -> None:
        print("begun", flush=True)
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    @fastrpc.method
    async def fail(self) -> None:
        raise LookupError("no such record")

    @fastrpc.method
    async def blocking(self) -> None:
        print("begun", flush=True)
        threading.Event().wait()

    @fastrpc.method
    def threaded(self) -> None:
        print("begun", flush=True)
        threading.Event().wait()


@contextlib.asynccontextmanager
async def opened():
    print("entered", flush=True)
    yield [Work()]
    print("left", flush=True)


def failing():
    raise LookupError("no database")


def dying():
    os._exit(7)
"""

RUN = """
import logging
import os
import sys

import services
from fastrpc import ServerConfig, Timeouts
from fastrpc.endpoint import Address
from fastrpc.workers.plan import Plan
from fastrpc.workers.serve import run

logging.basicConfig()
source, workers, drain, *addresses = sys.argv[1:]
announce = float(os.environ.get("ANNOUNCE", "0"))
sys.exit(run(Plan(
    load=lambda: [getattr(services, source)],
    workers=int(workers),
    addresses=tuple(map(Address.parse, addresses)),
    config=ServerConfig(timeouts=Timeouts(drain=float(drain), announce=announce, linger=0.1)),
    on_started=lambda started: print("at", *started.addresses, *started.process_ids, flush=True),
)))
"""

SERVE = """
import sys

import fastrpc
import services

if __name__ == "__main__":
    fastrpc.serve(services.opened, address=sys.argv[1], workers=int(sys.argv[2]))
    print("over", flush=True)
"""


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A directory with programs; they run on uvloop unless the test wants either loop."""
    (tmp_path / "services.py").write_text(SERVICES)
    (tmp_path / "run.py").write_text(RUN)
    (tmp_path / "serving.py").write_text(SERVE)
    if getattr(request, "param", "uvloop") == "asyncio":
        (tmp_path / "uvloop.py").write_text("raise ImportError")
    return tmp_path


@pytest.fixture(params=[1, 2], ids=["one process", "two workers"])
def workers(request: pytest.FixtureRequest) -> int:
    count: int = request.param
    return count


class Serving:
    """A server in a separate process."""

    def __init__(self, program: Program) -> None:
        self.program = program
        said = program.wait_output(r"^at (\S+) (.*)\n")
        self.address = said[1]
        self.workers = [int(part) for part in said[2].split()]

    def kill_worker(self, number: int, sent: int = signal.SIGKILL) -> None:
        os.kill(self.workers[number], sent)


class Start:
    """Starts servers that end with the test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs: list[Program] = []

    def __call__(
        self, source: str = "Work", *, workers: int = 1, drain: float = 20, address: str = "tcp://127.0.0.1:0"
    ) -> Serving:
        arguments = ["run.py", source, str(workers), str(drain), address]
        program = Program(arguments, self._folder)
        self._programs.append(program)
        return Serving(program)

    def close(self) -> None:
        for program in self._programs:
            program.__exit__(None, None, None)


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    starting = Start(folder)
    yield starting
    starting.close()


def calling(address: str, during: Callable[[Client], Awaitable[T]]) -> T:
    """Run `during` with a separate client."""

    async def main() -> T:
        async with Client(address) as client:
            return await during(client.with_options(wait_for_ready=True, timeout=None))

    return asyncio.run(main())


def call_during(serving: Serving, method: str, act: Callable[[], Any]) -> Any:
    """Call a method; once its handler has begun, run `act`. Returns the outcome of the call."""

    async def during(client: Client) -> Any:
        under_way = asyncio.ensure_future(client.call(method))
        await asyncio.to_thread(serving.program.wait_output, "begun")
        act()
        return (await asyncio.gather(under_way, return_exceptions=True))[0]

    return calling(serving.address, during)


def other_worker(address: str, known: list[int]) -> int:
    """Return the process of a worker that is not known yet, waiting for it to serve."""

    async def main() -> int:
        while True:
            async with Client(address) as client:
                found: int = await client.call("work.where")
                if found not in known:
                    return found

    return asyncio.run(main())


@on_either_loop
class TestSignals:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_first_signal_lets_running_calls_finish(self, start: Start, workers: int, number: int) -> None:
        serving = start(workers=workers)
        answer = call_during(serving, "work.until_drained", lambda: serving.program.signal(number))
        assert answer == "finished"
        assert serving.program.wait().code == 0

    def test_interrupt_of_the_whole_group_drains_once(self, start: Start, workers: int) -> None:
        serving = start(workers=workers)
        program = serving.program
        answer = call_during(serving, "work.until_drained", lambda: program.signal(signal.SIGINT, group=True))
        assert answer == "finished"
        assert program.wait().code == 0

    def test_termination_of_the_whole_group_drains_once(self, start: Start, workers: int) -> None:
        serving = start(workers=workers)
        program = serving.program
        answer = call_during(
            serving, "work.until_drained", lambda: program.signal(signal.SIGTERM, group=True)
        )
        assert answer == "finished"
        assert program.wait().code == 0

    def test_idle_server_ends_without_a_word(self, start: Start, workers: int) -> None:
        serving = start(workers=workers)
        serving.program.signal(signal.SIGINT, group=True)
        ended = serving.program.wait()
        assert (ended.code, ended.errors) == (0, "")

    @pytest.mark.parametrize("method", ["work.stubborn", "work.blocking", "work.threaded"])
    def test_second_signal_ends_a_program_whatever_its_handlers_do(
        self, start: Start, workers: int, method: str
    ) -> None:
        serving = start(workers=workers)
        program = serving.program

        def stop_twice() -> None:
            program.signal(signal.SIGTERM)
            program.signal(signal.SIGINT)

        outcome = call_during(serving, method, stop_twice)
        assert isinstance(outcome, FastRPCError)
        ended = program.wait(5.0)
        assert (ended.code, "Traceback" in ended.errors) == (130, False)

    @pytest.mark.parametrize("method", ["work.stubborn", "work.threaded"])
    def test_drain_that_takes_too_long_has_its_exit_code(
        self, start: Start, workers: int, method: str
    ) -> None:
        serving = start(workers=workers, drain=0.1)
        call_during(serving, method, lambda: serving.program.signal(signal.SIGTERM))
        assert serving.program.wait(10.0).code == 4

    def test_connections_are_taken_while_the_server_announces_that_it_leaves(
        self, folder: Path, workers: int
    ) -> None:
        # A separate host: once the server has left, a server of another test can get its port.
        arguments = ["run.py", "Work", str(workers), "5", "tcp://127.0.0.62:0"]
        with Program(arguments, folder, {"ANNOUNCE": "1.5"}) as program:
            address = Serving(program).address

            async def call_until_refused() -> float:
                program.signal(signal.SIGTERM)
                began = last = asyncio.get_running_loop().time()
                while True:
                    async with Client(address) as client:
                        try:
                            await client.call("work.where")
                        except UnavailableError:
                            return last - began
                        last = asyncio.get_running_loop().time()

            assert asyncio.run(call_until_refused()) > 0.3
            assert program.wait().code == 0

    def test_signal_during_the_start_interrupts_the_start(self, folder: Path, workers: int) -> None:
        (folder / "services.py").write_text(
            "import asyncio\nasync def slow():\n    print('begun', flush=True)\n    await asyncio.Event().wait()\n"
        )
        with Program(["run.py", "slow", str(workers), "1", "tcp://127.0.0.1:0"], folder) as program:
            program.wait_output("begun")
            program.signal(signal.SIGINT, group=True)
            ended = program.wait(10.0)
        assert (ended.code, ended.errors) == (130, "")


class TestSources:
    def test_context_is_entered_and_left_in_each_process(self, start: Start, workers: int) -> None:
        serving = start("opened", workers=workers)
        serving.program.signal(signal.SIGTERM)
        ended = serving.program.wait()
        assert Counter(re.findall("entered|left", ended.output)) == {"entered": workers, "left": workers}

    def test_source_that_fails_ends_the_program_with_its_reason(self, folder: Path, workers: int) -> None:
        arguments = ["run.py", "failing", str(workers), "1", "tcp://127.0.0.1:0"]
        ended = run_program(arguments, folder)
        assert ended.code == 1
        assert "no database" in ended.errors

    def test_worker_that_dies_while_it_starts_ends_the_program(self, folder: Path) -> None:
        ended = run_program(["run.py", "dying", "2", "1", "tcp://127.0.0.1:0"], folder)
        assert ended.code == 1
        assert "ended while it started: exit code 7" in ended.errors


class TestAddresses:
    def test_address_in_use_is_named(self, folder: Path, workers: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
            ended = run_program(["run.py", "Work", str(workers), "1", address], folder)
        assert ended.code == 1
        assert f"cannot listen at {address}: Address already in use" in ended.errors

    def test_address_of_another_server_with_workers_is_in_use(self, start: Start, folder: Path) -> None:
        serving = start(workers=2)
        ended = run_program(["run.py", "Work", "2", "1", serving.address], folder)
        assert ended.code == 1
        assert "Address already in use" in ended.errors

    def test_several_addresses_are_served(self, folder: Path, workers: int) -> None:
        path = folder / "s.sock"
        arguments = ["run.py", "Work", str(workers), "1", "tcp://localhost:0", f"unix://{path}"]
        with Program(arguments, folder) as program:
            said = program.wait_output(r"^at (\S+) (\S+) .*\n")
            for address in (said[1], said[2]):
                assert calling(address, lambda client: client.call("work.where")) > 0
            program.signal(signal.SIGTERM)
            assert program.wait().code == 0
        assert not path.exists()

    def test_memory_cannot_be_shared_by_processes(self, folder: Path) -> None:
        ended = run_program(["run.py", "Work", "2", "1", "memory://name"], folder)
        assert ended.code == 1
        assert "cannot be served by several processes" in ended.errors


@on_either_loop
class TestWorkers:
    @pytest.mark.parametrize("kind", ["tcp", "unix"])
    def test_connections_are_dealt_out_evenly(self, start: Start, folder: Path, kind: str) -> None:
        address = "tcp://127.0.0.1:0" if kind == "tcp" else f"unix://{folder / 's.sock'}"
        serving = start(workers=4, address=address)

        async def count() -> Counter[int]:
            clients = [Client(serving.address) for _ in range(64)]
            # One after the other: of a crowd, each connection that a worker is just taking may count twice.
            served = [await client.call("work.where") for client in clients]
            for client in clients:
                await client.close()
            return Counter(served)

        counts = asyncio.run(count())
        assert set(counts) == set(serving.workers)
        assert all(15 <= dealt <= 17 for dealt in counts.values()), counts

    def test_worker_that_dies_is_replaced_after_growing_pauses(self, start: Start) -> None:
        serving = start("opened", workers=2)
        program = serving.program
        serving.kill_worker(0)
        program.wait_errors(r"worker 1 ended: killed by SIGKILL; another starts in 0\.1 s")
        os.kill(other_worker(serving.address, serving.workers), signal.SIGKILL)
        program.wait_errors(r"worker 1 ended: killed by SIGKILL; another starts in 0\.2 s")
        program.signal(signal.SIGTERM)
        assert program.wait().code == 0

    def test_worker_that_starts_while_other_workers_drain_ends_too(self, start: Start) -> None:
        serving = start("opened", workers=2)
        serving.kill_worker(0)
        serving.program.wait_output(r"(?s)(entered.*){3}")
        serving.program.signal(signal.SIGTERM)
        assert serving.program.wait(10.0).code == 0

    def test_other_workers_continue_while_one_is_dead(self, start: Start) -> None:
        serving = start(workers=2)

        async def during(client: Client) -> tuple[Any, int]:
            async with Client(serving.address) as other:
                homes = {await client.call("work.where"): client, await other.call("work.where"): other}
                victim, survivor = homes[serving.workers[0]], homes[serving.workers[1]]
                lost = asyncio.ensure_future(victim.call("work.stubborn"))
                await asyncio.to_thread(serving.program.wait_output, "begun")
                serving.kill_worker(0)
                outcome = (await asyncio.gather(lost, return_exceptions=True))[0]
                return outcome, await survivor.call("work.where")

        outcome, survivor = calling(serving.address, during)
        assert isinstance(outcome, ConnectionLostError)
        assert survivor == serving.workers[1]

    def test_worker_that_is_asked_to_end_drains_and_is_replaced(self, start: Start) -> None:
        serving = start("opened", workers=2)

        async def during(client: Client) -> Any:
            home = await client.call("work.where")
            under_way = asyncio.ensure_future(client.call("work.until_drained"))
            await asyncio.to_thread(serving.program.wait_output, "begun")
            os.kill(home, signal.SIGTERM)
            return await under_way

        assert calling(serving.address, during) == "finished"
        serving.program.wait_output(r"(?s)left.*entered")

    def test_workers_end_when_their_parent_is_killed(self, start: Start) -> None:
        serving = start("opened", workers=2)
        serving.program.signal(signal.SIGKILL)
        # Workers hold the output too: it ends when the last of them has.
        ended = serving.program.wait()
        assert ended.output.count("left") == 2


class TestServe:
    def test_serves_prints_nothing_and_returns_after_the_drain(self, folder: Path, workers: int) -> None:
        address = f"unix://{folder / 's.sock'}"
        with Program(["serving.py", address, str(workers)], folder) as program:
            assert calling(address, lambda client: client.call("work.where")) > 0
            program.signal(signal.SIGTERM)
            ended = program.wait()
        assert ended.code == 0
        assert ended.errors == ""
        assert ended.output.split() == ["entered"] * workers + ["left"] * workers + ["over"]

    @pytest.mark.parametrize("configures", [False, True], ids=["no logging", "its own logging"])
    def test_shows_the_exception_of_a_handler(self, folder: Path, workers: int, configures: bool) -> None:
        address = f"unix://{folder / 's.sock'}"
        own = "import logging\nlogging.basicConfig(format='OWN %(message)s')\n" if configures else ""
        (folder / "serving.py").write_text(own + SERVE)
        with Program(["serving.py", address, str(workers)], folder) as program:
            with pytest.raises(CallError):
                calling(address, lambda client: client.call("work.fail"))
            program.signal(signal.SIGTERM)
            ended = program.wait()
        assert ended.errors.count("LookupError: no such record") == 1
        assert ended.errors.count("OWN work.fail") == configures

    def test_exit_code_shows_that_the_drain_was_cut_off(self, folder: Path, workers: int) -> None:
        address = f"unix://{folder / 's.sock'}"
        with Program(["serving.py", address, str(workers)], folder) as program:

            async def during(client: Client) -> None:
                under_way = asyncio.ensure_future(client.call("work.stubborn"))
                await asyncio.to_thread(program.wait_output, "begun")
                program.signal(signal.SIGTERM)
                program.signal(signal.SIGINT)
                await asyncio.gather(under_way, return_exceptions=True)

            calling(address, during)
            ended = program.wait(5.0)
        assert (ended.code, "Traceback" in ended.errors, "over" in ended.output) == (130, False, False)

    @pytest.mark.parametrize(
        ("program", "cause"),
        [
            ("fastrpc.serve(services.Work, workers=0)", "workers is 0"),
            ("fastrpc.serve(services.Work, address='nowhere')", "'nowhere' is not an address"),
            ("fastrpc.serve(services.Work, registry='nowhere://h')", "no registry has the scheme 'nowhere'"),
            ("fastrpc.serve(object())", "is not a source of services"),
            (
                "fastrpc.serve(type('Plain', (), {}))",
                "Plain is not a source of services: its class is not under @service",
            ),
            (
                (
                    "import threading\nt = threading.Thread(target=fastrpc.serve, args=(services.Work,))\n"
                    "t.start()\nt.join()\nraise SystemExit(1)"
                ),
                "runs in the main thread only",
            ),
            (
                "import asyncio\nasync def main():\n    fastrpc.serve(services.Work)\nasyncio.run(main())",
                "inside a running loop use Server",
            ),
        ],
    )
    def test_misuse_is_refused_with_its_cause(self, folder: Path, program: str, cause: str) -> None:
        (folder / "wrong.py").write_text(f"import fastrpc\nimport services\n{program}\n")
        ended = run_program(["wrong.py"], folder)
        assert ended.code == 1
        assert cause in ended.errors
