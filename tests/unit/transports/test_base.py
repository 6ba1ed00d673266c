"""The options that transports take, and which transport serves an address."""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, ClientConfig, Keepalive, Server, ServerConfig, SyncClient
from fastrpc.config import TLS
from fastrpc.config.delays import silence_seconds
from fastrpc.endpoint import Address
from fastrpc.errors import ConfigError
from fastrpc.tls import ALPN
from fastrpc.transports import base, blocking
from fastrpc.transports.base import (
    BACKLOG,
    SILENCE_SECONDS,
    DialOptions,
    ListenOptions,
    add_transport,
    remove_transport,
    transport_for,
)


def test_transport_of_another_package_is_found_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pigeon:
        scheme = "pigeon"

    class Entry:
        name = "pigeon"

        def load(self) -> Pigeon:
            return pigeon

    class Entries(list[Entry]):
        names = frozenset({"pigeon"})

    pigeon = Pigeon()
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: Entries([Entry()]))
    monkeypatch.setattr(base, "_loaded", {})
    address = Address("pigeon", path="loft")
    assert transport_for(address).scheme == pigeon.scheme
    with pytest.raises(ConfigError, match="needs an event loop"):
        blocking.connect(address, 1, DialOptions())
    with pytest.raises(ConfigError, match="known are memory, pigeon, relay, tcp, tls, unix"):
        transport_for(Address("raven", path="tower"))


@fastrpc.service("options")
class Echo:
    @fastrpc.method
    def echo(self, text: str) -> str:
        return text


class Watched:
    """A transport that a program defines: memory, and its arguments."""

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme
        self.dialled: list[Any] = []
        self.listened: list[Any] = []

    def _target(self, address: Address) -> Address:
        return Address("memory", path=f"{self.scheme}-{address.host}")

    async def dial(self, address: Address, session_factory: Any, options: DialOptions) -> Any:
        self.dialled.append(options)
        target = self._target(address)
        return await transport_for(target).dial(target, session_factory, options)

    async def listen(self, address: Address, session_factory: Any, options: ListenOptions) -> Any:
        self.listened.append(options)
        target = self._target(address)
        listener = await transport_for(target).listen(target, session_factory, options)
        listener.address = address
        return listener

    def connect(self, address: Address, timeout: float | None, options: DialOptions) -> Any:
        self.dialled.append(options)
        return blocking.connect(self._target(address), timeout, options)


numbers = itertools.count(1)


@pytest.fixture
def watched() -> Iterator[Watched]:
    transport = Watched(f"watched-{next(numbers)}")
    add_transport(transport)
    yield transport
    remove_transport(transport)


async def test_client_and_server_give_a_transport_one_value_with_their_keepalive(watched: Watched) -> None:
    served = ServerConfig(keepalive=Keepalive(interval=3.0, timeout=2.0))
    client = ClientConfig(keepalive=Keepalive(interval=None, timeout=4.0))
    async with Server(Echo, config=served) as server:
        address = str(await server.listen(f"{watched.scheme}://here:1", backlog=7, reuse_port=True))
        async with Client(address, config=client) as calling:
            assert await calling.call(Echo.echo, "x") == "x"
    assert watched.listened == [ListenOptions(backlog=7, reuse_port=True, silence_seconds=5.0)]
    assert watched.dialled == [DialOptions(silence_seconds=4.0)]


def test_blocking_client_gives_a_transport_the_same_value(watched: Watched) -> None:
    config = ClientConfig(keepalive=Keepalive(interval=1.0, timeout=2.5))
    address = f"{watched.scheme}://here:1"
    with fastrpc.testing.serving(Echo, address=address), SyncClient(address, config=config) as client:
        assert client.call(Echo.echo, "x") == "x"
    assert watched.dialled == [DialOptions(silence_seconds=3.5)]


@pytest.mark.parametrize("options", [DialOptions(), ListenOptions()])
def test_options_cannot_be_changed(options: Any) -> None:
    assert options.silence_seconds == SILENCE_SECONDS
    for field in dataclasses.fields(options):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(options, field.name, None)


def test_options_have_the_defaults_of_the_settings() -> None:
    assert base.dial_options(ClientConfig(), ALPN, None) == DialOptions()
    assert silence_seconds(ServerConfig().keepalive) == SILENCE_SECONDS
    assert ListenOptions().backlog == BACKLOG


def test_the_certificates_of_a_client_reach_its_transport() -> None:
    tls = TLS(ca_file="authority.pem")
    assert base.dial_options(ClientConfig(), ALPN, tls).tls is tls


async def test_listening_takes_no_option_of_another_name() -> None:
    async with Server(Echo) as server:
        for name in ("blacklog", "silence_seconds", "tls"):
            with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
                await server.listen("memory://options", **{name: 5})
