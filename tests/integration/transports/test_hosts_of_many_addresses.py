"""Hosts with many addresses: silent ones, slow ones, none at all, for clients with and without an event loop."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, ClientConfig, ConnectError, ServerConfig, SyncClient
from fastrpc.config import TLS, Timeouts
from fastrpc.endpoint import Address
from fastrpc.testing import serving
from fastrpc.transports import blocking, race
from fastrpc.transports.base import DialOptions
from tests.support.certificates import Authority
from tests.support.descriptors import open_descriptors

Call = Callable[[str, ClientConfig], int]


@fastrpc.service("arith")
class Arith:
    @fastrpc.method
    async def mul(self, a: int, b: int) -> int:
        return a * b


def call_blocking(target: str, config: ClientConfig) -> int:
    with SyncClient(target, config=config) as client:
        return client.call(Arith.mul, 6, 7)


def call_on_a_loop(target: str, config: ClientConfig) -> int:
    async def main() -> int:
        async with Client(target, config=config) as client:
            return await client.call(Arith.mul, 6, 7)

    return asyncio.run(main())


@pytest.fixture(params=[call_blocking, call_on_a_loop], ids=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Call:
    """Make one call by a new client of each kind."""
    chosen: Call = request.param
    return chosen


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The addresses to which the name `many.test` resolves."""
    found: list[tuple[str, int]] = []
    resolve = socket.getaddrinfo

    def answer(host: Any, *arguments: Any, flags: int = 0, **options: Any) -> Any:
        if host != "many.test":
            return resolve(host, *arguments, flags=flags, **options)
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "not a number")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in found]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return found


@pytest.fixture
def silent() -> Iterator[list[tuple[str, int]]]:
    """Twelve addresses that neither accept nor refuse, as their queues are full."""
    with contextlib.ExitStack() as stack:
        places = []
        for number in range(2, 14):
            bound = stack.enter_context(socket.create_server((f"127.0.0.{number}", 0), backlog=0))
            for _ in range(4):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(bound.getsockname())
            places.append(bound.getsockname())
        yield places


def place_of(target: str) -> tuple[str, int]:
    return "127.0.0.1", Address.parse(target).port


def test_twelve_silent_addresses_leave_time_for_the_next(
    many: list[tuple[str, int]], silent: list[tuple[str, int]], call: Call
) -> None:
    with serving(Arith) as target:
        many += [*silent, place_of(target)]
        assert call("tcp://many.test:80", ClientConfig(timeouts=Timeouts(connect=20, call=60))) == 42


def test_all_addresses_are_tried_within_half_of_the_default_time() -> None:
    assert race.next_delay(2) == 0.25
    for count in (3, 8, 50):
        assert race.next_delay(count) * count <= Timeouts().connect / 2 + 1e-9  # type: ignore[operator]


def test_the_first_address_has_half_of_the_time_for_its_handshake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(race.time, "monotonic", lambda: now)
    places: race.Places = {("127.0.0.1", port): (socket.AF_INET, ("127.0.0.1", port)) for port in range(16)}
    assert race.Race(places, None, []).handshake_seconds() is None
    taken = race.Race(places, 108.0, [])
    assert taken.handshake_seconds() == 4.0
    # None is left.
    places.clear()
    assert taken.handshake_seconds() == 8.0


def test_an_address_whose_handshake_fails_leaves_the_call_to_the_next(
    many: list[tuple[str, int]], tmp_path: Any
) -> None:
    authority = Authority(tmp_path)
    right, wrong = authority.certificate("DNS:many.test"), authority.certificate("DNS:other.test")
    trusting = ClientConfig(tls=TLS(ca_file=authority.cert_file), timeouts=Timeouts(connect=20, call=60))
    servers = [
        serving(Arith, address="tls://127.0.0.1:0", config=ServerConfig(tls=one.tls()))
        for one in (wrong, right)
    ]
    with servers[0] as refused, servers[1] as taken:
        many += [place_of(refused), place_of(taken)]
        assert call_blocking("tls://many.test:80", trusting) == 42


def test_a_name_without_an_address_is_a_connect_error(many: list[tuple[str, int]], call: Call) -> None:
    with pytest.raises(ConnectError, match=r"cannot connect to tcp://many\.test:80.*no address"):
        call("tcp://many.test:80", ClientConfig())


def test_a_race_that_ends_leaves_no_socket_open(
    many: list[tuple[str, int]], silent: list[tuple[str, int]]
) -> None:
    before = open_descriptors()
    many += silent
    with pytest.raises(ConnectError, match=r"127\.0\.0\.2: timed out; 127\.0\.0\.3: timed out"):
        blocking.connect(Address.parse("tcp://many.test:80"), 0.2, DialOptions())
    with serving(Arith) as target:
        many.append(place_of(target))
        blocking.connect(Address.parse("tcp://many.test:80"), 20, DialOptions()).close()
    assert open_descriptors() == before
