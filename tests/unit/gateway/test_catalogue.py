"""Services that a gateway finds in a registry: nonsense of one server is left out, and the others are served."""

import logging
from typing import Any, cast

import pytest

import fastrpc
from fastrpc import Client, ClientConfig, FastRPCError, Server, Status
from fastrpc.gateway import catalogue
from fastrpc.gateway.catalogue import Catalogue
from fastrpc.gateway.dialing import Dialing
from fastrpc.gateway.forwarded_types import described_methods
from fastrpc.gateway.forwarding import Forwarder, forwarding_service
from fastrpc.registries.static import StaticRegistry
from fastrpc.rpc.described_services import read_descriptions
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


@fastrpc.service("good")
class Good:
    @fastrpc.method
    async def hello(self) -> str:
        return "hello"


@fastrpc.service("bad")
class Bad:
    @fastrpc.method
    async def hello(self) -> str:
        return "hello"


class Listed(StaticRegistry):
    """Lists its services; at the second look there is an error that nobody foresaw."""

    def __init__(self, address: str) -> None:
        super().__init__([address])
        self.looks = 0

    def services(self) -> list[str]:
        self.looks += 1
        if self.looks == 2:
            raise RuntimeError("planted")
        return ["bad"] if self.looks == 1 else ["bad", "good"]


class Dial:
    """Opens one registry for everybody."""

    def __init__(self, registry: Any) -> None:
        self._registry = registry

    def registry(self, *urls: str) -> Any:
        return self._registry


@pytest.mark.parametrize("position", [-5, 1, 10**30])
def test_a_stream_at_an_impossible_position_is_a_value_error(position: int) -> None:
    method: dict[str, Any] = dict.fromkeys(("name", "full_name", "signature", "documentation"), "s.m")
    method |= {"kind": "client_stream", "parameters": [], "result": "int"}
    method["name"], method["stream"] = "m", {"name": "x", "type": "int", "position": position}
    service = {"name": "s", "version": None, "documentation": "", "methods": [method]}
    [described] = read_descriptions([service], "x")
    with pytest.raises(ValueError, match="the stream cannot be parameter"):
        forwarding_service("s", described_methods(described), Forwarder(cast(Any, None)))


async def test_no_answer_of_one_server_ends_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(catalogue, "LOOK_SECONDS", 0.01)

    def read(value: Any, source: str) -> Any:
        if source == "bad":
            raise KeyError("planted")
        return read_descriptions(value, source)

    monkeypatch.setattr(catalogue, "read_descriptions", read)
    async with Server(Good(), Bad()) as behind, Server() as front:
        registry = Listed(await behind.listen("tcp://127.0.0.1:0"))
        dial = cast(Dialing, Dial(registry))
        with caplog.at_level(logging.INFO, "fastrpc.server"):
            async with Catalogue(front, ["static://x"], dial, config=ClientConfig()):
                await eventually(lambda: "good" in [one.name for one in front.services])
        assert "bad" not in [one.name for one in front.services]
        assert "bad is not served" in caplog.text
        assert "the registry does not list its services" in caplog.text
        assert "serving good: hello" in caplog.text


def clients_of(found: Catalogue) -> dict[str, Client]:
    places: Any = found._places
    return {name: places.client(name) for name in places.clients()}


def asked_by(found: Catalogue) -> list[int]:
    """Return how many calls each client of a catalogue has made."""
    return [one.stats()["totals"]["calls"] for one in clients_of(found).values()]


async def test_a_server_that_refuses_reflection_is_asked_again_after_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catalogue, "LOOK_SECONDS", 0.001)

    async def known(peer: fastrpc.Peer) -> None:
        return None

    async with Server(Good(), Bad(), authenticate=known) as behind, Server() as front:
        opening = Opening(str(await behind.listen("tcp://127.0.0.1:0")), ["bad", "good"])
        now = [1_000.0]
        tested = Catalogue(
            front, ["static://x"], cast(Dialing, opening), config=ClientConfig(), clock=lambda: now[0]
        )
        async with tested as found:
            for expected in (1, 2, 3):
                await eventually(lambda expected=expected: asked_by(found) == [expected] * 2)
                for seconds in (catalogue.REFUSED_SECONDS - 1, 1):
                    looks = opening.looks
                    await eventually(lambda looks=looks: opening.looks > looks + 3)
                    assert asked_by(found) == [expected] * 2
                    now[0] += seconds


class Opening:
    """Opens another registry each time, as the command does; all list the same services of one server."""

    def __init__(self, address: str, listed: list[str]) -> None:
        self._address = address
        self.listed = listed
        self.opened: list[StaticRegistry] = []
        self.looks = 0

    def registry(self, *urls: str) -> Any:
        opening = self

        class Changing(StaticRegistry):
            def services(self) -> list[str]:
                opening.looks += 1
                return list(opening.listed)

        self.opened.append(Changing([self._address]))
        return self.opened[-1]


async def test_a_service_that_leaves_before_it_is_described_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catalogue, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(catalogue, "ASK_SECONDS", 20.0)

    def read(value: Any, source: str) -> Any:
        return read_descriptions(value, source) if source == "good" else []

    monkeypatch.setattr(catalogue, "read_descriptions", read)

    async with Server(Good(), Bad()) as behind, Server() as front:
        address = str(await behind.listen("tcp://127.0.0.1:0"))
        listed = ["bad", "good", "no name", "other"]
        opening = Opening(address, listed)
        async with Catalogue(front, ["static://x"], cast(Dialing, opening), config=ClientConfig()) as found:
            assert sorted(clients_of(found)) == ["bad", "good", "other"]
            await eventually(lambda: opening.looks > 3)
            # One for the list itself, one for all clients.
            assert len(opening.opened) == 2
            client = clients_of(found)["bad"]
            # What was described stays: its callers may come until the gateway ends.
            listed[:] = ["other"]
            await eventually(lambda: sorted(clients_of(found)) == ["good", "other"])
            await eventually(lambda: sorted(found._warned) == ["other"])
            with pytest.raises(fastrpc.UnavailableError, match="the client is closed"):
                await client.call("bad.hello")
            # Once it is listed again, it is asked again.
            listed[:] = ["bad", "other"]
            await eventually(lambda: sorted(clients_of(found)) == ["bad", "good", "other"])


@pytest.mark.parametrize(
    ("method", "status"), [("away.hello", Status.UNAVAILABLE), ("none.hello", Status.UNIMPLEMENTED)]
)
async def test_methods_of_a_service_without_a_server_may_come(method: str, status: Status) -> None:
    class Away(StaticRegistry):
        def services(self) -> list[str]:
            return ["away"]

    async with Server() as front:
        address = await front.listen("tcp://127.0.0.1:0")
        dial = cast(Dialing, Dial(Away(["tcp://127.0.0.1:1"])))
        async with (
            Catalogue(front, ["static://x"], dial, config=ClientConfig()),
            Client(address, fail_mode="failfast") as client,
        ):
            with pytest.raises(FastRPCError) as refused:
                await client.call(method)
    assert (refused.value.status, refused.value.processed) == (status, "no")
