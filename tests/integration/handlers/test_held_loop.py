"""A handler that holds the loop for more than a second is logged with its method."""

import asyncio
import contextlib
import logging
import time
from typing import Any

import pytest

import fastrpc
from fastrpc import Admission, Client, ServerConfig
from tests.support.served import served

pytestmark = pytest.mark.one_loop

HELD_SECONDS = 1.05

#: A busy machine takes longer; no call waits too long to be started.
PATIENT = ServerConfig(admission=Admission(queue_age=60))


@fastrpc.service("shop.v1.held")
class Held:
    """Holds the loop in each way there is."""

    @fastrpc.method
    async def at_first(self) -> None:
        time.sleep(HELD_SECONDS)

    @fastrpc.method
    async def at_first_and_on(self) -> None:
        time.sleep(HELD_SECONDS)
        await asyncio.sleep(0)

    @fastrpc.method
    async def later(self) -> None:
        await asyncio.sleep(0.01)
        time.sleep(HELD_SECONDS)

    @fastrpc.method
    async def later_and_on(self) -> None:
        await asyncio.sleep(0.01)
        time.sleep(HELD_SECONDS)
        await asyncio.sleep(0.01)

    @fastrpc.method
    async def failing(self) -> None:
        await asyncio.sleep(0.01)
        time.sleep(HELD_SECONDS)
        raise fastrpc.CallError(fastrpc.Status.NOT_FOUND, "nothing")

    @fastrpc.method(inline=True)
    def inline(self) -> None:
        time.sleep(HELD_SECONDS)

    @fastrpc.method
    def in_a_thread(self) -> None:
        time.sleep(HELD_SECONDS)

    @fastrpc.method
    async def waiting(self) -> None:
        await asyncio.sleep(HELD_SECONDS)

    @fastrpc.method
    async def beside(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0)

    @fastrpc.method
    async def quick(self) -> None:
        """Do nothing."""


def reports(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if "blocked the loop" in record.message]


@pytest.mark.parametrize(
    ("name", "with_interceptor"),
    [
        ("at_first", False),
        ("at_first_and_on", False),
        ("later", False),
        ("later_and_on", True),
        ("failing", False),
        ("inline", False),
        ("inline", True),
    ],
)
async def test_a_handler_that_holds_the_loop_is_named(
    name: str, with_interceptor: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def passing(call: fastrpc.Call, proceed: fastrpc.Proceed) -> Any:
        return await proceed(call)

    async with (
        served(Held, interceptors=[passing] if with_interceptor else []) as target,
        Client(target) as client,
    ):
        await client.call(Held.quick)
        with contextlib.suppress(fastrpc.CallError):
            await client.call(f"shop.v1.held.{name}")
        await client.call(Held.quick)
    (report,) = reports(caplog)
    assert (report.name, report.levelname) == ("fastrpc.server", "WARNING")
    assert report.message.startswith(f"shop.v1.held.{name} blocked the loop for ")
    fields = vars(report)
    assert (fields["service"], fields["method"]) == ("shop.v1.held", f"shop.v1.held.{name}")
    assert 1.0 < fields["seconds"] < 30


@pytest.mark.parametrize("name", ["in_a_thread", "waiting"])
async def test_a_handler_that_yields_to_other_tasks_is_not_named(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(Held) as target, Client(target) as client:
        await client.call(f"shop.v1.held.{name}")
    assert reports(caplog) == []


@pytest.mark.parametrize(("name", "scheme"), [("at_first", "tcp"), ("later", "unix"), ("inline", "memory")])
async def test_nobody_is_named_for_another(name: str, scheme: str, caplog: pytest.LogCaptureFixture) -> None:
    async with (
        served(Held, scheme=scheme, config=PATIENT) as target,
        Client(target) as client,
        Client(target) as other,
    ):
        await other.ready()
        calls = [client.call(Held.beside) for _ in range(5)]
        calls += [client.call(f"shop.v1.held.{name}")]
        calls += [client.call(method) for method in (Held.beside, Held.quick, Held.waiting) for _ in range(5)]
        calls += [other.call(Held.quick) for _ in range(5)]
        await asyncio.gather(*calls)
    assert [vars(report)["method"] for report in reports(caplog)] == [f"shop.v1.held.{name}"]


async def test_a_loop_that_somebody_else_holds_is_no_fault_of_a_handler(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served(Held) as target, Client(target) as client:
        call = asyncio.ensure_future(client.call(Held.waiting))
        await asyncio.sleep(0.05)
        time.sleep(HELD_SECONDS)
        await call
        await client.call(Held.quick)
    assert reports(caplog) == []
