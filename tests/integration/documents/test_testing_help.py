"""`fastrpc.testing`: helpers for the tests of users' programs."""

import asyncio
import copy
import inspect
import os
import random
import subprocess
import sys
import threading
import tomllib
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, SyncClient
from fastrpc.auth import StaticTokens
from fastrpc.brokers import current_broker
from fastrpc.limits import RateLimit
from fastrpc.testing import (
    ConnectedFixture,
    FakeClock,
    FaultyTransport,
    ServingFixture,
    connected,
    handling,
    serving,
)
from tests.support.program import PACKAGE_ROOT
from tests.support.served import served
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

ROOT = Path(__file__).parents[3]

#: Connects again at once.
EAGER = fastrpc.ClientConfig(backoff=fastrpc.Backoff(first=0.001, longest=0.01))


@fastrpc.service("mirror")
class Mirror:
    @fastrpc.method(idempotent=True)
    async def same(self, data: bytes) -> bytes:
        return data

    @fastrpc.method
    async def slow(self, data: bytes) -> bytes:
        await asyncio.sleep(0)
        return data

    @fastrpc.method
    async def caller(self) -> str:
        call = fastrpc.current_call()
        assert call.identity is not None
        return f"{call.identity.name} {call.metadata['tenant']} {round(call.remaining() or 0)}"


@pytest.mark.parametrize("config", [{"x": 1}, fastrpc.ClientConfig()], ids=["a dict", "the client's"])
async def test_settings_of_another_kind_are_refused_as_by_a_server(config: Any) -> None:
    with pytest.raises(fastrpc.ConfigError, match="it must be a ServerConfig"):
        async with connected(Mirror, config=config):
            pass


async def test_handling_lends_a_direct_call_its_surroundings() -> None:
    with handling(metadata={"tenant": "acme"}, identity=fastrpc.Identity("ada"), timeout=3) as call:
        assert await Mirror().caller() == "ada acme 3"
        assert fastrpc.current_call() is call
    with pytest.raises(LookupError):
        fastrpc.current_call()


def test_serving_runs_a_server_next_to_ordinary_code() -> None:
    with serving(Mirror()) as address, SyncClient(address) as client:
        assert client.call(Mirror.same, b"x") == b"x"
    with pytest.raises(fastrpc.ConnectError), SyncClient(address) as client:
        client.call(Mirror.same, b"x")


def test_an_error_at_the_end_of_a_server_is_raised() -> None:
    @asynccontextmanager
    async def mirror() -> AsyncIterator[Mirror]:
        yield Mirror()
        raise OSError("nothing was flushed")

    with (
        pytest.raises(OSError, match="nothing was flushed"),
        serving(mirror) as address,
        SyncClient(address) as client,
    ):
        assert client.call(Mirror.same, b"x") == b"x"


async def shout(call: fastrpc.Call, proceed: fastrpc.Proceed) -> Any:
    value = await proceed(call)
    return value.upper() if isinstance(value, bytes) else value


def test_serving_takes_interceptors_and_config() -> None:
    config = fastrpc.ServerConfig(codecs=("json", "raw"), expose_errors=True)
    with serving(Mirror(), interceptors=[shout], config=config) as address, SyncClient(address) as client:
        assert client.with_options(codec="raw").call(Mirror.same, b"loud") == b"LOUD"
        with pytest.raises(fastrpc.CallError, match="only json, raw"):
            client.call(Mirror.same, b"loud")


def test_serving_says_which_of_its_arguments_is_wrong() -> None:
    with pytest.raises(fastrpc.ConfigError, match=r"interceptors\[0\] is 5"):
        serving(Mirror(), interceptors=[5]).__enter__()  # type: ignore[list-item]
    with pytest.raises(fastrpc.ConfigError, match="config is a dict"):
        serving(Mirror(), config={}).__enter__()  # type: ignore[arg-type]


async def test_connected_takes_interceptors_of_both_sides_and_an_identity() -> None:
    @fastrpc.service("desk")
    class Desk:
        @fastrpc.method
        async def who(self) -> bytes:
            identity = fastrpc.current_call().identity
            return b"nobody" if identity is None else identity.name.encode()

    sides: list[str] = []

    async def note(call: fastrpc.Call, proceed: fastrpc.Proceed) -> Any:
        sides.append(f"{call.side} {call.identity.name if call.identity else None}")
        return await proceed(call)

    options: dict[str, Any] = {"interceptors": [note, shout], "client_interceptors": [note]}
    async with connected(Desk(), **options, identity=fastrpc.Identity("ada")) as client:
        assert await client.call(Desk.who) == b"ADA"
    assert sides == ["client None", "server ada"]
    async with connected(Desk()) as client:
        assert await client.call(Desk.who) == b"nobody"


async def test_roles_hold_for_the_identity_of_connected() -> None:
    @fastrpc.service("vault")
    class Vault:
        @fastrpc.method(roles=("auditor",))
        async def audit(self, data: bytes) -> int:
            return len(data)

    async with connected(Vault(), identity=fastrpc.Identity("eve", roles={"auditor"})) as client:
        assert await client.call(Vault.audit, bytes(1_000_000)) == 1_000_000
    async with connected(Vault(), identity=fastrpc.Identity("ada")) as client:
        with pytest.raises(fastrpc.CallError) as refused:
            await client.call(Vault.audit, b"")
        assert refused.value.status is fastrpc.Status.PERMISSION_DENIED


def test_serving_takes_authentication_and_limits() -> None:
    def may(identity: fastrpc.Identity | None, route: Any) -> bool:
        return identity is not None and route.method != "slow"

    tokens = StaticTokens({"token-of-eve": fastrpc.Identity("eve")})
    limits = [RateLimit(0.001, 1)]
    with serving(Mirror(), authenticate=tokens, authorize=may, limits=limits) as address:
        with SyncClient(address, credentials="token-of-eve", fail_mode="failfast") as client:
            with pytest.raises(fastrpc.CallError, match="may not call it"):
                client.call(Mirror.slow, b"")
            assert client.call(Mirror.same, b"a") == b"a"
            with pytest.raises(fastrpc.OverloadedError):
                client.call(Mirror.same, b"a")


def test_a_fake_clock_moves_when_told_to() -> None:
    clock = FakeClock(5)
    clock.advance(1.5)
    assert (clock(), clock.nanoseconds()) == (6.5, 6_500_000_000)
    with pytest.raises(ValueError, match="go back"):
        clock.advance(-1)


@pytest.mark.parametrize("scheme", ["tcp", "unix", "memory"])
@pytest.mark.parametrize("seed", range(3))
async def test_delayed_pieces_arrive_whole_and_in_order(scheme: str, seed: int) -> None:
    data = random.Random(seed).randbytes(20_000)
    async with served(Mirror(), scheme=scheme) as target:
        with FaultyTransport(seed=seed, delay=0.0005, cut_after=None) as faulty:
            async with Client(faulty.address(target)) as client:
                assert await client.call(Mirror.same, data) == data
                answers = await asyncio.gather(*(client.call(Mirror.slow, b"%d" % n) for n in range(20)))
                assert answers == [b"%d" % n for n in range(20)]
        assert (faulty.connections, faulty.cuts) == (1, 0)


async def test_both_sides_read_their_bytes_one_by_one() -> None:
    async with served(Mirror(), scheme="memory") as target:
        with FaultyTransport(delay=0.0, split=1, cut_after=None) as faulty:
            async with Client(faulty.address(target)) as client:
                assert await client.call(Mirror.same, b"abc") == b"abc"


async def test_cut_connections_are_made_again_and_tell_the_truth() -> None:
    outcomes: dict[str, int] = {"fine": 0, "unknown": 0}
    async with served(Mirror(), scheme="tcp") as target:
        with FaultyTransport(seed=3, delay=0.0, cut_after=4_000) as faulty:
            async with Client(faulty.address(target), config=EAGER) as client:
                view = client.with_options(wait_for_ready=True)
                for n in range(100):
                    try:
                        assert await view.call(Mirror.slow, b"%d" % n) == b"%d" % n
                        outcomes["fine"] += 1
                    except fastrpc.ConnectionLostError as error:
                        outcomes[error.processed] += 1
                assert client.stats()["live"]["calls"] == 0
        assert faulty.cuts >= 2
        assert faulty.connections > faulty.cuts - 1
    assert outcomes["fine"] > 50
    assert 0 < outcomes["unknown"] <= faulty.cuts


async def test_the_same_seed_gives_the_same_faults() -> None:
    async def cuts(seed: int) -> list[int]:
        counts = []
        async with served(Mirror(), scheme="memory") as target:
            with FaultyTransport(seed=seed, delay=0.0, split=None, cut_after=3_000) as faulty:
                async with Client(faulty.address(target), config=EAGER) as client:
                    for _ in range(60):
                        await client.with_options(wait_for_ready=True).call(Mirror.same, bytes(50))
                        counts.append(faulty.cuts)
        return counts

    first = await cuts(5)
    assert await cuts(5) == first
    assert await cuts(6) != first


@pytest.mark.parametrize("end", ["close", "abort"])
async def test_a_connection_that_reads_nothing_is_told_of_its_end(end: str) -> None:
    async with served(Mirror(), scheme="tcp") as target:
        with FaultyTransport(cut_after=None) as faulty:
            async with Client(faulty.address(target)) as client:
                await client.ready()
                transport = client._pool.connections[0].transport
                transport.pause_reading()
                getattr(transport, end)()
                await eventually(lambda: transport not in faulty._open)


async def test_refused_connections_fail_the_call() -> None:
    async with served(Mirror(), scheme="tcp") as target:
        with FaultyTransport(refuse=1.0) as faulty:
            async with Client(faulty.address(target)) as client:
                with pytest.raises(fastrpc.ConnectError, match="refused by the FaultyTransport of seed 0"):
                    await client.call(Mirror.same, b"x")


@pytest.mark.parametrize("wrong", [{"delay": -1}, {"split": 0}, {"cut_after": 0}, {"refuse": 2}])
def test_faults_that_cannot_be_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(fastrpc.ConfigError, match=f"{next(iter(wrong))} is"):
        FaultyTransport(**wrong)


def test_addresses_of_a_faulty_transport_hold_inside_its_block() -> None:
    faulty = FaultyTransport()
    with pytest.raises(RuntimeError, match="with faulty"):
        faulty.address("tcp://127.0.0.1:1")
    with faulty:
        target = faulty.address("tcp://127.0.0.1:1")
    with pytest.raises(fastrpc.ConfigError, match="no transport"):
        Client(target)


@pytest.mark.parametrize(("fixture", "function"), [(ConnectedFixture, connected), (ServingFixture, serving)])
def test_type_of_a_fixture_has_the_parameters_of_its_function(
    fixture: type, function: Callable[..., Any]
) -> None:
    _, *taken = inspect.signature(fixture.__call__).parameters.values()
    assert taken == list(inspect.signature(function).parameters.values())


USERS_TESTS = """
import asyncio
import inspect
import fastrpc

@fastrpc.service("arith")
class Arith:
    @fastrpc.method
    async def mul(self, a: int, b: int) -> int:
        return a * b

async def test_entered(fastrpc_connected):
    async with fastrpc_connected(Arith()) as client:
        assert await client.call(Arith.mul, 6, 7) == 42

async def test_awaited(fastrpc_connected):
    first = await fastrpc_connected(Arith())
    second = await fastrpc_connected(Arith)
    assert await first.call(Arith.mul, 6, 7) == await second.call(Arith.mul, 7, 6)

def test_in_a_separate_loop(fastrpc_connected):
    async def main():
        async with fastrpc_connected(Arith()) as client:
            return await client.call(Arith.mul, 6, 7)
    assert asyncio.run(main()) == 42

def test_serving(fastrpc_serving):
    with fastrpc.SyncClient(fastrpc_serving(Arith())) as client:
        assert client.call(Arith.mul, 6, 7) == 42

def test_serving_entered(fastrpc_serving):
    with fastrpc_serving(Arith()) as address, fastrpc.SyncClient(address) as client:
        assert client.call(Arith.mul, 6, 7) == 42
"""


def test_pytest_finds_the_fixtures(tmp_path: Path) -> None:
    (tmp_path / "test_arith.py").write_text(USERS_TESTS)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    plugin = project["entry-points"]["pytest11"]["fastrpc"]
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            plugin,
            "-p",
            "no:cacheprovider",
            "-p",
            "pytest_asyncio.plugin",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(PACKAGE_ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "5 passed" in ended.stdout


def test_a_copy_of_an_address_ends_its_server(fastrpc_serving: ServingFixture) -> None:
    address = fastrpc_serving(Mirror())
    copied = copy.copy(address)
    assert copied == address
    with copied, SyncClient(address) as client:
        assert client.call(Mirror.same, b"a") == b"a"
    with pytest.raises(fastrpc.ConnectError), SyncClient(address) as client:
        client.call(Mirror.same, b"a")


@pytest.mark.parametrize("way", ["function", "fixture"])
def test_server_on_a_thread_has_a_broker(way: str, fastrpc_serving: ServingFixture) -> None:
    noted = threading.Event()

    @fastrpc.service("arith")
    class Arith:
        @fastrpc.method
        async def mul(self, a: int, b: int) -> int:
            await current_broker().publish("products", a * b)
            return a * b

        @fastrpc.subscriber("products")
        async def note(self, product: int) -> None:
            noted.set()

    with ExitStack() as stack:
        if way == "function":
            address: str = stack.enter_context(serving(Arith(), broker="memory://arith"))
        else:
            address = fastrpc_serving(Arith(), broker="memory://arith")
        with SyncClient(address) as client:
            assert client.call(Arith.mul, 6, 7) == 42
        assert noted.wait(30)
