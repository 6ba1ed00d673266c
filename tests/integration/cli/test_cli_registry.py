"""The command line with a registry: `fastrpc list` of one, `fastrpc run` that registers."""

import asyncio
import contextlib
import json
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import Endpoint
from fastrpc.auth import Identity, StaticTokens
from fastrpc.registries import open_registry
from tests.support.program import Finished, Program, run_program
from tests.support.served import served
from tests.support.who import Who

pytestmark = pytest.mark.one_loop

APP = """
import fastrpc


@fastrpc.service("arith", version="2.1")
class Arith:
    @fastrpc.method
    async def mul(self, a: int, b: int) -> int:
        return a * b


@fastrpc.service("users")
class Users:
    @fastrpc.method
    async def name(self) -> str:
        return "Ann"

    @fastrpc.method
    async def greet(self, name: str, note: str | None = None) -> list[str | None]:
        return [name, note]


services = [Arith, Users]
"""


async def refuse(call: fastrpc.Call, proceed: fastrpc.Proceed) -> Any:
    """Tell strangers nothing."""
    raise fastrpc.CallError(fastrpc.Status.PERMISSION_DENIED, "not for you")


class Holder:
    """Registers a server that does not register itself, inside a `with` block."""

    def __init__(self, url: str) -> None:
        self._held = contextlib.ExitStack()
        self._registry: Any = self._held.enter_context(open_registry(url))  # type: ignore[arg-type]

    def register(self, service: str, address: str) -> None:
        self.place(service, Endpoint(address))

    def place(self, service: str, endpoint: Endpoint) -> None:
        self._held.enter_context(self._registry.register(service, endpoint))

    def __enter__(self) -> "Holder":
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


@pytest.fixture
def registry(folder: Path) -> Iterator[str]:
    with Program(["-m", "fastrpc", "registry", "-a", "tcp://127.0.0.1:0"], folder) as program:
        yield program.wait_output(r"registry at (\S+)\n")[1]


def command(folder: Path, *arguments: str, **environment: str) -> Finished:
    return run_program(["-m", "fastrpc", *arguments], folder, environment)


def running(folder: Path, *arguments: str) -> Program:
    return Program(["-m", "fastrpc", "run", "app:services", *arguments], folder)


class TestList:
    def test_shows_services_endpoints_and_their_health(self, folder: Path, registry: str) -> None:
        with running(folder, "-a", "tcp://127.0.0.1:0", "--registry", registry) as server:
            address = server.wait_output(r"serving at (\S+)\n")[1]
            ended = command(folder, "list", registry)
        assert (ended.code, ended.errors) == (0, "")
        lines = [line.split() for line in ended.output.splitlines()]
        assert lines == [
            ["arith"],
            [address, "SERVING", "version", "2.1"],
            [],
            ["users"],
            [address, "SERVING"],
        ]

    def test_shows_registered_servers_that_do_not_answer(self, folder: Path, registry: str) -> None:
        endpoint = Endpoint("tcp://127.0.0.1:1", weight=2, zone="eu", labels={"group": "blue"})
        with open_registry(registry) as held, held.register("ghost", endpoint):  # type: ignore[attr-defined]
            ended = command(folder, "list", registry)
            (found,) = json.loads(command(folder, "list", registry, "--json").output)
        assert ended.code == 0
        assert ended.output.splitlines()[1].split() == [
            "tcp://127.0.0.1:1",
            "UNREACHABLE",
            "zone",
            "eu",
            "weight",
            "2",
            "group=blue",
        ]
        assert found == {
            "name": "ghost",
            "endpoints": [
                {
                    "address": "tcp://127.0.0.1:1",
                    "health": "UNREACHABLE",
                    "version": "",
                    "zone": "eu",
                    "weight": 2,
                    "labels": {"group": "blue"},
                }
            ],
        }

    def test_shows_the_health_of_each_server_behind_a_dns_name(self, folder: Path) -> None:
        with running(folder, "-a", "tcp://127.0.0.1:0") as server:
            port = server.wait_output(r"serving at \S+:(\d+)\n")[1]
            ended = command(folder, "list", f"dns://localhost:{port}")
        first, *lines = [line.split() for line in ended.output.splitlines()]
        assert first == [f"localhost:{port}"]
        # The name may have an address of the other family, too.
        assert [line for line in lines if "[::1]" not in line[0]] == [[f"tcp://127.0.0.1:{port}", "SERVING"]]

    def test_missing_registry_says_what_to_check(self, folder: Path) -> None:
        ended = command(folder, "list", "registry://127.0.0.1:1")
        assert ended.code == 1
        assert "hint: check the address, and that the registry runs there" in ended.errors

    def test_server_that_is_a_registry_is_recognised(self, folder: Path, registry: str) -> None:
        place = registry.partition("://")[2]
        ended = command(folder, "list", f"tcp://{place}")
        assert ended.output == "no services\n"
        assert f"this is a registry; fastrpc list registry://{place} shows" in ended.errors

    def test_keeps_the_options_of_a_registry_to_itself(self, folder: Path, registry: str) -> None:
        ended = command(folder, "list", f"{registry}?networks=127.0.0.0/8", "no.such")
        assert (ended.code, ended.errors.strip()) == (1, f"error: {registry} lists no endpoint of 'no.such'")

    async def test_shows_the_health_of_the_service_at_each_endpoint(
        self, folder: Path, registry: str
    ) -> None:
        async with (
            served(Who("one"), scheme="tcp") as open_one,
            served(scheme="tcp", interceptors=[refuse]) as other,
        ):
            with await asyncio.to_thread(Holder, registry) as holder:
                for service, address in (("who", open_one), ("who", other), ("no.such", open_one)):
                    await asyncio.to_thread(holder.register, service, address)
                ended = await asyncio.to_thread(command, folder, "list", registry, "--json")
        assert {
            service["name"]: {one["address"]: one["health"] for one in service["endpoints"]}
            for service in json.loads(ended.output)
        } == {"who": {open_one: "SERVING", other: "UNKNOWN"}, "no.such": {open_one: "SERVICE_UNKNOWN"}}

    async def test_tells_that_the_health_of_a_server_needs_a_token(self, folder: Path, registry: str) -> None:
        tokens = StaticTokens({"secret": Identity("one")})
        async with served(Who("one"), scheme="tcp", authenticate=tokens) as closed:
            with await asyncio.to_thread(Holder, registry) as holder:
                await asyncio.to_thread(holder.register, "who", closed)
                ended = await asyncio.to_thread(command, folder, "list", registry)
        assert ended.code == 0
        assert ended.output.splitlines()[1].split() == [closed, "UNAUTHENTICATED"]
        assert "fastrpc health ADDRESS --token-file FILE asks one server" in ended.errors

    @pytest.mark.measures
    def test_waits_at_most_the_given_time(self, folder: Path, registry: str) -> None:
        with Holder(registry) as holder, contextlib.ExitStack() as sockets:
            for service in ("one", "two"):
                for _ in range(10):
                    silent = sockets.enter_context(socket.create_server(("127.0.0.1", 0)))
                    holder.register(service, f"tcp://127.0.0.1:{silent.getsockname()[1]}")
            started = time.monotonic()
            ended = command(folder, "list", registry, "--timeout", "1")
            seconds = time.monotonic() - started
        assert ended.code == 0
        assert ended.output.count("UNREACHABLE") == 20
        # One after the other they would take twenty.
        assert 1.0 <= seconds < 10.0

    def test_may_be_limited_to_one_service(self, folder: Path, registry: str) -> None:
        with running(folder, "-a", "tcp://127.0.0.1:0", "--registry", registry) as server:
            server.wait_output(r"serving at (\S+)\n")
            said = [
                json.loads(command(folder, "list", *arguments, "--json").output)
                for arguments in ((registry, "users"), (f"{registry}/users",))
            ]
        assert [[one["name"] for one in found] for found in said] == [["users"], ["users"]]

    def test_service_that_nobody_serves_is_a_failure(self, folder: Path, registry: str) -> None:
        ended = command(folder, "list", f"{registry}/nobody")
        assert (ended.code, ended.output) == (1, "")
        assert "lists no endpoint of 'nobody'" in ended.errors

    def test_empty_registry_has_no_services(self, folder: Path, registry: str) -> None:
        ended = command(folder, "list", registry)
        assert (ended.code, ended.output) == (0, "no services\n")

    @pytest.mark.parametrize("place", ["registry://127.0.0.1:1", "registry://127.0.0.1:1/arith"])
    def test_registry_that_is_away_is_a_failure(self, folder: Path, place: str) -> None:
        ended = command(folder, "list", place, "--timeout", "2")
        assert (ended.code, "Traceback" in ended.errors) == (1, False)
        assert "127.0.0.1:1" in ended.errors

    @pytest.mark.parametrize(
        ("url", "cause"),
        [
            ("registry://here", "is not host and port"),
            ("registry://127.0.0.1:1?colour=red", "has no option colour"),
        ],
    )
    def test_wrong_url_is_a_usage_error(self, folder: Path, url: str, cause: str) -> None:
        ended = command(folder, "list", url)
        assert ended.code == 2
        assert cause in ended.errors


class TestHealth:
    def test_asks_an_endpoint_that_the_registry_lists(self, folder: Path, registry: str) -> None:
        with running(folder, "-a", "tcp://127.0.0.1:0", "--registry", registry) as server:
            place = server.wait_output(r"serving at (\S+)\n")[1]
            for arguments in ([registry, "arith"], [f"{registry}/arith"], [f"{registry}/arith", "arith"]):
                ended = command(folder, "health", *arguments)
                assert (ended.code, ended.output) == (0, "SERVING\n")
                assert f"at {place}" in ended.errors
            told = json.loads(command(folder, "health", registry, "arith", "--json").output)
        assert told == {"service": "arith", "status": "SERVING", "endpoint": place}

    def test_help_tells_of_registries(self, folder: Path) -> None:
        for name in ("health", "call"):
            assert "registry://host:port/service" in "".join(command(folder, name, "--help").output.split())


class TestCall:
    def test_calls_an_endpoint_that_the_registry_lists(self, folder: Path, registry: str) -> None:
        with running(folder, "-a", "tcp://127.0.0.1:0", "--registry", registry) as server:
            place = server.wait_output(r"serving at (\S+)\n")[1]
            for target in (registry, f"{registry}/", f"{registry}/arith", f"{registry}?networks=127.0.0.0/8"):
                ended = command(folder, "call", target, "arith.mul", "6", "7")
                assert (ended.code, ended.output) == (0, "42\n"), ended
                assert f"from {place}" in ended.errors
            told = json.loads(command(folder, "call", registry, "users.name", "--json").output)
            measured = command(folder, "bench", registry, "arith.mul", "6", "7", "-c", "2", "-d", "0.1")
            typed = command(folder, "call", registry, "users.greet", "123", "note=null")
        assert (told["value"], told["endpoint"]) == ("Ann", place)
        assert (measured.code, "errors   none" in measured.output) == (0, True)
        assert json.loads(typed.output) == ["123", None]

    def test_service_that_nobody_serves_is_a_failure(self, folder: Path, registry: str) -> None:
        ended = command(folder, "call", registry, "no.such.method")
        assert (ended.code, "Traceback" in ended.errors) == (1, False)
        assert "no.such" in ended.errors

    def test_method_without_a_service_is_a_matter_of_usage(self, folder: Path, registry: str) -> None:
        ended = command(folder, "call", registry, "mul")
        assert ended.code == 2
        assert "names no service" in ended.errors


class TestCompare:
    def test_shows_missing_endpoints_of_a_registry_and_different_records(
        self, folder: Path, registry: str
    ) -> None:
        with Program(["-m", "fastrpc", "registry", "-a", "tcp://127.0.0.1:0"], folder) as program:
            other = program.wait_output(r"registry at (\S+)\n")[1]
            with Holder(registry) as held, Holder(other) as held_there:
                held.register("ghost", "tcp://127.0.0.1:1")
                held_there.register("ghost", "tcp://127.0.0.1:1")
                same = command(folder, "list", registry, "--compare", other)
                held.register("ghost", "tcp://127.0.0.1:2")
                held_there.place("shade", Endpoint("tcp://127.0.0.1:3", weight=2, zone="eu"))
                held.place("shade", Endpoint("tcp://127.0.0.1:3", labels={"group": "blue"}))
                ended = command(folder, "list", registry, "--compare", other)
                one = command(folder, "list", registry, "ghost", "--compare", other, "--json")
        assert (same.code, same.output, same.errors) == (0, "no differences\n", "")
        assert (ended.code, ended.errors) == (1, "")
        assert [line.split(maxsplit=1) for line in ended.output.splitlines() if line] == [
            ["ghost"],
            ["tcp://127.0.0.1:2", f"only in {registry}"],
            ["shade"],
            ["tcp://127.0.0.1:3", "weight 1 and 2, zone none and eu, labels {'group': 'blue'} and none"],
        ]
        record = {"weight": 1, "zone": "", "version": "", "labels": {}, "protocols": []}
        assert one.code == 1
        assert json.loads(one.output) == [
            {"name": "ghost", "address": "tcp://127.0.0.1:2", "first": record, "second": None}
        ]

    @pytest.mark.parametrize(
        ("options", "cause"),
        [
            (("tcp://127.0.0.1:1", "--compare", "registry://127.0.0.1:1"), "compares two registries"),
            (("registry://127.0.0.1:1", "--compare", "tcp://127.0.0.1:1"), "compares two registries"),
            (
                ("registry://127.0.0.1:1/a", "--compare", "registry://127.0.0.1:1/b"),
                "a and b are two services",
            ),
        ],
    )
    def test_only_two_registries_can_be_compared(
        self, folder: Path, options: tuple[str, ...], cause: str
    ) -> None:
        ended = command(folder, "list", *options)
        assert ended.code == 2
        assert cause in ended.errors


class TestRun:
    def test_registers_the_advertised_address_until_it_drains(self, folder: Path, registry: str) -> None:
        options = ("-a", "tcp://0.0.0.0:0", "--registry", registry, "--advertise", "tcp://127.0.0.1:0")
        with running(folder, *options) as server:
            port = server.wait_output(r"serving at \S+:(\d+)\n")[1]
            (arith, _) = json.loads(command(folder, "list", registry, "--json").output)
            server.signal(signal.SIGTERM)
            assert server.wait().code == 0
        assert [one["address"] for one in arith["endpoints"]] == [f"tcp://127.0.0.1:{port}"]
        assert [one["health"] for one in arith["endpoints"]] == ["SERVING"]
        assert command(folder, "list", registry).output == "no services\n"

    def test_registry_may_stand_in_the_environment(self, folder: Path, registry: str) -> None:
        environment = {"FASTRPC_REGISTRY": registry, "FASTRPC_ADDRESS": "tcp://127.0.0.1:0"}
        with Program(["-m", "fastrpc", "run", "app:services"], folder, environment) as server:
            server.wait_output(r"serving at ")
            assert "arith" in command(folder, "list", registry).output

    def test_registers_in_every_given_registry(self, folder: Path, registry: str) -> None:
        with Program(["-m", "fastrpc", "registry", "-a", "tcp://127.0.0.1:0"], folder) as program:
            other = program.wait_output(r"registry at (\S+)\n")[1]
            options = ("-a", "tcp://127.0.0.1:0", "--registry", registry, "-r", other, "--workers", "2")
            with running(folder, *options) as server:
                server.wait_output(r"serving at ")
                same = command(folder, "list", registry, "--compare", other)
                assert "arith" in command(folder, "list", other).output
        assert (same.code, same.output) == (0, "no differences\n")

    def test_listening_everywhere_needs_an_address_to_advertise(self, folder: Path, registry: str) -> None:
        ended = command(folder, "run", "app:services", "-a", "tcp://0.0.0.0:0", "--registry", registry)
        assert ended.code == 2
        assert "no client can dial it" in ended.errors
        assert "hint: name the address that clients dial: --advertise tcp://" in ended.errors

    @pytest.mark.parametrize(
        ("options", "cause"),
        [
            (("--registry", "nowhere://h:1"), "no registry has the scheme 'nowhere'"),
            (("--registry", "registry://h:1", "--advertise", "here"), "'here' is not an address"),
            (("--advertise", "tcp://h:1"), "--advertise needs --registry"),
            (
                ("--registry", "registry://h:1", "--advertise", "tcp://h:1", "--advertise", "tcp://h:2"),
                "advertise has 2 addresses, the server listens at 1",
            ),
        ],
    )
    def test_invalid_options_are_a_usage_error(
        self, folder: Path, options: tuple[str, ...], cause: str
    ) -> None:
        ended = command(folder, "run", "app:services", *options)
        assert ended.code == 2
        assert cause in ended.errors

    def test_server_under_development_is_not_registered(self, folder: Path, registry: str) -> None:
        arguments = ["-m", "fastrpc", "dev", "app:services", "-a", "tcp://127.0.0.1:0"]
        with Program(arguments, folder, {"FASTRPC_REGISTRY": registry}) as server:
            server.wait_output(r"serving at ")
            assert command(folder, "list", registry).output == "no services\n"
