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
        registrar.set_override(override)
        assert await registrar.problem(20) == ""
        wanted = override.applied(ENDPOINT)
        assert listed(registry) == [wanted, wanted]
        assert registrar.override == override
        rows = registrar.shown()
        assert [(row["weight"], row["configured_weight"]) for row in rows] == [(wanted.weight, 3)] * 2
        assert [row["is_out"] for row in rows] == [override.is_out] * 2
    await registrar.close()


async def test_records_that_come_later_are_made_from_the_override() -> None:
    registry = StaticRegistry()
    registrar = Registrar(registry)
    registrar.set_override(Override(True))
    registrar.want({("arith", ENDPOINT.address): ENDPOINT})
    await registrar.settle()
    registrar.want(records())
    await registrar.settle()
    assert listed(registry) == [OUT, OUT]
    await registrar.close()


class Failing(StaticRegistry):
    """Refuses to change the records of some services, and changes none before an event."""

    def __init__(self, may_change: asyncio.Event | None = None) -> None:
        super().__init__()
        self.refused: set[str] = set()
        self.may_change = may_change

    def register(self, service: str, endpoint: Endpoint) -> Any:
        registration = super().register(service, endpoint)
        change = registration.change

        async def refuse_or_change(endpoint: Endpoint) -> None:
            if self.may_change is not None:
                await self.may_change.wait()
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
    registrar.set_override(Override(True))
    assert await registrar.problem(20) == "the registry refuses the records: no such permission"
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
    registrar.set_override(Override(True))
    assert await registrar.problem(20)
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
    registrar.set_override(Override(True))
    assert await registrar.problem(20) == ""
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
            kept = advertising.records
            kept.set_override(Override(True))
            assert await kept.problem(20) == ""
            assert (weights(), kept.override) == ([0, 0], Override(True))
            # A service that is well again, and an address that comes later, are out as well.
            server.set_serving(False)
            await eventually(lambda: weights() == [])
            server.set_serving(True)
            await eventually(lambda: weights() == [0, 0])
            await server.listen("memory://c")
            assert weights() == [0, 0, 0]
            kept.set_override(CONFIGURED)
            assert (await kept.problem(20), kept.configured_weights()) == ("", [1, 3])
            assert weights() == [3, 3, 1]


async def test_an_override_waits_for_a_registry_that_is_away() -> None:
    registrar = Registrar("registry://127.0.0.1:1")
    registrar.want(records())
    await registrar.settle()
    registrar.set_override(Override(True))
    assert await registrar.problem(30) == "the registry is unreachable, it will get the records later"
    await registrar.close()


async def test_an_answer_waits_the_given_time_for_a_registry_that_hangs() -> None:
    is_back = asyncio.Event()
    registry = Failing(is_back)
    registrar = Registrar(registry)
    registrar.want(records())
    await registrar.settle()
    registrar.set_override(Override(True))
    assert await registrar.problem(0.01) == (
        "the registry has not accepted the records within 0.01 s, they are sent again until it does"
    )
    is_back.set()
    assert await registrar.problem(20) == ""
    assert listed(registry) == [OUT, OUT]
    await registrar.close()


async def test_an_override_before_the_first_record_sends_nothing() -> None:
    registry = StaticRegistry()
    registrar = Registrar(registry)
    registrar.set_override(Override(weight=7))
    assert (await registrar.problem(20), listed(registry)) == ("", [])
    await registrar.close()
