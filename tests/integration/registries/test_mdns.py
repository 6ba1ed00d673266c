"""Servers announce themselves by multicast DNS over loopback, and an independent package reads our announcements."""

import asyncio
import os
import queue
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, ConfigError, Endpoint
from fastrpc.registries import open_registry
from fastrpc.registries.mdns import TYPE
from tests.support.waiting import eventually

zeroconf = pytest.importorskip("zeroconf", reason="zeroconf is not installed")

pytestmark = pytest.mark.one_loop

#: Begins the names of services: other runs on this machine hear the announcements of this one.
OWN = f"mdns-{os.getpid()}"

ONE = Endpoint("tcp://10.0.0.1:80", zone="eu-1a", labels={"about": "ü" * 300}, protocols=("native",))
TWO = Endpoint("tls://[fd00::2]:80")


@pytest.fixture
def opened() -> Iterator[Callable[[], Any]]:
    """Open registries of one program each."""
    found: list[Any] = []

    def open_one() -> Any:
        found.append(open_registry("mdns://?interface=lo"))
        return found[-1]

    yield open_one
    for one in found:
        one.close()


@pytest.fixture
def others() -> Iterator[Any]:
    """The independent package, as another program uses it."""
    made = zeroconf.Zeroconf(interfaces=["127.0.0.1"])
    yield made
    made.close()


async def until(watch: Any, *endpoints: Endpoint) -> None:
    await eventually(lambda: watch.latest is not None and set(watch.latest.endpoints) == set(endpoints))


async def test_servers_are_found_and_leave(opened: Any) -> None:
    servers, clients = opened(), opened()
    async with clients.watch(f"{OWN}.found") as watch:
        async with servers.register(f"{OWN}.found", ONE):
            await until(watch, ONE)
            async with opened().register(f"{OWN}.found", TWO), servers.register(f"{OWN}.other", TWO):
                await until(watch, ONE, TWO)
                await eventually(lambda: {f"{OWN}.found", f"{OWN}.other"} <= set(clients.services()))
            await until(watch, ONE)
        await until(watch)


async def test_calls_reach_a_server_that_announces_itself() -> None:
    @fastrpc.service(f"{OWN}.called")
    class Arith:
        @fastrpc.method
        async def mul(self, a: int, b: int) -> int:
            return a * b

    async with fastrpc.Server(Arith, registry="mdns://?interface=lo") as server:
        await server.listen("tcp://127.0.0.1:0")
        async with Client(f"mdns://{OWN}.called?interface=lo") as client:
            assert await client.call(f"{OWN}.called.mul", 6, 7) == 42


async def test_other_programs_find_the_place_of_a_server(opened: Any, others: Any) -> None:
    names: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> Any:
        while True:
            info = others.get_service_info(TYPE, names.get(timeout=20), 2_000)
            if info is not None and info.properties.get(b"service") == f"{OWN}.read".encode():
                return info

    async with opened().register(f"{OWN}.read", ONE):
        browser = zeroconf.ServiceBrowser(others, TYPE, handlers=[lambda **change: names.put(change["name"])])
        info = await asyncio.to_thread(read)
        browser.cancel()
        assert (info.parsed_addresses(), info.port) == (["10.0.0.1"], 80)


async def test_name_of_another_type_ends_no_discovery(opened: Any, others: Any) -> None:
    async with opened().watch(f"{OWN}.foreign") as watch:
        foreign = zeroconf.DNSPointer(TYPE, 12, 1, 120, "evil._http._tcp.local.")
        packet = zeroconf.DNSOutgoing(0x8400)
        packet.add_answer_at_time(foreign, 0)
        others.loop.call_soon_threadsafe(others.async_send, packet)
        async with opened().register(f"{OWN}.foreign", ONE):
            await until(watch, ONE)
        await until(watch)


async def test_broken_text_of_another_program_costs_one_log_line(
    opened: Any, others: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened().watch(f"{OWN}.broken") as watch, opened().register(f"{OWN}.broken", ONE):
        await until(watch, ONE)
        for number, text in enumerate(
            ({"service": f"{OWN}.broken"}, {"service": f"{OWN}.broken", "record0": "{"}, {})
        ):
            info = zeroconf.ServiceInfo(
                TYPE,
                f"broken-{number}-{OWN}.{TYPE}",
                port=1,
                properties=text,
                parsed_addresses=["10.0.0.9"],
                server="b.local.",
            )
            await asyncio.to_thread(others.register_service, info)
        left_out = f"{OWN}.broken: 'broken-{{}}-{OWN}._fastrpc._tcp.local.' is ignored"
        await eventually(lambda: all(left_out.format(number) in caplog.text for number in (0, 1)))
        assert watch.latest.endpoints == (ONE,)
        assert caplog.text.count("is ignored") == 2


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        (
            Endpoint("tcp://10.0.0.1:80", labels={"a": "x" * 500, "b": "x" * 500, "c": "x" * 200}),
            "holds 1200",
        ),
        (Endpoint("unix:///run/arith"), "not an address on a network"),
    ],
)
def test_record_that_no_text_holds_is_refused(opened: Any, endpoint: Endpoint, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        opened().register("arith", endpoint)


def test_url_with_a_place_is_refused() -> None:
    with pytest.raises(ConfigError, match="mdns:// takes no host"):
        open_registry("mdns://host")


async def test_missing_interface_is_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    registry = open_registry("mdns://?interface=none0")
    async with registry.register("arith", ONE):
        assert "there is no interface 'none0'" in caplog.text
    await registry.aclose()


def test_missing_package_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zeroconf", None)
    with pytest.raises(ConfigError, match=r"needs zeroconf.*pip install 'fastrpc\[mdns\]'"):
        open_registry("mdns://")
