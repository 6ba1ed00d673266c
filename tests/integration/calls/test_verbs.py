"""The verbs of a client: call, request, notify, call_many, bind, with_options."""

import asyncio
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, Client, EncodeError, Status, SyncClient, current_call
from fastrpc.testing import connected
from tests.support.either_client import CLIENTS
from tests.support.guarded import calling
from tests.support.served import served

pytestmark = pytest.mark.one_loop


@fastrpc.service("arith")
class Arith:
    def __init__(self) -> None:
        self.noted: list[int] = []
        self.arrived = asyncio.Event()

    @fastrpc.method
    async def mul(self, a: int, b: int) -> int:
        return a * b

    @fastrpc.method
    def add(self, a: int, b: int = 1) -> int:
        return a + b

    @fastrpc.method
    async def div(self, a: int, b: int) -> float:
        if b == 0:
            raise CallError(Status.OUT_OF_RANGE, "division by zero")
        return a / b

    @fastrpc.method
    async def note(self, value: int) -> None:
        self.noted.append(value)
        self.arrived.set()

    @fastrpc.method
    async def options(self) -> dict[str, Any]:
        call = current_call()
        call.reply_metadata["seen"] = "yes"
        return {
            "metadata": {**call.metadata, **call.metadata.binary},
            "remaining": call.remaining(),
            "priority": call.priority,
            "attempt": call.attempt,
        }


# call and request


async def test_call_returns_the_value() -> None:
    async with connected(Arith) as client:
        assert await client.call(Arith.mul, 6, 7) == 42


async def test_request_returns_the_value_and_the_facts_of_the_call() -> None:
    async with served(Arith) as target, Client(target) as client:
        reply = await client.request(Arith.options)
        assert reply.value["attempt"] == 0
        assert reply.metadata["seen"] == "yes"
        assert str(reply.endpoint.address) == target
        assert reply.attempts == 1
        assert 0 < reply.seconds < 5


async def test_a_method_may_be_given_as_a_bound_method() -> None:
    async with connected(Arith) as client:
        assert await client.call(Arith().mul, 6, 7) == 42  # type: ignore[call-overload]


async def test_a_value_that_is_no_method_is_refused_with_a_hint() -> None:
    async with connected(Arith) as client:
        with pytest.raises(TypeError, match="method"):
            await client.call(len, [])  # type: ignore[call-overload]
        with pytest.raises(fastrpc.ConfigError, match=r"service\.method"):
            await client.call("mul", 6, 7)


# notify


async def test_notify_returns_without_an_answer_and_the_handler_runs() -> None:
    arith = Arith()
    async with connected(arith) as client:
        assert await client.notify("arith.note", 5) is None  # type: ignore[func-returns-value]
        await arith.arrived.wait()
        assert arith.noted == [5]


async def test_notify_ends_well_when_the_handler_fails() -> None:
    arith = Arith()
    async with connected(arith) as client:
        await client.notify(Arith.div, 1, 0)
        await client.notify("arith.nothing")
        assert await client.call(Arith.mul, 2, 3) == 6


async def test_notify_of_an_unknown_method_takes_no_place_for_ever() -> None:
    config = fastrpc.ServerConfig(limits=fastrpc.Limits(concurrent_calls=2, streams=1))
    arith = Arith()
    async with connected(arith, config=config) as client:
        for _ in range(5):
            await client.notify("arith.nothing")
            await client.notify("arith.note", "no number")
        # Behind it they are judged: after a stall of the loop all would be there at once, more than may wait.
        await client.call(Arith.mul, 1, 1)
        await client.notify(Arith.note, 7)
        await client.call(Arith.mul, 1, 1)
        assert arith.noted == [7]


async def test_notify_checks_its_arguments_here() -> None:
    async with connected(Arith) as client:
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'value'"):
            await client.notify(Arith.note)  # type: ignore[call-overload]


# call_many


async def test_call_many_returns_the_answers_in_order() -> None:
    async with connected(Arith) as client:
        answers = await client.call_many(Arith.mul, [(n, 2) for n in range(100)])
        assert answers == [2 * n for n in range(100)]


async def test_call_many_takes_any_iterable_and_an_empty_one() -> None:
    async with connected(Arith) as client:
        assert await client.call_many("arith.add", ([n] for n in range(3))) == [1, 2, 3]  # type: ignore[misc]
        assert await client.call_many(Arith.add, []) == []


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ([(1, 2), 3], "item 1 is of type int"),
        (["ab"], "item 0 is of type str"),
        ([{1: 2}], "item 0 is of type dict"),
    ],
)
@pytest.mark.filterwarnings("ignore:a SyncClient blocks the event loop")
async def test_call_many_wants_a_tuple_for_each_call(given: Any, text: str) -> None:
    async with served(Arith) as target, Client(target) as client:
        with pytest.raises(TypeError, match=rf"{text}: write \(value,\)"):
            await client.call_many(Arith.add, given)
        with SyncClient(target) as blocking, pytest.raises(TypeError, match=text):
            blocking.call_many(Arith.add, given)


async def test_call_many_raises_the_first_error_after_all_ended() -> None:
    arith = Arith()
    async with connected(arith) as client:
        with pytest.raises(CallError, match="division by zero"):
            await client.call_many(Arith.div, [(1, 1), (1, 0), (4, 2)])
        assert client.stats()["live"]["calls"] == 0


async def test_call_many_returns_errors_in_place_when_asked_to() -> None:
    async with connected(Arith) as client:
        answers = await client.call_many(Arith.div, [(1, 1), (1, 0), (4, 2)], return_exceptions=True)
        assert answers[::2] == [1.0, 2.0]
        assert isinstance(answers[1], CallError)
        assert answers[1].status is Status.OUT_OF_RANGE


@pytest.mark.parametrize("is_connected", [False, True])
@pytest.mark.parametrize("kind", CLIENTS)
async def test_call_many_puts_errors_of_encoding_and_deadlines_in_their_places(
    kind: str, is_connected: bool
) -> None:
    async with served(Anything) as target, calling(kind, target) as client:
        if is_connected:
            assert await client.call(Anything.echo, 1) == 1
        for _ in range(2):
            answers = await client.call_many(Anything.echo, [(1,), (2**70,), (3,)], return_exceptions=True)
            assert answers[::2] == [1, 3]
            assert isinstance(answers[1], EncodeError)
            only = await client.call_many(Anything.echo, [(2**70,)], return_exceptions=True)
            assert isinstance(only[0], EncodeError)
            with pytest.raises(EncodeError):
                await client.call_many(Anything.echo, [(1,), (2**70,)])
        late = client.with_options(timeout=0)
        answers = await late.call_many(Anything.echo, [(1,), (2,)], return_exceptions=True)
        assert [type(answer) for answer in answers] == [fastrpc.DeadlineExceededError] * 2
        with pytest.raises(fastrpc.DeadlineExceededError):
            await late.call_many(Anything.echo, [(1,), (2,)])
        assert client.stats()["live"]["calls"] == 0


@fastrpc.service("anything")
class Anything:
    @fastrpc.method
    async def echo(self, value: Any) -> Any:
        return value


async def test_call_many_sends_nothing_when_an_argument_does_not_fit() -> None:
    arith = Arith()
    async with connected(arith) as client:
        with pytest.raises(TypeError):
            await client.call_many(Arith.note, [(1,), ()])  # type: ignore[arg-type]
        await client.call(Arith.mul, 1, 1)
        assert arith.noted == []


async def test_call_many_puts_the_error_of_a_too_large_call_in_its_place() -> None:
    config = fastrpc.ClientConfig(limits=fastrpc.Limits(message_bytes=1 << 20))
    async with connected(Echo, client_config=config) as client:
        await client.ready()
        answers = await client.call_many(
            Echo.echo, [(b"a",), (bytes(2 << 20),), (b"c",)], return_exceptions=True
        )
        assert answers[::2] == [b"a", b"c"]
        assert isinstance(answers[1], EncodeError)
        with pytest.raises(EncodeError, match="2097"):
            await client.call_many(Echo.echo, [(b"a",), (bytes(2 << 20),)])
        assert client.stats()["live"]["calls"] == 0


@fastrpc.service("echo")
class Echo:
    @fastrpc.method
    async def echo(self, data: bytes) -> bytes:
        return data


async def test_call_many_works_as_the_first_thing_a_client_does() -> None:
    async with served(Arith) as target, Client(target) as client:
        assert await client.call_many(Arith.mul, [(2, 3), (4, 5)]) == [6, 20]


async def test_call_many_fails_within_its_deadline_without_a_server() -> None:
    async with Client("memory://nobody-is-here") as client:
        view = client.with_options(timeout=0.05, wait_for_ready=True)
        with pytest.raises(fastrpc.DeadlineExceededError):
            await view.call_many(Arith.mul, [(2, 3)])
        answers = await view.call_many(Arith.mul, [(2, 3), (3, 4)], return_exceptions=True)
        assert [type(answer) for answer in answers] == [fastrpc.DeadlineExceededError] * 2


async def test_call_many_says_where_no_server_is() -> None:
    async with Client("memory://nobody-is-here") as client:
        with pytest.raises(fastrpc.ConnectError, match=r"arith\.mul.*nobody-is-here"):
            await client.call_many(Arith.mul, [(2, 3)])


async def test_cancelled_call_many_cancels_every_handler() -> None:
    waiting = Waiting()
    async with connected(waiting) as client:
        task = asyncio.ensure_future(client.call_many(Waiting.wait, [(n,) for n in range(5)]))
        await waiting.all_there.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await waiting.all_gone.wait()


@fastrpc.service("waiting")
class Waiting:
    def __init__(self, expected: int = 5) -> None:
        self.expected = expected
        self.inside = self.cancelled = 0
        self.all_there = asyncio.Event()
        self.all_gone = asyncio.Event()

    @fastrpc.method
    async def wait(self, number: int) -> None:
        self.inside += 1
        if self.inside == self.expected:
            self.all_there.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            if self.cancelled == self.expected:
                self.all_gone.set()
            raise


# bind


async def test_a_bound_service_has_the_methods_to_await() -> None:
    async with connected(Arith) as client:
        arith = client.bind(Arith)
        assert await arith.mul(6, b=7) == 42
        assert await arith.add(6) == 7  # type: ignore[misc]
        with pytest.raises(TypeError, match="mul"):
            await arith.mul(6)  # type: ignore[call-arg]


async def test_a_bound_service_names_its_methods_when_asked_for_another() -> None:
    async with connected(Arith) as client:
        with pytest.raises(AttributeError, match=r"'mull'.*mul"):
            client.bind(Arith).mull  # type: ignore[attr-defined]  # noqa: B018


async def test_a_view_binds_with_its_options() -> None:
    async with connected(Arith) as client:
        bound = client.with_options(metadata={"tenant": "acme"}).bind(Arith)
        assert (await bound.options())["metadata"] == {"tenant": "acme"}


# with_options


async def test_views_chain_and_leave_their_base_alone() -> None:
    async with connected(Arith) as client:
        first = client.with_options(timeout=60.0, metadata={"a": "1"})
        second = first.with_options(timeout=30.0)
        seen = await second.call(Arith.options)
        assert (seen["metadata"], 5.0 < seen["remaining"] <= 30.0) == ({"a": "1"}, True)
        seen = await first.call(Arith.options)
        assert (seen["metadata"], 30.0 < seen["remaining"] <= 60.0) == ({"a": "1"}, True)
        seen = await client.call(Arith.options)
        assert (seen["metadata"], 0.0 < seen["remaining"] <= 5.0) == ({}, True)


async def test_metadata_of_views_merges_and_none_clears_it() -> None:
    async with connected(Arith) as client:
        first = client.with_options(metadata={"a": "1", "b": "2", "key-bin": b"\x00\xff"})
        second = first.with_options(metadata={"b": "3"})
        assert (await second.call(Arith.options))["metadata"] == {"a": "1", "b": "3", "key-bin": b"\x00\xff"}
        assert (await first.call(Arith.options))["metadata"]["b"] == "2"
        assert (await second.with_options(metadata=None).call(Arith.options))["metadata"] == {}


async def test_a_timeout_of_none_means_no_limit() -> None:
    async with connected(Arith) as client:
        assert (await client.with_options(timeout=None).call(Arith.options))["remaining"] is None


async def test_codec_and_compressor_can_be_taken_back() -> None:
    async with connected(Arith) as client:
        view = client.with_options(codec="json", compressor="gzip")
        plain = view.with_options(compressor=None, codec=None)
        assert (view.codec, plain.codec) == ("json", "msgpack")
        assert plain.compressor is None


async def test_a_view_cannot_be_entered_or_closed() -> None:
    async with connected(Arith) as client:
        view = client.with_options(timeout=20)
        with pytest.raises(TypeError, match=r"view.*entered"):
            async with view:
                pass
        with pytest.raises(TypeError, match=r"view.*closed"):
            await view.close()
        assert await view.call(Arith.mul, 6, 7) == 42


async def test_a_view_outlives_its_maker() -> None:
    async with connected(Arith) as client:
        view = client.with_options(timeout=20).with_options(metadata={"a": "1"})
        await client.ready()
        assert (await view.call(Arith.options))["metadata"] == {"a": "1"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout": -1}, "timeout is -1"),
        ({"timeout": float("nan")}, "timeout is nan"),
        ({"priority": 3}, "priority is 3"),
        ({"codec": "yaml"}, "yaml"),
        ({"compressor": "rar"}, "rar"),
    ],
)
async def test_wrong_options_are_refused_when_given(options: dict[str, Any], message: str) -> None:
    async with connected(Arith) as client:
        with pytest.raises(fastrpc.ConfigError, match=message):
            client.with_options(**options)


async def test_unknown_options_are_refused_by_name() -> None:
    async with connected(Arith) as client:
        with pytest.raises(TypeError, match="time_out"):
            client.with_options(time_out=1)  # type: ignore[call-arg]


async def test_wrong_metadata_is_refused_when_given() -> None:
    async with connected(Arith) as client:
        for metadata in ({"Upper": "x"}, {"key": b"bytes"}, {"key-bin": "text"}):
            with pytest.raises((fastrpc.ConfigError, TypeError, ValueError)):
                client.with_options(metadata=metadata)
