"""The override of an operator: one value from which every record of a server is made."""

import asyncio
from typing import Any

import pytest

from fastrpc import ConfigError, Endpoint, Server, StoreError
from fastrpc.config import Backoff
from fastrpc.endpoint import copied
from fastrpc.registries import StaticRegistry
from fastrpc.server import registrar as module
from fastrpc.server.override import CONFIGURED, Override
from fastrpc.server.registrar import Record, Registrar
from fastrpc.status import Status
from tests.support.waiting import eventually
from tests.support.who import Who

pytestmark = pytest.mark.one_loop

ENDPOINT = Endpoint("tcp://127.0.0.1:1", weight=3, labels={"group": "blue"})
OUT = copied(ENDPOINT, weight=0, labels={"group": "blue", "state": "inactive"})
SERVICES = ("arith", "users")


def records() -> dict[Record, Endpoint]:
    return {(service, ENDPOINT.address): ENDPOINT for service in SERVICES}


def listed(registry: StaticRegistry) -> list[Endpoint]:
    """Return the record of each service."""
    found: list[Endpoint] = []
    for service in SERVICES:
        with registry.watch(service) as watch:
            assert watch.latest is not None
            found += watch.latest.endpoints
    return found


@pytest.mark.parametrize(
    "override",
    [CONFIGURED, Override(True), Override(weight=0), Override(weight=65_535), Override(True, 7)],
    ids=str,
)
def test_an_override_is_one_word(override: Override) -> None:
    word = override.packed()
    assert 0 <= word < 1 << 64
    assert Override.unpacked(word) == override
    assert (word == 0) is (override == CONFIGURED)


@pytest.mark.parametrize("weight", [-1, 65_536, 1.5, True, "5"])
def test_a_weight_that_no_record_holds_is_refused(weight: Any) -> None:
    with pytest.raises(ConfigError, match="it must be a whole number from 0 to 65535"):
        Override(weight=weight)


def test_a_server_that_is_out_keeps_its_labels_and_no_weight() -> None:
    assert Override(True, 7).applied(ENDPOINT) == OUT
    assert Override(weight=7).applied(ENDPOINT) == copied(ENDPOINT, weight=7)
    assert CONFIGURED.applied(ENDPOINT) is ENDPOINT


async def test_every_record_follows_and_returns() -> None:
    registry = StaticRegistry()
    registrar = Registrar(registry)
    registrar.want(records())
    await registrar.settle()
    for override in (Override(True), Override(weight=5), CONFIGURED):
        assert await registrar.set_override(override)
        wanted = override.applied(ENDPOINT)
        assert listed(registry) == [wanted, wanted]
        assert registrar.override == override
        rows = registrar.shown()
        assert [(row["weight"], row["configured_weight"]) for row in rows] == [(wanted.weight, 3)] * 2
        assert [row["is_out"] for row in rows] == [override.is_out] * 2
    await registrar.close()


async def test_records_that_come_later_are_made_from_the_override() -> None:
    registry = StaticRegistry()
    registrar = Registrar(registry, override=Override(True))
    registrar.want({("arith", ENDPOINT.address): ENDPOINT})
    await registrar.settle()
    registrar.want(records())
    await registrar.settle()
    assert listed(registry) == [OUT, OUT]
    await registrar.close()


class Failing(StaticRegistry):
    """Refuses to change the records of some services."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: set[str] = set()

    def register(self, service: str, endpoint: Endpoint) -> Any:
        registration = super().register(service, endpoint)
        change = registration.change

        async def refuse_or_change(endpoint: Endpoint) -> None:
            if service in self.refused:
                raise StoreError("no such permission", status=Status.PERMISSION_DENIED)
            await change(endpoint)

        registration.change = refuse_or_change  # type: ignore[method-assign]
        return registration


async def test_an_override_that_is_half_done_is_repaired_in_the_background(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "BACKOFF", Backoff(first=0.001, longest=0.001))
    registry = Failing()
    registrar = Registrar(registry)
    registrar.want(records())
    await registrar.settle()
    registry.refused = {"users"}
    with pytest.raises(StoreError, match="no such permission"):
        await registrar.set_override(Override(True))
    assert listed(registry) == [OUT, ENDPOINT]
    registry.refused = set()
    await eventually(lambda: listed(registry) == [OUT, OUT])
    await registrar.close()


async def test_the_next_write_of_any_kind_repairs_an_override_that_is_half_done() -> None:
    registry = Failing()
    registrar = Registrar(registry)
    registrar.want(records())
    await registrar.settle()
    registry.refused = {"users"}
    with pytest.raises(StoreError):
        await registrar.set_override(Override(True))
    await registrar._stop_following()
    registry.refused = set()
    await registrar.settle()
    assert listed(registry) == [OUT, OUT]
    await registrar.close()


async def test_a_server_that_leaves_keeps_its_records_as_they_are() -> None:
    registry = StaticRegistry()
    registrar = Registrar(registry)
    registrar.want(records())
    await registrar.settle()
    # The registry has no mark of a server that leaves.
    await registrar.retire()
    assert await registrar.set_override(Override(True))
    assert listed(registry) == []
    await registrar.close()


async def test_a_server_is_taken_out_and_in_at_every_address_and_a_restart_has_its_configured_weight() -> (
    None
):
    registry = StaticRegistry()

    def weights() -> list[int]:
        with registry.watch("who") as watch:
            assert watch.latest is not None
            return [one.weight for one in watch.latest.endpoints]

    for _ in range(2):
        async with Server(Who("a"), registry=registry) as server:
            for name in ("a", "b"):
                address = f"memory://{name}"
                await server.listen(address, advertise=Endpoint(address, weight=3))
            assert weights() == [3, 3]
            advertising: Any = server._offer.advertising
            assert await advertising.set_override(Override(True))
            assert (weights(), advertising.override) == ([0, 0], Override(True))
            # A service that is well again, and an address that comes later, are out as well.
            server.set_serving(False)
            await eventually(lambda: weights() == [])
            server.set_serving(True)
            await eventually(lambda: weights() == [0, 0])
            await server.listen("memory://c")
            assert weights() == [0, 0, 0]
            assert await advertising.set_override(CONFIGURED)
            assert weights() == [3, 3, 1]


async def test_an_override_waits_for_a_registry_that_is_away() -> None:
    registrar = Registrar("registry://127.0.0.1:1")
    registrar.want(records())
    await registrar.settle()
    async with asyncio.timeout(30):
        assert not await registrar.set_override(Override(True))
    await registrar.close()
