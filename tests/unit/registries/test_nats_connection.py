"""The errors of a connection to NATS, in the words and of the class that its owner asks for."""

import asyncio

import pytest

from fastrpc import BrokerError, FastRPCError, Status, StoreError
from fastrpc.registries.base.urls import RegistryURL

pytest.importorskip("nats", reason="nats-py is not installed")

from nats.errors import Error, MaxPayloadError, TimeoutError

from fastrpc.registries.nats.connection import NatsConnection, take_access


@pytest.mark.parametrize("kind", [StoreError, BrokerError])
@pytest.mark.parametrize(
    ("error", "told", "status", "text"),
    [
        (OSError("no route to host"), "", Status.UNAVAILABLE, "no route to host"),
        (TimeoutError(), "", Status.UNAVAILABLE, "nats: timeout"),
        (TimeoutError(), "Permissions Violation for X", Status.PERMISSION_DENIED, "nats: timeout"),
        (OSError(), "", Status.UNAVAILABLE, "no answer"),
        (OSError(), "what the server told", Status.UNAVAILABLE, "what the server told"),
        (Error("nats: 'Authorization Violation'"), "", Status.UNAUTHENTICATED, "Authorization Violation"),
        (MaxPayloadError(), "", Status.RESOURCE_EXHAUSTED, "maximum payload"),
    ],
)
def test_errors_have_the_class_of_the_owner_and_a_status(
    kind: type[FastRPCError], error: Exception, told: str, status: Status, text: str
) -> None:
    access = take_access(RegistryURL("nats://10.0.0.1,[::1]:5222"), kind)
    found = access.failure(error, told)
    assert type(found) is kind
    assert found.status is status
    assert found.message.startswith("NATS at 10.0.0.1:4222,[::1]:5222: ")
    assert text in found.message


@pytest.mark.one_loop
async def test_work_without_a_server_fails_with_the_class_of_the_owner() -> None:
    async def enter(stream: object) -> object:
        raise AssertionError("there is no server")

    connection = NatsConnection(take_access(RegistryURL("nats://127.0.0.1:1"), BrokerError), enter)
    with pytest.raises(BrokerError, match=r"NATS at 127\.0\.0\.1:1: "):
        await connection.run(asyncio.sleep)  # type: ignore[arg-type]
    connection.end()
    with pytest.raises(BrokerError, match="the connection is closed"):
        await connection.run(asyncio.sleep)  # type: ignore[arg-type]
    await connection.drop()
