"""The command line as people and programs use it: each command in a separate process."""

import json
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastrpc
from tests.support.program import Finished, Program, run_program

APP = '''
import asyncio
import os
from dataclasses import dataclass

import fastrpc

@dataclass
class User:
    name: str
    tags: list[str]


@fastrpc.service("arith", version="2.1")
class Arith:
    """Sums and products."""

    @fastrpc.method(idempotent=True)
    async def mul(self, a: int, b: int = 2) -> int:
        """Multiply.

        Nothing else.
        """
        return a * b

    @fastrpc.method
    async def fail(self) -> None:
        raise fastrpc.CallError(fastrpc.Status.NOT_FOUND, "no such [bold]number[/bold]")

    @fastrpc.method
    async def sometimes(self) -> None:
        """Fail every other time."""
        self.count = getattr(self, "count", 0) + 1
        if self.count % 2 == 0:
            raise fastrpc.CallError(fastrpc.Status.ABORTED, "again")

    @fastrpc.method
    async def crash(self) -> None:
        raise LookupError("secret")


@fastrpc.service("users")
class Users:
    @fastrpc.method
    async def make(self, name: str, tags: list[str]) -> User:
        return User(name, tags)

    @fastrpc.method(codec="raw")
    async def echo(self, data: bytes) -> bytes:
        return data

    @fastrpc.method
    async def metadata(self) -> dict[str, str]:
        return dict(fastrpc.current_call().metadata)

    @fastrpc.method
    async def announced(self) -> None:
        self.count = getattr(self, "count", 0) + 1
        if self.count == 100:
            print("hundredth", flush=True)

    @fastrpc.method
    async def hang(self, name: str) -> None:
        print("begun", name, flush=True)
        await asyncio.Event().wait()


services = [Arith, Users]
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def command(folder: Path, *arguments: str, **environment: str) -> Finished:
    return run_program(["-m", "fastrpc", *arguments], folder, environment)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared")
    (folder / "app.py").write_text(APP)
    return folder


@pytest.fixture(scope="module")
def server(shared: Path) -> Iterator[Program]:
    """One server for all tests that only call it."""
    arguments = ["-m", "fastrpc", "run", "app:services", "-a", "tcp://127.0.0.1:0"]
    with Program(arguments, shared, is_anew=True) as program:
        program.wait_output(r"serving at \S+\n")
        yield program


@pytest.fixture(scope="module")
def address(server: Program) -> str:
    return server.wait_output(r"serving at (\S+)\n")[1]


class TestRun:
    def test_prints_the_services_and_their_addresses(self, server: Program, address: str) -> None:
        said = server.wait_output(r"(?s)fastrpc .*serving at .*arith .*users .*\n")[0].splitlines()
        assert re.fullmatch(rf"fastrpc {fastrpc.__version__}, CPython [\d.]+\S*, (uvloop|asyncio)", said[0])
        assert said[1:] == [
            f"serving at {address}",
            "  arith  mul, fail, sometimes, crash",
            "  users  make, echo, metadata, announced, hang",
        ]

    def test_drains_on_a_signal_and_ends_with_0(self, folder: Path) -> None:
        with Program(["-m", "fastrpc", "run", "app:services", "-a", "tcp://127.0.0.1:0"], folder) as program:
            program.wait_output("serving at")
            program.signal(signal.SIGINT, group=True)
            ended = program.wait()
        assert ended.code == 0
        began, done = ended.errors.splitlines()
        assert began.endswith("INFO fastrpc.server: the drain began: calls under way: 0")
        assert "INFO fastrpc.server: the drain ended after" in done

    @pytest.mark.parametrize("log_format", ["text", "json"])
    def test_the_old_name_serve_works_and_warns(self, folder: Path, log_format: str) -> None:
        arguments = ["serve", "app:services", "-a", "tcp://127.0.0.1:0", "--log-format", log_format]
        with Program(["-m", "fastrpc", *arguments], folder) as program:
            program.wait_output("serving" if log_format == "text" else "addresses")
            program.signal(signal.SIGINT, group=True)
            ended = program.wait()
        assert ended.code == 0
        told = "`fastrpc serve` is deprecated, and a later version removes it: write `fastrpc run`"
        assert " ".join(ended.errors.split()).count(told) == 1

    def test_says_the_same_for_machines(self, folder: Path) -> None:
        arguments = ["run", "app:services", "-a", "tcp://127.0.0.1:0", "-a", "tcp://localhost:0", "-w", "2"]
        with Program(["-m", "fastrpc", *arguments, "--json"], folder) as program:
            said = json.loads(program.wait_output(r"^\{.*\}\n")[0])
            assert len(said["addresses"]) == len(said["process_ids"]) == 2
            assert said["services"]["arith"] == ["mul", "fail", "sometimes", "crash"]
            program.signal(signal.SIGTERM)
            assert program.wait().code == 0

    def test_tells_the_drain_of_the_app_that_was_served(self, folder: Path) -> None:
        (folder / "drained.py").write_text(
            "import fastrpc\nfrom app import services\nfrom fastrpc.config import ServerConfig, Timeouts\n"
            "served = fastrpc.App(services, config=ServerConfig(timeouts=Timeouts(drain=0.2)))\n"
        )
        with Program(
            ["-m", "fastrpc", "run", "drained:served", "-a", "tcp://127.0.0.1:0"], folder
        ) as program:
            target = program.wait_output(r"serving at (\S+)")[1]
            with Program(["-m", "fastrpc", "call", target, "users.hang", "x"], folder) as caller:
                program.wait_output("begun x")
                program.signal(signal.SIGTERM)
                assert caller.wait().code == 1
            ended = program.wait()
        assert ended.code == 4
        assert "they were still running 0.2 s after the drain began" in ended.errors
        assert "the config of the App" in " ".join(ended.errors.split())

    def test_reads_file_and_environment(self, folder: Path) -> None:
        (folder / "f.toml").write_text(
            'app = "app:services"\naddress = "tcp://127.0.0.1:0"\nworkers = 3\n[timeouts]\ndrain = 0.1\n'
        )
        arguments = ["-m", "fastrpc", "run", "--config", "f.toml"]
        with Program(arguments, folder, {"FASTRPC_WORKERS": "2"}) as program:
            target = program.wait_output(r"serving at (\S+) with 2 workers\n")[1]
            with Program(["-m", "fastrpc", "call", target, "users.hang", "x"], folder) as caller:
                program.wait_output("begun x")
                program.signal(signal.SIGTERM)
                assert caller.wait().code == 1
            ended = program.wait()
        assert ended.code == 4
        assert (
            "error: calls were cancelled: they were still running 0.1 s after the drain began" in ended.errors
        )

    def test_second_signal_ends_it_with_130(self, folder: Path) -> None:
        arguments = ["-m", "fastrpc", "run", "app:services", "-a", "tcp://127.0.0.1:0"]
        with Program(arguments, folder) as program:
            target = program.wait_output(r"serving at (\S+)\n")[1]
            with Program(["-m", "fastrpc", "call", target, "users.hang", "x"], folder):
                program.wait_output("begun x")
                # Two signals of one kind count once if they arrive together.
                program.signal(signal.SIGTERM)
                program.signal(signal.SIGINT)
                ended = program.wait()
        assert (ended.code, "Traceback" in ended.errors) == (130, False)

    def test_reflection_can_be_turned_off(self, folder: Path) -> None:
        arguments = ["run", "app:services", "-a", "tcp://127.0.0.1:0", "--no-reflection"]
        with Program(["-m", "fastrpc", *arguments], folder) as program:
            target = program.wait_output(r"serving at (\S+)\n")[1]
            ended = command(folder, "list", target)
        assert ended.code == 1
        assert f"error: UNIMPLEMENTED: {target} does not show its services" in ended.errors
        assert "hint: reflection is on for loopback addresses" in ended.errors

    def test_public_address_tells_strangers_nothing_unless_asked_to(self, folder: Path) -> None:
        codes = []
        for options in ([], ["--reflection"]):
            arguments = ["run", "app:services", "-a", "tcp://0.0.0.0:0", *options]
            with Program(["-m", "fastrpc", *arguments], folder) as program:
                target = program.wait_output(r"serving at (\S+)\n")[1]
                codes.append(command(folder, "list", target.replace("0.0.0.0", "127.0.0.1")).code)
        assert codes == [1, 0]

    def test_public_address_gives_no_hint_that_it_would_refuse(self, folder: Path) -> None:
        with Program(["-m", "fastrpc", "run", "app:services", "-a", "tcp://0.0.0.0:0"], folder) as program:
            target = program.wait_output(r"serving at (\S+)\n")[1].replace("0.0.0.0", "127.0.0.1")
            for arguments in (["arith.mull", "6"], ["arith.mul", "six"]):
                ended = command(folder, "call", target, *arguments)
                assert (ended.code, "hint" in ended.errors, "mean" in ended.errors) == (1, False, False)


class TestDev:
    def test_loads_the_app_again_when_a_file_changes(self, folder: Path) -> None:
        with Program(["-m", "fastrpc", "dev", "app:services", "-a", "tcp://127.0.0.1:0"], folder) as program:
            target = program.wait_output(r"serving at (\S+)")[1]
            program.wait_output("started")
            assert command(folder, "call", target, "arith.mul", "6", "7").output == "42\n"
            (folder / "app.py").write_text(APP.replace("return a * b", "return a + b"))
            program.wait_output("(?s)started.*started")
            assert command(folder, "call", target, "arith.mul", "6", "7").output == "13\n"
            program.signal(signal.SIGINT, group=True)
            ended = program.wait()
        assert (ended.code, "Traceback" in ended.errors) == (0, False)

    def test_app_that_fails_waits_for_the_next_change(self, folder: Path) -> None:
        (folder / "app.py").write_text("services = [")
        with Program(["-m", "fastrpc", "dev", "app:services", "-a", "tcp://127.0.0.1:0"], folder) as program:
            program.wait_errors("error: app:services cannot be imported: SyntaxError: .*app.py, line 1")
            program.wait_errors("waiting for a change")
            # In one step: an empty file in between would be a separate change.
            (folder / "app.new").write_text(APP)
            (folder / "app.new").replace(folder / "app.py")
            target = program.wait_output(r"(?s)serving at (\S+).*started")[1]
            ended = command(folder, "call", target, "arith.crash")
            assert "LookupError: secret" in ended.errors
            program.signal(signal.SIGTERM)
            assert program.wait().code == 0

    def test_result_that_does_not_fit_its_annotation_fails_the_call(self, folder: Path) -> None:
        (folder / "app.py").write_text(APP.replace("return a * b", "return str(a)"))
        with Program(["-m", "fastrpc", "dev", "app:services", "-a", "tcp://127.0.0.1:0"], folder) as program:
            target = program.wait_output(r"serving at (\S+)")[1]
            ended = command(folder, "call", target, "arith.mul", "6", "7")
            assert (ended.code, "INTERNAL" in ended.errors) == (1, True)
            program.wait_errors(r"arith\.mul.*")
            program.signal(signal.SIGTERM)
            assert program.wait().code == 0


class TestCall:
    def test_prints_the_answer_and_tells_about_it_aside(self, folder: Path, address: str) -> None:
        ended = command(folder, "call", address, "arith.mul", "6", "b=7")
        assert (ended.code, ended.output) == (0, "42\n")
        assert re.fullmatch(rf"OK in [\d.]+ ms from {address}\n", ended.errors)

    def test_negative_numbers_are_values(self, folder: Path, address: str) -> None:
        assert command(folder, "call", address, "arith.mul", "-6", "-7").output == "42\n"

    def test_values_are_json_or_else_text(self, folder: Path, address: str) -> None:
        ended = command(folder, "call", address, "users.make", "Ada", 'tags=["a", "[red]"]')
        assert json.loads(ended.output) == {"name": "Ada", "tags": ["a", "[red]"]}

    def test_tells_machines_everything_in_a_line(self, folder: Path, address: str) -> None:
        ended = command(folder, "call", "--json", address, "arith.mul", "6")
        said = json.loads(ended.output)
        assert (said["value"], said["status"], said["endpoint"]) == (12, "OK", address)
        assert ended.output.count("\n") == 1
        assert ended.errors == ""

    def test_tells_machines_of_errors_too(self, folder: Path, address: str) -> None:
        ended = command(folder, "call", "--json", address, "arith.fail")
        said = json.loads(ended.output)
        assert ended.code == 1
        assert (said["status"], said["kind"]) == ("NOT_FOUND", "CallError")
        assert said["error"] == "NOT_FOUND: no such [bold]number[/bold]"

    def test_codecs_can_be_chosen(self, folder: Path, address: str) -> None:
        assert command(folder, "call", address, "users.echo", "häh?", "--codec", "raw").output == "häh?\n"
        assert command(folder, "call", address, "arith.mul", "6", "--codec", "json").output == "12\n"

    @pytest.mark.parametrize("codec", ["raw", "protobuf"])
    @pytest.mark.parametrize("values", [("6", "7"), ("b=6",)])
    def test_several_values_are_too_many_for_some_codecs(
        self, folder: Path, address: str, codec: str, values: tuple[str, ...]
    ) -> None:
        ended = command(folder, "call", address, "arith.mul", *values, "--codec", codec)
        assert (ended.code, ended.output) == (2, "")
        assert f"error: arith.mul by codec {codec} takes one value, given by position\nhint: " in ended.errors

    def test_metadata_goes_along(self, folder: Path, address: str) -> None:
        ended = command(folder, "call", address, "users.metadata", "-m", "tenant=blue", "-m", "x=1=2")
        assert json.loads(ended.output) == {"tenant": "blue", "x": "1=2"}

    def test_timeout_ends_the_call(self, folder: Path, address: str) -> None:
        ended = command(folder, "call", address, "users.hang", "x", "--timeout", "0.05")
        assert (ended.code, "Traceback" in ended.errors) == (1, False)
        assert "users.hang" in ended.errors

    def test_interrupt_ends_it_without_a_traceback(self, folder: Path, server: Program, address: str) -> None:
        with Program(["-m", "fastrpc", "call", address, "users.hang", "interrupted"], folder) as program:
            server.wait_output("begun interrupted")
            program.signal(signal.SIGINT)
            ended = program.wait()
        assert (ended.code, "Traceback" in ended.errors) == (130, False)


class TestList:
    def test_shows_services_methods_and_their_first_lines(self, folder: Path, address: str) -> None:
        ended = command(folder, "list", address)
        assert ended.code == 0
        assert "arith 2.1  Sums and products." in ended.output
        assert re.search(r"^  mul\(a: int, b: int = 2\) -> int +Multiply\. *$", ended.output, re.MULTILINE)
        assert "make(name: str, tags: list[str]) -> User" in ended.output
        assert "fastrpc.reflection" not in ended.output
        assert "Nothing else" not in ended.output

    def test_can_show_one_service_and_the_built_in_ones(self, folder: Path, address: str) -> None:
        assert "arith" not in command(folder, "list", address, "users").output
        assert "fastrpc.reflection" in command(folder, "list", address, "--all").output

    def test_tells_machines_the_descriptions(self, folder: Path, address: str) -> None:
        said = json.loads(command(folder, "list", address, "arith", "--json").output)
        assert [one["name"] for one in said] == ["arith"]
        assert said[0]["methods"][0]["full_name"] == "arith.mul"


class TestHealth:
    def test_server_that_serves_is_done_with_0(self, folder: Path, address: str) -> None:
        ended = command(folder, "health", address)
        assert (ended.code, ended.output, ended.errors) == (0, "SERVING\n", "")

    def test_one_service_may_be_asked_for(self, folder: Path, address: str) -> None:
        assert command(folder, "health", address, "arith").output == "SERVING\n"

    def test_missing_service_fails_the_check(self, folder: Path, address: str) -> None:
        ended = command(folder, "health", address, "nobody")
        assert (ended.code, ended.output) == (1, "SERVICE_UNKNOWN\n")

    def test_tells_machines_in_a_line(self, folder: Path, address: str) -> None:
        ended = command(folder, "health", address, "arith", "--json")
        assert json.loads(ended.output) == {"service": "arith", "status": "SERVING"}

    def test_missing_server_fails_the_check(self, folder: Path) -> None:
        ended = command(folder, "health", "tcp://127.0.0.1:1")
        assert (ended.code, "Traceback" in ended.errors) == (1, False)


class TestBench:
    def test_tells_rate_percentiles_and_errors(self, folder: Path, address: str) -> None:
        ended = command(folder, "bench", address, "arith.mul", "6", "7", "-c", "4", "-d", "0.2")
        assert ended.code == 0
        assert re.search(r"^rate +[\d,]+ calls/s$", ended.output, re.MULTILINE)
        assert re.search(r"^latency +p50 \S+ \S+ +p99 .* +p99\.9 .*$", ended.output, re.MULTILINE)
        assert re.search(r"^errors +none$", ended.output, re.MULTILINE)

    def test_tells_machines_the_same(self, folder: Path, address: str) -> None:
        arguments = ["arith.mul", "-6", "7", "-c", "8", "-d", "0.2", "-n", "2", "--json"]
        said = json.loads(command(folder, "bench", address, *arguments).output)
        assert (said["callers"], said["connections"], said["errors"]) == (8, 2, {})
        assert said["rate"] == pytest.approx(said["calls"] / said["seconds"])
        assert 0 < said["latency"]["p50"] <= said["latency"]["p99"] <= said["latency"]["p99.9"]

    def test_call_that_fails_is_told_before_anything_is_measured(self, folder: Path, address: str) -> None:
        ended = command(folder, "bench", address, "arith.fail", "-d", "60")
        assert (ended.code, ended.output) == (1, "")
        assert "NOT_FOUND" in ended.errors

    def test_failures_are_counted_and_make_it_fail(self, folder: Path, address: str) -> None:
        arguments = ["arith.sometimes", "-c", "1", "-d", "0.1", "--json"]
        ended = command(folder, "bench", address, *arguments)
        said = json.loads(ended.output)
        assert ended.code == 1
        assert said["errors"] == {"ABORTED": pytest.approx(said["calls"], abs=1)}

    def test_interrupt_shows_the_figures_so_far(self, folder: Path, server: Program, address: str) -> None:
        arguments = ["users.announced", "-c", "2", "-d", "600", "--json"]
        with Program(["-m", "fastrpc", "bench", address, *arguments], folder) as program:
            server.wait_output("hundredth")
            program.signal(signal.SIGINT)
            ended = program.wait()
        assert (ended.code, "Traceback" in ended.errors) == (130, False)
        assert json.loads(ended.output)["calls"] >= 90


WRONG = [
    # arguments, exit code, cause, fix
    (["rnu", "app:services"], 2, "No such command 'rnu'", "Did you mean 'run'"),
    (["run"], 2, "nothing to serve", "such as app:services"),
    (["run", "app.py"], 2, "'app.py' is not an import string", "such as app:services"),
    (["run", "nowhere:services"], 3, "there is no module 'nowhere'", "run the command in the directory"),
    (["run", "app:service"], 3, "'app' has no 'service'", "did you mean 'services'?"),
    (["run", "app:os"], 3, "is not a source of services", "give an instance of a class under @service"),
    (["run", "app:services", "-a", "127.0.0.1:80"], 2, "is not an address", "tcp://host:port"),
    (
        ["run", "app:services", "-a", "http://h:80"],
        2,
        "no transport has the scheme 'http'",
        "speak HTTP at tcp://",
    ),
    (["run", "app:services", "-a", "tcp://127.0.0.1:70000"], 2, "port '70000'", "a number from 0 to 65535"),
    (["run", "app:services", "-a", "unix:///none/x"], 3, "cannot listen at unix:///none/x", "does not exist"),
    (["run", "app:services", "-w", "0"], 2, "--workers", "greater than or equal to 1"),
    (["run", "app:services", "-w", "2", "-a", "memory://m"], 3, "several processes", "leave workers at 1"),
    (["run", "app:services", "--config", "no.toml"], 2, "cannot read no.toml", "check the path"),
    (["run", "app:services", "--log-level", "loud"], 2, "no log level 'loud'", "debug, info"),
    (["run", "serving:services"], 3, "calls it when it is imported", "__name__"),
    (["run", "broken:services"], 3, "KeyError: 'DATABASE' (", "python -c 'import broken'"),
    (["call", "ADDRESS"], 2, "Missing argument 'METHOD'", "Usage: fastrpc call"),
    (["call", "127.0.0.1:80", "arith.mul"], 2, "is not an address", "tcp://host:port"),
    (["call", "tcp://127.0.0.1:1", "arith.mul", "6"], 1, "Connection refused", "that a server runs there"),
    (["call", "tcp://no-such-host.invalid:1", "arith.mul"], 1, "no-such-host.invalid", "check the host name"),
    (["call", "ADDRESS", "arith.mull", "6"], 1, "no method 'arith.mull'", "did you mean 'arith.mul'?"),
    (["call", "ADDRESS", "mul", "6"], 2, "'mul' is not a method name", "service.method"),
    (["call", "ADDRESS", "arith.mul", "six"], 1, "a: expected `int`, got `str`", "fastrpc list"),
    (["call", "ADDRESS", "arith.mul"], 1, "a: missing", "shows methods and signatures"),
    (["call", "ADDRESS", "arith.mul", "6", "--timeuot", "1"], 2, "no option --timeuot", "mean --timeout?"),
    (["call", "ADDRESS", "arith.mul", "a=1", "a=2"], 2, "'a' is given twice", "given twice"),
    (["call", "ADDRESS", "arith.mul", "6", "--codec", "yaml"], 2, "'yaml'", "msgpack"),
    (["call", "ADDRESS", "arith.mul", "-m", "x"], 2, "metadata 'x' has no key", "--metadata key=value"),
    (["call", "ADDRESS", "arith.crash"], 1, "INTERNAL", "the server's log has the reason under id"),
    (["list", "ADDRESS", "arit"], 1, "no service 'arit'", "did you mean 'arith'?"),
    (["list", "REGISTRY"], 1, "the server there is no registry", "dialled as tcp://host:port"),
    (["call", "ADDRESS", "arith.mul", "x=a=b"], 1, "has no such parameter", "given by name: name=text"),
    (["list", "http://h:80"], 2, "only fastrpc call and fastrpc gateway take", "is at tcp://h:80"),
    (["list", "unix:///none/x"], 1, "No such file or directory", "that a server runs there"),
    (["bench", "ADDRESS", "arith.mul", "6", "-c", "0"], 2, "--callers", "greater than or equal to 1"),
    (["bench", "ADDRESS", "arith.mul", "6", "-d", "x"], 2, "--seconds", "valid number"),
]


class TestWrongInput:
    @pytest.mark.parametrize(
        ("arguments", "code", "cause", "fix"), WRONG, ids=[" ".join(arguments) for arguments, *_ in WRONG]
    )
    def test_gets_cause_and_fix(
        self, shared: Path, address: str, arguments: list[str], code: int, cause: str, fix: str
    ) -> None:
        (shared / "broken.py").write_text("import os\nservices = os.environ['DATABASE']\n")
        (shared / "serving.py").write_text(
            "import fastrpc\nfrom app import services\nfastrpc.serve(services)"
        )
        places = {"ADDRESS": address, "REGISTRY": address.replace("tcp://", "registry://")}
        ended = command(shared, *(places.get(one, one) for one in arguments))
        said = " ".join((ended.output + ended.errors).split())
        assert (ended.code, "Traceback" in said) == (code, False)
        assert cause in said
        assert fix in said

    def test_port_in_use_is_reported(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            target = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
            ended = command(folder, "run", "app:services", "-a", target)
        assert ended.code == 3
        assert f"cannot listen at {target}: Address already in use" in ended.errors
        assert "hint: another program listens there" in ended.errors

    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_application_that_cannot_start_is_reported(self, folder: Path, workers: str) -> None:
        (folder / "shop_site.py").write_text(
            "async def application(scope, receive, send):\n"
            "    await receive()\n"
            "    await send({'type': 'lifespan.startup.failed', 'message': 'no database'})\n"
        )
        (folder / "mounting.toml").write_text(
            'protocols = ["native", "http"]\n[http]\nmounts = {"/" = "shop_site:application"}\n'
        )
        ended = command(
            folder,
            *("run", "app:services", "-a", "tcp://127.0.0.1:0"),
            *("-w", workers, "--config", "mounting.toml"),
        )
        assert ended.code == 3
        assert "error: the application at / could not start: no database" in ended.errors
        assert "Traceback" not in ended.errors

    def test_variable_with_almost_the_name_of_a_setting_is_warned_about(self, folder: Path) -> None:
        ended = command(folder, "run", "nowhere:x", FASTRPC_WORKER="2")
        assert "warning: FASTRPC_WORKER is not a setting; did you mean FASTRPC_WORKERS?" in ended.errors
