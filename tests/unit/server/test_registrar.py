"""The registrar: it tries again what may succeed later, and closes a registry that it opened."""

import asyncio
from typing import Any

import pytest

from fastrpc.config import Backoff
from fastrpc.endpoint import Endpoint
from fastrpc.errors import ConfigError, StoreError
from fastrpc.registries import StaticRegistry
from fastrpc.server import registrar as module
from fastrpc.server.registrar import Record, Registrar
from fastrpc.status import Status
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
