"""Subscribers of a server, on a broker in memory whose time the test moves."""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

import fastrpc
from fastrpc import Backoff, CallError, ConfigError, Limits, Message, Server, ServerConfig, Status, Topic
from fastrpc.brokers import current_broker
from fastrpc.testing import SteeredBroker, broker, connected


@dataclass
class Order:
    id: str
    price: int = 0


orders = Topic("orders.new", Order)


@pytest.fixture
async def shop() -> AsyncIterator[SteeredBroker]:
    async with broker() as opened:
        yield opened


class Failing:
    """Raises the given errors, one for each delivery, and notes the deliveries."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.deliveries: list[int] = []

    def __call__(self, message: Message[Any]) -> None:
        self.deliveries.append(message.delivery)
        if self.errors:
            raise self.errors.pop(0)


def service_of(handle: Any, **options: Any) -> Any:
    """Return an instance of a service with one subscriber, that calls a function."""

    @fastrpc.service("billing")
    class Billing:
        @fastrpc.subscriber(orders, **options)
        async def bill(self, message: Message[Order]) -> None:
            result = handle(message)
            if asyncio.iscoroutine(result):
                await result

    return Billing()


async def lag_of(shop: SteeredBroker, group: str = "billing.bill") -> tuple[int, int, int]:
    """Return the messages of a group: left, under way, dead."""
    state = next(one for one in await shop.groups() if one.name == group)
    return state.lag, state.under_way, state.dead


@pytest.mark.one_loop
class TestDelivery:
    async def test_message_comes_with_its_value_and_headers_as_a_call(self, shop: SteeredBroker) -> None:
        seen: list[Any] = []

        @fastrpc.service("billing")
        class Billing:
            @fastrpc.subscriber(orders)
            async def bill(self, order: Order) -> None:
                call = fastrpc.current_call()
                seen.append((order, call.method, call.metadata["tenant"], call.identity, call.peer.protocol))
                assert current_broker() is shop

        async with connected(Billing, broker=shop):
            await shop.publish(orders, Order("17", 40), headers={"tenant": "acme"})
            await shop.settled()
            assert seen == [(Order("17", 40), "billing.bill", "acme", None, "messages")]
            assert await lag_of(shop) == (0, 0, 0)
        assert [one.value for one in shop.published] == [Order("17", 40)]

    async def test_def_runs_in_a_thread_and_may_take_the_message(self, shop: SteeredBroker) -> None:
        seen: list[Any] = []

        @fastrpc.service("billing")
        class Billing:
            @fastrpc.subscriber("orders.*")
            def bill(self, message: Message[Order]) -> None:
                thread = threading.current_thread() is threading.main_thread()
                seen.append((message.value, message.topic, message.delivery, thread))

        async with connected(Billing, broker=shop):
            await shop.publish("orders.new", {"id": "17"})
            await shop.settled()
        assert seen == [(Order("17"), "orders.new", 1, False)]

    async def test_groups_share_messages_and_a_broadcast_gets_all(self, shop: SteeredBroker) -> None:
        seen: list[str] = []

        def make(name: str) -> Any:
            @fastrpc.service("parts")
            class Parts:
                @fastrpc.subscriber(orders)
                async def shared(self, order: Order) -> None:
                    seen.append("shared")

                @fastrpc.subscriber(orders, broadcast=True)
                async def heard(self, order: Order) -> None:
                    seen.append(f"heard by {name}")

            return Parts()

        async with Server(make("a"), broker=shop), Server(make("b"), broker=shop):
            await shop.publish(orders, Order("17"))
            await shop.settled()
        assert sorted(seen) == ["heard by a", "heard by b", "shared"]

    async def test_service_with_subscribers_alone_is_served_with_interceptors(
        self, shop: SteeredBroker
    ) -> None:
        seen: list[Any] = []

        async def note(call: fastrpc.Call, proceed: fastrpc.Proceed) -> Any:
            seen.append((call.method, call.arguments))  # type: ignore[attr-defined]
            return await proceed(call)

        async with connected(service_of(lambda message: None), broker=shop, interceptors=[note]):
            await shop.publish(orders, Order("17"))
            await shop.settled()
        [(method, (message,))] = seen
        assert (method, message.value) == ("billing.bill", Order("17"))

    async def test_bytes_and_plain_data_arrive_unchanged(self, shop: SteeredBroker) -> None:
        seen: list[Any] = []

        @fastrpc.service("raw")
        class Raw:
            @fastrpc.subscriber("raw.bytes")
            async def data(self, data: bytes) -> None:
                seen.append(data)

            @fastrpc.subscriber("raw.any")
            async def plain(self, value) -> None:  # type: ignore[no-untyped-def]
                seen.append(value)

        async with connected(Raw, broker=shop):
            await shop.publish("raw.bytes", b"\x00\xff")
            await shop.publish("raw.any", {"a": [1, None]})
            await shop.settled()
        assert seen == [b"\x00\xff", {"a": [1, None]}]


@pytest.mark.one_loop
class TestFailures:
    async def test_exception_has_the_message_delivered_again_by_backoff(self, shop: SteeredBroker) -> None:
        failing = Failing(ValueError("no"), ValueError("no"))
        async with connected(service_of(failing), broker=shop):
            await shop.publish(orders, Order("17"))
            await shop.settled()
            await shop.advance(0.99)
            assert failing.deliveries == [1]
            await shop.advance(0.02)
            assert failing.deliveries == [1, 2]
            await shop.advance(1.9)
            assert failing.deliveries == [1, 2]
            await shop.advance(0.2)
            assert failing.deliveries == [1, 2, 3]
            assert await lag_of(shop) == (0, 0, 0)

    async def test_message_is_dead_after_its_last_delivery(self, shop: SteeredBroker) -> None:
        failing = Failing(*(ValueError(f"no {number}") for number in range(3)))
        async with connected(service_of(failing, deliveries=3), broker=shop):
            await shop.publish(orders, Order("17"))
            await shop.advance(3600)
            [dead] = await shop.dead_letters("billing.bill")
            assert (dead.reason, dead.error, dead.deliveries) == ("deliveries", "ValueError: no 2", 3)
            await shop.replay("billing.bill")
            await shop.settled()
            assert failing.deliveries == [1, 2, 3, 1]

    async def test_default_is_dead_after_eight_and_a_half_minutes(self, shop: SteeredBroker) -> None:
        failing = Failing(*(ValueError("no") for _ in range(20)))
        async with connected(service_of(failing), broker=shop):
            await shop.publish(orders, Order("17"))
            await shop.advance(510)
            assert failing.deliveries == list(range(1, 10))
            await shop.advance(2)
            assert failing.deliveries == list(range(1, 11))
            assert await lag_of(shop) == (0, 0, 1)

    async def test_message_is_never_dead_without_a_number_of_deliveries(self, shop: SteeredBroker) -> None:
        failing = Failing(*(ValueError("no") for _ in range(1100)))
        backoff = Backoff(first=1, factor=1000, longest=2, jitter=0)
        async with connected(service_of(failing, deliveries=None, backoff=backoff), broker=shop):
            await shop.publish(orders, Order("17"))
            await shop.advance(2 * 1100)
            assert failing.deliveries[-1] == 1101
            assert await lag_of(shop) == (0, 0, 0)

    async def test_error_with_retry_after_says_the_pause(self, shop: SteeredBroker) -> None:
        failing = Failing(CallError(Status.UNAVAILABLE, "later", retry_after=3))
        async with connected(service_of(failing), broker=shop):
            await shop.publish(orders, Order("17"))
            await shop.advance(2.9)
            assert failing.deliveries == [1]
            await shop.advance(0.2)
            assert failing.deliveries == [1, 2]

    async def test_invalid_argument_is_dead_at_once(self, shop: SteeredBroker) -> None:
        failing = Failing(CallError(Status.INVALID_ARGUMENT, "a price below 0"))
        async with connected(service_of(failing), broker=shop):
            await shop.publish(orders, Order("17", -1))
            await shop.settled()
            [dead] = await shop.dead_letters("billing.bill")
            assert (dead.reason, dead.deliveries) == ("a price below 0", 1)

    @pytest.mark.parametrize("body", [b"{", b'{"id": 17}', b"\xff"])
    async def test_value_that_does_not_decode_is_dead_at_once(self, shop: SteeredBroker, body: bytes) -> None:
        failing = Failing()
        async with connected(service_of(failing), broker=shop):
            await shop.publish("orders.new", body, headers={"content-type": "application/json"})
            await shop.publish(orders, Order("17"))
            await shop.settled()
            [dead] = await shop.dead_letters("billing.bill")
            assert (dead.reason, dead.body) == ("the value does not decode", body)
        assert failing.deliveries == [1]

    async def test_message_over_a_limit_of_the_server_is_dead_at_once(self, shop: SteeredBroker) -> None:
        config = ServerConfig(limits=Limits(message_bytes=4096))
        async with connected(service_of(Failing()), broker=shop, config=config):
            await shop.publish(orders, Order("x" * 5000))
            await shop.settled()
            [dead] = await shop.dead_letters("billing.bill")
            assert dead.reason == "the message is over a limit of the server"
            assert "Limits.message_bytes" in dead.error

    @pytest.mark.parametrize(
        "error", [SystemExit(3), GeneratorExit(), BaseException("odd"), asyncio.CancelledError()]
    )
    async def test_no_exception_of_user_code_acknowledges(
        self, shop: SteeredBroker, error: BaseException
    ) -> None:
        failing = Failing(error)
        async with connected(service_of(failing), broker=shop):
            await shop.publish(orders, Order("17"))
            await shop.settled()
            assert failing.deliveries == [1]
            assert await lag_of(shop) == (1, 0, 0)
            await shop.advance(1)
            assert failing.deliveries == [1, 2]

    async def test_message_that_the_handler_settled_is_left_alone(self, shop: SteeredBroker) -> None:
        async def handle(message: Message[Order]) -> None:
            if message.delivery == 1:
                assert await message.nack(delay=5)
                raise ValueError("after it was settled")

        async with connected(service_of(handle), broker=shop):
            await shop.publish(orders, Order("17"))
            await shop.advance(4)
            assert await lag_of(shop) == (1, 0, 0)
            await shop.advance(2)
            assert await lag_of(shop) == (0, 0, 0)


class TestTimeouts:
    async def test_handler_that_exceeds_its_timeout_is_cancelled_and_counts(
        self, shop: SteeredBroker
    ) -> None:
        ends: list[str] = []

        async def handle(message: Message[Order]) -> None:
            if message.delivery == 1:
                try:
                    await asyncio.Event().wait()
                finally:
                    ends.append("cancelled")
            ends.append("handled")

        async with connected(service_of(handle, timeout=0.05), broker=shop):
            await shop.publish(orders, Order("17"))
            await shop.settled()
            assert (ends, await lag_of(shop)) == (["cancelled"], (1, 0, 0))
            await shop.advance(1)
            assert ends == ["cancelled", "handled"]

    async def test_thread_that_exceeds_its_timeout_keeps_its_message_until_it_returns(
        self, shop: SteeredBroker
    ) -> None:
        may_return, loop = threading.Event(), asyncio.get_running_loop()
        late = asyncio.Event()

        @fastrpc.service("billing")
        class Billing:
            @fastrpc.subscriber(orders, timeout=0.05)
            def bill(self, order: Order) -> None:
                while not fastrpc.current_call().cancelled:
                    may_return.wait(0.001)
                loop.call_soon_threadsafe(late.set)
                may_return.wait()

        async with connected(Billing, broker=shop):
            await shop.publish(orders, Order("17"))
            await late.wait()
            assert await lag_of(shop) == (1, 1, 0)
            may_return.set()
            await shop.settled()
            assert await lag_of(shop) == (1, 0, 0)


@pytest.mark.one_loop
class TestOrder:
    async def test_retry_holds_its_key_and_no_other(self, shop: SteeredBroker) -> None:
        seen: list[str] = []

        def handle(message: Message[Order]) -> None:
            seen.append(f"{message.value.id}.{message.delivery}")
            if message.value.id == "a1" and message.delivery == 1:
                raise ValueError("once")

        async with connected(service_of(handle, ordered=True), broker=shop):
            for key, number in (("a", "a1"), ("a", "a2"), ("b", "b1")):
                await shop.publish(orders, Order(number), key=key)
            await shop.settled()
            assert seen == ["a1.1", "b1.1"]
            await shop.advance(1)
            assert seen == ["a1.1", "b1.1", "a1.2", "a2.1"]


class TestBackPressure:
    async def test_subscriber_holds_only_messages_that_are_started(self, shop: SteeredBroker) -> None:
        may_end, running, most = asyncio.Event(), 0, 0

        async def handle(message: Message[Order]) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await may_end.wait()
            running -= 1

        async with connected(service_of(handle, concurrency=3), broker=shop):
            await shop.publish_many(orders, [Order(str(number)) for number in range(1000)])
            while most < 3:
                await asyncio.sleep(0)
            assert await lag_of(shop) == (1000, 3, 0)
            may_end.set()
            await shop.settled()
            assert (most, await lag_of(shop)) == (3, (0, 0, 0))

    async def test_message_refused_for_load_is_handed_back_uncounted(self, shop: SteeredBroker) -> None:
        from fastrpc.limits import ConcurrencyLimit

        failing = Failing()
        may_end = asyncio.Event()

        async def handle(message: Message[Order]) -> None:
            failing(message)
            await may_end.wait()

        limits = [ConcurrencyLimit(1, methods="billing.bill")]
        async with Server(service_of(handle), broker=shop, limits=limits) as server:
            await shop.publish_many(orders, [Order("1"), Order("2")])
            while server.stats()["totals"]["refused_by_concurrency"] < 2:
                await asyncio.sleep(0.001)
            may_end.set()
            await shop.settled()
            assert await lag_of(shop) == (0, 0, 0)
        assert failing.deliveries == [1, 1]


@pytest.mark.one_loop
class TestRefusals:
    async def test_subscriber_without_a_broker_is_refused_at_start_up(self) -> None:
        with pytest.raises(ConfigError, match="billing.bill is a subscriber, and the server has no broker"):
            async with Server(service_of(Failing())):
                pass

    async def test_type_that_differs_from_the_topic_is_refused_at_start_up(self, shop: SteeredBroker) -> None:
        @fastrpc.service("billing")
        class Billing:
            @fastrpc.subscriber(orders)
            async def bill(self, order: int) -> None: ...

        with pytest.raises(ConfigError, match="takes int, but the topic 'orders.new' has Order"):
            async with Server(Billing, broker=shop):
                pass

    async def test_group_with_another_order_is_refused_at_start_up(self, shop: SteeredBroker) -> None:
        async with Server(service_of(Failing()), broker=shop):
            with pytest.raises(ConfigError, match="order"):
                async with Server(service_of(Failing(), ordered=True), broker=shop):
                    pass

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({"group": "a", "broadcast": True}, "broadcast=True has no group"),
            ({"start": "oldest", "broadcast": True}, "broadcast=True has no start"),
            ({"concurrency": 0}, "concurrency is 0"),
            ({"deliveries": 0}, "deliveries is 0"),
            ({"deliveries": True}, "deliveries is True"),
            ({"backoff": 3}, "backoff is 3"),
            ({"timeout": 0}, "timeout is 0"),
        ],
    )
    def test_option_without_such_a_value_is_refused_at_the_mark(
        self, options: dict[str, Any], text: str
    ) -> None:
        with pytest.raises(ConfigError, match=text):
            fastrpc.subscriber(orders, **options)

    def test_function_of_another_shape_is_refused_at_the_mark(self) -> None:
        with pytest.raises(TypeError, match="takes the value of a message"):

            @fastrpc.subscriber(orders)
            async def none(self: Any) -> None: ...

        with pytest.raises(TypeError, match="yields nothing"):

            @fastrpc.subscriber(orders)
            async def some(self: Any, order: Order) -> AsyncIterator[int]:
                yield 1
