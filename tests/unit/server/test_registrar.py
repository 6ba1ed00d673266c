"""The registrar: it retries steps that may succeed later, and closes a registry that it opened."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fastrpc.config import Backoff
from fastrpc.endpoint import Endpoint
from fastrpc.errors import ConfigError, StoreError
from fastrpc.registries import StaticRegistry
from fastrpc.registries.base.backed import BackedRegistry
from fastrpc.server import registrar as module
from fastrpc.server.registrar import Record, Registrar
from fastrpc.status import Status
from tests.support.fake_registry import FakeBackend, FakeChangingLease
from tests.support.held_registry import HeldRegistry
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

ENDPOINT = Endpoint("tcp://127.0.0.1:1")


class ChoosyRegistry(StaticRegistry):
    """Can never hold one service, and refuses another one twice."""

    def __init__(self) -> None:
        super().__init__()
        self.refusals = 0

    def register(self, service: str, endpoint: Endpoint) -> Any:
        if service.startswith("unfit"):
            raise ConfigError("the name is unfit")
        if service == "late" and self.refusals < 2:
            self.refusals += 1
            raise StoreError("no such permission", status=Status.PERMISSION_DENIED)
        return super().register(service, endpoint)


def records(*services: str) -> dict[Record, Endpoint]:
    return {(service, ENDPOINT.address): ENDPOINT for service in services}


async def test_record_that_never_fits_does_not_keep_another_from_being_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "BACKOFF", Backoff(first=0.001, longest=0.001))
    registrar = Registrar(ChoosyRegistry())
    registrar.want(records("unfit", "unfit.too", "late"))
    registrar.follow()
    await eventually(lambda: ("late", ENDPOINT.address) in registrar._held)
    # Nothing is left that could succeed later.
    assert registrar._follower is not None
    await eventually(registrar._follower.done)
    texts = [one.getMessage() for one in caplog.records if "refuses" in one.getMessage()]
    assert [text.partition("registration: ")[2] for text in texts] == [
        "the name is unfit",
        "no such permission",
    ]
    await registrar.close()


async def test_closing_that_is_cancelled_closes_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = HeldRegistry()
    monkeypatch.setattr(module, "open_registry", lambda *arguments, **options: registry)
    registrar = Registrar("registry://127.0.0.1:1")
    registrar.want(records("arith"))
    await registrar.settle()
    closing = asyncio.ensure_future(registrar.close())
    await registry.is_asked.wait()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert registry.is_closed


HEAVY = Endpoint(ENDPOINT.address, weight=5)


class Foreign(StaticRegistry):
    """A registry of a user: its registrations have no `change`. It notes each list of its service."""

    def __init__(self) -> None:
        super().__init__()
        self.lists: list[list[Endpoint]] = []
        self.fails_to_leave = False

    def update(self, service: str, endpoints: Any) -> None:
        super().update(service, endpoints)
        self.lists.append(self._list(service))

    @contextlib.asynccontextmanager
    async def register(self, service: str, endpoint: Endpoint) -> AsyncIterator[None]:  # type: ignore[override]
        async with super().register(service, endpoint):
            yield
        if self.fails_to_leave:
            raise OSError("no route to the registry")


def listed(registry: StaticRegistry) -> list[Endpoint]:
    with registry.watch("arith") as watch:
        assert watch.latest is not None
        return list(watch.latest.endpoints)


async def settled(registrar: Registrar, endpoint: Endpoint) -> None:
    registrar.want({("arith", endpoint.address): endpoint})
    await registrar.settle()


async def test_a_record_that_differs_is_changed_in_place() -> None:
    registry = StaticRegistry()
    registrar = Registrar(registry)
    await settled(registrar, ENDPOINT)
    entered = registrar._held["arith", ENDPOINT.address].record._entered
    await settled(registrar, HEAVY)
    assert listed(registry) == [HEAVY]
    assert registrar._held["arith", ENDPOINT.address].record._entered is entered
    await registrar.close()
    assert listed(registry) == []


async def test_a_registry_without_changes_gets_another_registration_over_the_one_before() -> None:
    registry = Foreign()
    registrar = Registrar(registry)
    await settled(registrar, ENDPOINT)
    await settled(registrar, HEAVY)
    assert listed(registry) == [HEAVY]
    assert all(registry.lists)
    await registrar.close()
    assert registry.lists[-1] == []


async def test_a_registration_that_fails_to_leave_after_a_change_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry = Foreign()
    registrar = Registrar(registry)
    await settled(registrar, ENDPOINT)
    registry.fails_to_leave = True
    await settled(registrar, HEAVY)
    assert await registrar.attempt() == []
    assert [one.getMessage() for one in caplog.records] == [
        "the record of tcp://127.0.0.1:1 before a change could not be taken out of the registry"
    ]
    registry.fails_to_leave = False
    await registrar.close()
    assert listed(registry) == []


async def test_a_change_that_is_refused_is_tried_again_until_it_is_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "BACKOFF", Backoff(first=0.001, longest=0.001))
    lease = FakeChangingLease(ENDPOINT)
    refusals = 0

    def rewrite() -> bool:
        nonlocal refusals
        refusals += 1
        if refusals < 3:
            raise StoreError("no such permission", status=Status.PERMISSION_DENIED)
        return True

    lease.rewrite = rewrite  # type: ignore[method-assign]
    with BackedRegistry(FakeBackend(lease), "fake://registry") as registry:
        registrar = Registrar(registry)
        await settled(registrar, ENDPOINT)
        registrar.want({("arith", ENDPOINT.address): HEAVY})
        registrar.follow()
        await eventually(lambda: registrar._held["arith", ENDPOINT.address].record.endpoint == HEAVY)
        assert (refusals, registrar.is_registered) == (3, True)
        assert sum("refuses the registration" in one.getMessage() for one in caplog.records) == 1
        await registrar.close()


async def test_a_change_that_was_cancelled_is_sent_again_for_any_later_wish() -> None:
    held = asyncio.Event()

    class Slow(StaticRegistry):
        def register(self, service: str, endpoint: Endpoint) -> Any:
            registration = super().register(service, endpoint)
            change = registration.change

            async def slow_change(endpoint: Endpoint) -> None:
                await change(endpoint)
                await held.wait()

            registration.change = slow_change  # type: ignore[method-assign]
            return registration

    registry = Slow()
    registrar = Registrar(registry)
    await settled(registrar, ENDPOINT)
    changing = asyncio.ensure_future(settled(registrar, HEAVY))
    await eventually(lambda: listed(registry) == [HEAVY])
    changing.cancel()
    await asyncio.gather(changing, return_exceptions=True)
    held.set()
    await settled(registrar, ENDPOINT)
    assert listed(registry) == [ENDPOINT]
    await registrar.close()
