"""Every row of the table of error events, and the texts of errors."""

import asyncio
import logging
import pickle
import re
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

import fastrpc
from fastrpc import (
    CallError,
    Client,
    ClientConfig,
    ConnectError,
    ConnectionLostError,
    DeadlineExceededError,
    DecodeError,
    EncodeError,
    Limits,
    OverloadedError,
    Server,
    ServerConfig,
    Status,
    UnavailableError,
    current_call,
)
from fastrpc.testing import connected
from tests.support.proxy import FaultProxy
from tests.support.served import SCHEMES, served
from tests.support.waiting import eventually, overdue_inside

pytestmark = pytest.mark.one_loop


@fastrpc.service("shop.orders")
class Orders:
    def __init__(self) -> None:
        self.ran = 0
        self.inside = asyncio.Event()
        self.release = asyncio.Event()

    @fastrpc.method
    async def place(self, number: int) -> int:
        self.ran += 1
        return number

    @fastrpc.method(idempotent=True)
    async def find(self, number: int) -> int:
        self.ran += 1
        return number

    @fastrpc.method
    async def refuse(self, status: int, retry_after: float | None = None) -> None:
        self.ran += 1
        raise CallError(
            Status(status), "no such order", details={"order": 5, "tags": ["a"]}, retry_after=retry_after
        )

    @fastrpc.method
    async def crash(self) -> None:
        raise ValueError("the password is swordfish")

    @fastrpc.method
    async def cancel(self) -> None:
        raise asyncio.CancelledError

    @fastrpc.method
    async def hold(self) -> int:
        self.ran += 1
        self.inside.set()
        await self.release.wait()
        return 5

    @fastrpc.method
    async def wrong(self) -> int:
        return "text"  # type: ignore[return-value]

    @fastrpc.method
    async def deep_error(self) -> None:
        raise ConnectError("cannot reach tcp://10.1.2.3:80")

    @fastrpc.method
    async def odd_details(self) -> None:
        raise CallError(Status.ABORTED, "odd", details=object())


@fastrpc.service("shop.counter")
class Counter:
    """Passes on the outcome of a client that it uses."""

    def __init__(self, behind: Client) -> None:
        self._behind = behind

    @fastrpc.method(idempotent=True)
    async def refuse(self, retry_after: float) -> None:
        await self._behind.with_options(idempotent=True).call(
            Orders.refuse, int(Status.UNAVAILABLE), retry_after
        )


def facts(error: fastrpc.FastRPCError) -> tuple[Any, ...]:
    return type(error), error.status, error.processed, error.retryable


@pytest.fixture
async def orders() -> Orders:
    return Orders()


@pytest.fixture(params=SCHEMES)
async def client(request: pytest.FixtureRequest, orders: Orders) -> AsyncIterator[Client]:
    async with served(orders, scheme=request.param) as target, Client(target) as client:
        yield client
        orders.release.set()


# The rows of the table


async def test_arguments_that_do_not_fit_are_a_type_error_here(client: Client, orders: Orders) -> None:
    with pytest.raises(TypeError, match=re.escape("Orders.place() missing 1 required positional argument")):
        await client.call(Orders.place)  # type: ignore[call-overload]
    assert orders.ran == 0


async def test_arguments_that_cannot_be_encoded_fail_at_the_client(client: Client, orders: Orders) -> None:
    with pytest.raises(EncodeError, match="object") as failed:
        await client.call("shop.orders.place", object())
    assert facts(failed.value)[2:] == ("no", False)
    assert orders.ran == 0


async def test_arguments_that_are_too_large_fail_at_the_client(client: Client, orders: Orders) -> None:
    await client.ready()
    with pytest.raises(EncodeError, match="16777216") as failed:
        await client.call("shop.orders.place", bytes(17 << 20))
    assert facts(failed.value)[2:] == ("no", False)
    assert orders.ran == 0


async def test_wrong_arguments(client: Client, orders: Orders) -> None:
    with pytest.raises(CallError, match="number: expected `int`, got `str`") as failed:
        await client.call("shop.orders.place", "five")
    assert facts(failed.value) == (CallError, Status.INVALID_ARGUMENT, "no", False)
    assert orders.ran == 0


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ("shop.orders.plase", r"'shop\.orders\.plase'.*did you mean 'shop\.orders\.place'"),
        ("shop.order.place", r"did you mean 'shop\.orders\.place'"),
        ("other.thing", r"'other\.thing'"),
    ],
)
async def test_an_unknown_method_is_told_with_the_nearest_name(client: Client, asked: str, text: str) -> None:
    with pytest.raises(CallError, match=text) as failed:
        await client.call(asked, 1)
    assert facts(failed.value) == (CallError, Status.UNIMPLEMENTED, "no", False)


async def test_a_refusal_by_the_handler(client: Client, orders: Orders) -> None:
    with pytest.raises(CallError, match="no such order") as failed:
        await client.call(Orders.refuse, int(Status.NOT_FOUND))
    assert facts(failed.value) == (CallError, Status.NOT_FOUND, "yes", False)
    assert failed.value.details == {"order": 5, "tags": ["a"]}
    assert failed.value.retry_after is None
    assert str(failed.value) == "NOT_FOUND: no such order"
    assert orders.ran == 1


@pytest.mark.parametrize("status", [Status.UNAVAILABLE, Status.RESOURCE_EXHAUSTED, Status.DATA_LOSS])
async def test_every_status_of_a_handler_is_a_call_error(
    client: Client, orders: Orders, status: Status
) -> None:
    with pytest.raises(CallError) as failed:
        await client.call(Orders.refuse, int(status))
    assert facts(failed.value) == (CallError, status, "yes", False)
    assert orders.ran == 1


async def test_a_refusal_with_retry_after_may_be_tried_again(client: Client) -> None:
    with pytest.raises(CallError) as failed:
        await client.call(Orders.refuse, int(Status.ABORTED), 0.25)
    assert facts(failed.value) == (CallError, Status.ABORTED, "yes", True)
    assert failed.value.retry_after == 0.25


async def test_a_refusal_that_a_handler_passes_on_was_tried_again_before(
    client: Client, orders: Orders
) -> None:
    async with served(Counter(client)) as target, Client(target) as front:
        with pytest.raises(CallError) as failed:
            await front.call(Counter.refuse, 0.001)
    assert facts(failed.value) == (CallError, Status.UNAVAILABLE, "yes", False)
    assert failed.value.message == "shop.counter.refuse: a call it made failed (UNAVAILABLE)"
    assert (failed.value.details, failed.value.retry_after) == (None, None)
    # The first attempt and three more, all of them made by the client that was next to it.
    assert orders.ran == 4


@pytest.mark.parametrize("codec", ["msgpack", "json"])
async def test_details_travel_in_the_codec_of_the_call(client: Client, codec: str) -> None:
    with pytest.raises(CallError) as failed:
        await client.with_options(codec=codec).call(Orders.refuse, 5)
    assert failed.value.details == {"order": 5, "tags": ["a"]}


async def test_details_that_cannot_travel_do_not_hide_the_error(client: Client) -> None:
    with pytest.raises(CallError, match="odd") as failed:
        await client.call(Orders.odd_details)
    assert failed.value.status is Status.ABORTED
    assert failed.value.details is None


async def test_a_crash_tells_an_id_that_the_log_carries(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "fastrpc.server"), pytest.raises(CallError) as failed:
        await client.call(Orders.crash)
    assert facts(failed.value) == (CallError, Status.INTERNAL, "yes", False)
    assert "swordfish" not in str(failed.value)
    assert "ValueError" not in str(failed.value)
    (record,) = [record for record in caplog.records if record.name == "fastrpc.server"]
    identifier = record.error_id  # type: ignore[attr-defined]
    assert identifier in str(failed.value)
    assert identifier in record.getMessage()
    assert record.method == "shop.orders.crash"  # type: ignore[attr-defined]
    assert (record.service, record.status) == ("shop.orders", "INTERNAL")  # type: ignore[attr-defined]
    assert "swordfish" in caplog.text


async def test_an_unhandled_error_of_a_nested_call_is_a_crash_like_any_other(client: Client) -> None:
    with pytest.raises(CallError) as failed:
        await client.call(Orders.deep_error)
    assert facts(failed.value) == (CallError, Status.INTERNAL, "yes", False)
    assert "10.1.2.3" not in str(failed.value)


async def test_errors_are_exposed_if_configured() -> None:
    async with connected(Orders, config=ServerConfig(expose_errors=True)) as client:
        with pytest.raises(CallError, match="ValueError: the password is swordfish"):
            await client.call(Orders.crash)


async def test_a_handler_that_raises_cancelled_error_by_itself(client: Client) -> None:
    with pytest.raises(CallError, match="orders.cancel failed; the server's log has the reason") as failed:
        await client.call(Orders.cancel)
    assert facts(failed.value) == (CallError, Status.INTERNAL, "yes", False)


async def test_a_deadline_that_passes_here(client: Client, orders: Orders) -> None:
    await client.ready()
    error = await overdue_inside(
        lambda: client.with_options(timeout=0.02).call(Orders.hold), lambda: orders.ran
    )
    assert re.search(r"shop\.orders\.hold.*0\.02 s", str(error))
    assert facts(error) == (DeadlineExceededError, Status.DEADLINE_EXCEEDED, "unknown", False)
    assert orders.ran == 1


async def test_a_deadline_that_passes_before_the_call_is_sent(orders: Orders) -> None:
    async with Client("memory://nobody-is-here") as client:
        with pytest.raises(DeadlineExceededError, match=r"shop\.orders\.hold.*nobody-is-here") as failed:
            await client.with_options(timeout=0.02, wait_for_ready=True).call(Orders.hold)
        assert facts(failed.value)[2:] == ("no", False)


async def test_an_answer_that_does_not_fit(client: Client) -> None:
    with pytest.raises(DecodeError, match=r"shop\.orders\.wrong.*expected `int`") as failed:
        await client.call(Orders.wrong)
    assert facts(failed.value)[2:] == ("yes", False)


# Limits and drain


async def test_above_the_servers_limit_the_excess_is_refused_unstarted(orders: Orders) -> None:
    """The client would let it wait; one that does not know the limit yet sends it all the same."""
    config = ServerConfig(limits=Limits(concurrent_calls=1, streams=1))
    early = ClientConfig(early_calls="all")
    async with served(orders, scheme="tcp", config=config) as target, Client(target, config=early) as client:
        calls = [asyncio.ensure_future(client.call(Orders.hold)) for _ in range(3)]
        await orders.inside.wait()
        assert orders.ran == 1
        orders.release.set()
        assert await asyncio.gather(*calls) == [5, 5, 5]


async def test_a_client_makes_calls_wait_for_the_servers_limit(orders: Orders) -> None:
    config = ServerConfig(limits=Limits(concurrent_calls=1, streams=1))
    async with served(orders, config=config) as target, Client(target) as client:
        await client.ready()
        calls = [asyncio.ensure_future(client.call(Orders.hold)) for _ in range(3)]
        late = asyncio.ensure_future(client.with_options(timeout=0.02).call(Orders.place, 1))
        await orders.inside.wait()
        with pytest.raises(DeadlineExceededError) as failed:
            await late
        assert failed.value.processed == "no"
        assert orders.ran == 1
        assert client.stats()["live"]["waiting"] == 2
        orders.release.set()
        assert await asyncio.gather(*calls) == [5, 5, 5]
        assert target.server.stats()["totals"]["refused"] == 0


async def test_a_draining_server_finishes_running_calls_and_takes_no_new_ones(orders: Orders) -> None:
    async with served(orders, scheme="tcp") as target, Client(target) as client:
        running = asyncio.ensure_future(client.call(Orders.hold))
        await orders.inside.wait()
        draining = asyncio.ensure_future(target.server.drain())
        await eventually(lambda: not client._pool.connections)
        with pytest.raises(UnavailableError) as failed:
            await client.call(Orders.place, 1)
        assert facts(failed.value)[2:] == ("no", True)
        assert orders.ran == 1
        orders.release.set()
        assert await running == 5
        assert await draining is True


# Connections


async def test_a_failed_connection_names_the_address_and_the_remedy() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        target = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
        async with Client(target) as client:
            with pytest.raises(ConnectError) as failed:
                await client.call(Orders.place, 1)
    assert facts(failed.value) == (ConnectError, Status.UNAVAILABLE, "no", True)
    assert isinstance(failed.value, ConnectionError)
    text = str(failed.value)
    assert all(part in text for part in ("shop.orders.place", target, "refused", "wait_for_ready"))


async def test_no_connection_names_every_address() -> None:
    async with Client(["memory://first-nobody", "memory://second-nobody"]) as client:
        with pytest.raises(ConnectError, match=r"first-nobody.*second-nobody"):
            await client.call(Orders.place, 1)


@pytest.mark.parametrize(("method", "retryable"), [(Orders.hold, False), ("shop.orders.hold", False)])
async def test_a_lost_connection_leaves_it_unknown_whether_the_handler_ran(
    orders: Orders, method: Any, retryable: bool
) -> None:
    async with (
        served(orders, scheme="tcp") as target,
        FaultProxy(target) as proxy,
        Client(proxy.address) as client,
    ):
        call = asyncio.ensure_future(client.call(method))
        await orders.inside.wait()
        proxy.relays[0].reset()
        with pytest.raises(ConnectionLostError, match=r"shop\.orders\.hold.*may have run") as failed:
            await call
        assert facts(failed.value) == (ConnectionLostError, Status.UNAVAILABLE, "unknown", retryable)
        assert isinstance(failed.value, ConnectionError)
        assert await client.with_options(wait_for_ready=True).call(Orders.place, 1) == 1


async def test_a_lost_connection_is_made_again_for_idempotent_calls(orders: Orders) -> None:
    async with (
        served(orders, scheme="tcp") as target,
        FaultProxy(target) as proxy,
        Client(proxy.address) as client,
    ):
        view = client.with_options(idempotent=True, wait_for_ready=True)
        call = asyncio.ensure_future(view.request(Orders.hold))
        await orders.inside.wait()
        orders.inside.clear()
        proxy.relays[0].reset()
        await orders.inside.wait()
        orders.release.set()
        reply = await call
        assert (reply.value, reply.attempts) == (5, 2)


async def test_a_closed_client_says_so(orders: Orders) -> None:
    async with served(orders) as target:
        client = Client(target)
        call = asyncio.ensure_future(client.call(Orders.hold))
        await orders.inside.wait()
        await client.close()
        with pytest.raises(UnavailableError):
            await call
        with pytest.raises(UnavailableError, match="closed") as failed:
            await client.call(Orders.place, 1)
        assert facts(failed.value)[2:] == ("no", False)


async def test_errors_of_calls_can_be_pickled(client: Client) -> None:
    with pytest.raises(CallError) as failed:
        await client.call(Orders.refuse, 5, 0.5)
    copy = pickle.loads(pickle.dumps(failed.value))
    assert facts(copy) == facts(failed.value)
    assert (copy.details, copy.retry_after, str(copy)) == (
        {"order": 5, "tags": ["a"]},
        0.5,
        str(failed.value),
    )


async def test_a_handler_that_refuses_sees_peer_and_metadata() -> None:
    @fastrpc.service("refuser")
    class Refuser:
        @fastrpc.method
        async def refuse(self) -> None:
            current_call().reply_metadata["why"] = "because"
            raise CallError(Status.ABORTED, "no")

    seen: list[str] = []

    async def look(call: fastrpc.Call, proceed: fastrpc.Proceed) -> Any:
        try:
            return await proceed(call)
        finally:
            seen.append(call.reply_metadata["why"])

    async with connected(Refuser, client_interceptors=[look]) as client:
        with pytest.raises(CallError):
            await client.call(Refuser.refuse)
    assert seen == ["because"]


async def test_a_server_that_was_used_up_cannot_start_again() -> None:
    server = Server(Orders)
    async with server:
        await server.listen("memory://used-up")
    with pytest.raises(RuntimeError, match="new one"):
        await server.listen("memory://used-up")


def test_overloaded_is_unavailable() -> None:
    assert issubclass(OverloadedError, UnavailableError)
