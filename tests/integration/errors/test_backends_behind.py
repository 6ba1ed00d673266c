"""Handlers whose store or broker cannot answer: their callers get a status, the log one line."""

import logging
from collections.abc import AsyncIterator

import pytest

import fastrpc
from fastrpc import (
    BrokerError,
    CallError,
    Client,
    ServerConfig,
    Status,
    StoreConflictError,
    StoreError,
    Topic,
)
from fastrpc.brokers import Broker, current_broker
from fastrpc.testing import connected
from tests.support.small_broker import SmallBroker, away

ORDERS = Topic("orders.new", int)

#: The methods whose store or broker is away.
ABSENCES = ("publish", "publish_in_a_thread", "read")


@fastrpc.service("shop")
class Shop:
    @fastrpc.method
    async def publish(self) -> None:
        with fastrpc.timeout(0.05):
            await current_broker().publish(ORDERS, 17)

    @fastrpc.method
    def publish_in_a_thread(self) -> None:
        raise away()

    @fastrpc.method
    async def read(self) -> None:
        raise ExceptionGroup("both", [StoreError("the secret store is away", retryable=True), away()])

    @fastrpc.method
    async def publish_too_much(self) -> None:
        full = Status.RESOURCE_EXHAUSTED
        raise BrokerError("the queue is full", status=full, retryable=True, retry_after=1)

    @fastrpc.method
    async def write(self) -> None:
        raise StoreConflictError("the secret key has another revision")

    @fastrpc.method
    async def use_closed(self) -> None:
        raise StoreError("the secret store is closed", processed="no")


@pytest.fixture
async def shop() -> AsyncIterator[Client]:
    backend = SmallBroker()
    backend.failures.extend(away() for _ in range(100))
    async with (
        Broker(backend) as broker,
        connected(Shop(), broker=broker, config=ServerConfig()) as client,
    ):
        yield client


def told(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [one for one in caplog.records if one.name == "fastrpc.server" and one.levelno >= logging.WARNING]


@pytest.mark.parametrize("method", ABSENCES)
async def test_an_absent_backend_is_unavailable_and_logged_in_one_line(
    shop: Client, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        with pytest.raises(CallError) as failed:
            await shop.call(f"shop.{method}")
        assert failed.value.status is Status.UNAVAILABLE
        assert (failed.value.processed, failed.value.retryable) == ("yes", False)
        assert failed.value.message == f"shop.{method}: a call it made failed (UNAVAILABLE)"
    (record,) = told(caplog)
    text = "calls that failed with their store or broker: 1, the last of shop."
    assert record.getMessage().startswith(f"{text}{method}: ")
    assert "away" in record.getMessage()
    assert "\n" not in record.getMessage()
    assert record.exc_info is None


async def test_further_failures_of_a_backend_are_counted_at_the_end_of_the_server(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with connected(Shop(), config=ServerConfig()) as client:
        for method in ("read", "publish_in_a_thread", "read"):
            with pytest.raises(CallError):
                await client.call(f"shop.{method}")
    first, last = [record.getMessage() for record in told(caplog)]
    assert "broker: 1, the last of shop.read: StoreError: the secret store is away" in first
    assert "broker: 2, the last of shop.read: StoreError: the secret store is away" in last


async def test_a_full_backend_is_passed_on_as_resource_exhausted(shop: Client) -> None:
    with pytest.raises(CallError, match="a call it made failed") as failed:
        await shop.call(Shop.publish_too_much)
    assert failed.value.status is Status.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("method", ["write", "use_closed"])
async def test_a_refusal_by_a_backend_is_a_crash(
    shop: Client, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(CallError, match="the server's log") as failed:
        await shop.call(f"shop.{method}")
    assert failed.value.status is Status.INTERNAL
    assert "secret" not in str(failed.value)
    (record,) = told(caplog)
    assert record.exc_info is not None
