"""The details of an error reach the caller as the value that the handler gave, with any codec of the call."""

from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import StringValue

import fastrpc
from fastrpc import CallError, Client, Status, SyncClient
from fastrpc.testing import serving
from tests.support.served import SCHEMES, served

pytestmark = pytest.mark.one_loop

DETAILS: dict[str, Any] = {
    "a map": {"missing": 50, "of": ["ann", "bob"]},
    "a text": "not enough money",
    "bytes": b"\x00\xff",
    "a number": 0,
    "an empty list": [],
}


@fastrpc.service("bank")
class Bank:
    def __init__(self, details: Any) -> None:
        self.details = details

    def refuse(self) -> CallError:
        return CallError(Status.FAILED_PRECONDITION, "not enough money", details=self.details)

    @fastrpc.method(codec="raw")
    async def raw(self, payload: bytes) -> bytes:
        raise self.refuse()

    @fastrpc.method(codec="raw", inline=True)
    def raw_inline(self, payload: bytes) -> bytes:
        raise self.refuse()

    @fastrpc.method(codec="raw")
    def raw_in_thread(self, payload: bytes) -> bytes:
        raise self.refuse()

    @fastrpc.method
    async def protobuf(self, message: StringValue) -> StringValue:
        raise self.refuse()

    @fastrpc.method
    async def plain(self, text: str) -> str:
        raise self.refuse()


CALLS: list[tuple[Any, Any]] = [
    (Bank.raw, b"x"),
    (Bank.raw_inline, b"x"),
    (Bank.raw_in_thread, b"x"),
    (Bank.protobuf, StringValue(value="x")),
    (Bank.plain, "x"),
]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("details", DETAILS.values(), ids=DETAILS)
async def test_details_arrive_unchanged(scheme: str, details: Any) -> None:
    async with served(Bank(details), scheme=scheme) as target, Client(target) as client:
        for method, argument in CALLS:
            with pytest.raises(CallError) as caught:
                await client.call(method, argument)
            assert caught.value.details == details
            (error,) = await client.call_many(method, [(argument,)], return_exceptions=True)
            assert error.details == details
        with pytest.raises(CallError) as caught:
            await client.with_options(codec="raw").call("bank.raw", b"x")
        assert caught.value.details == details


@pytest.mark.parametrize("details", DETAILS.values(), ids=DETAILS)
def test_details_arrive_unchanged_at_a_blocking_client(details: Any) -> None:
    with serving(Bank(details)) as address, SyncClient(address) as client:
        for method, argument in CALLS:
            with pytest.raises(CallError) as caught:
                client.call(method, argument)
            assert caught.value.details == details
            (error,) = client.call_many(method, [(argument,)], return_exceptions=True)
            assert error.details == details


async def test_details_arrive_unchanged_through_interceptors() -> None:
    async def pass_on(call: Any, proceed: Any) -> Any:
        return await proceed(call)

    async with (
        served(Bank({"missing": 50}), scheme="memory", interceptors=[pass_on]) as target,
        Client(target, interceptors=[pass_on]) as client,
    ):
        with pytest.raises(CallError) as caught:
            await client.call(Bank.raw, b"x")
        assert caught.value.details == {"missing": 50}
