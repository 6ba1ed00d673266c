"""Interceptors around calls, on both sides."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import fastrpc
from fastrpc import (
    Call,
    CallError,
    Client,
    DeadlineExceededError,
    Interceptor,
    OverloadedError,
    Proceed,
    Reply,
    ServerConfig,
    Status,
    UnavailableError,
    current_call,
)
from fastrpc.testing import connected
from tests.support.arith import Arith
from tests.support.either_client import CLIENTS, either, nowhere
from tests.support.served import served
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

Around = Callable[..., Any]


@pytest.fixture(params=["client", "sync_client", "server"])
def around(request: pytest.FixtureRequest) -> Around:
    """Return a function that serves Arith with interceptors on one side and connects to it."""

    def connect(*interceptors: Interceptor, sources: tuple[Any, ...] = (Arith,)) -> Any:
        if request.param == "sync_client":
            return either("sync", *sources, scheme="memory", interceptors=interceptors)
        side = "client_interceptors" if request.param == "client" else "interceptors"
        return connected(*sources, **{side: interceptors})

    return connect


@pytest.fixture(params=CLIENTS)
def around_calls(request: pytest.FixtureRequest) -> Around:
    """Return a function that serves Arith and connects to it by a client of either kind with interceptors."""

    def connect(*interceptors: Interceptor, sources: tuple[Any, ...] = (Arith,), **options: Any) -> Any:
        return either(request.param, *sources, scheme="memory", interceptors=interceptors, **options)

    return connect


def logging(log: list[str], name: str) -> Interceptor:
    async def interceptor(call: Call, proceed: Proceed) -> Any:
        log.append(f"{name} in")
        try:
            return await proceed(call)
        finally:
            log.append(f"{name} out")

    return interceptor


async def test_the_first_interceptor_is_outermost(around: Around) -> None:
    log: list[str] = []
    async with around(logging(log, "a"), logging(log, "b"), logging(log, "c")) as client:
        assert await client.call(Arith.mul, 6, 7) == 42
    assert log == ["a in", "b in", "c in", "c out", "b out", "a out"]


@pytest.mark.parametrize("method", [Arith.mul, Arith.add, Arith.sub])
async def test_interceptors_stand_around_every_kind_of_handler(around: Around, method: Any) -> None:
    log: list[str] = []
    async with around(logging(log, "a")) as client:
        assert await client.call(method, 4, 2) == await ensured(method(Arith(), 4, 2))
    assert log == ["a in", "a out"]


async def ensured(value: Any) -> Any:
    return await value if isinstance(value, Awaitable) else value


async def test_an_interceptor_sees_method_side_and_arguments(around: Around) -> None:
    seen: list[Any] = []

    async def look(call: Call, proceed: Proceed) -> Any:
        seen.append([call.method, call.kind, call.arguments, call.attempt, current_call() is call])
        seen.append(call.remaining())
        return await proceed(call)

    async with around(look) as client:
        assert await client.call(Arith.mul, 6, 7) == 42
    assert seen[0] == ["arith.mul", "unary", (6, 7), 0, True]
    assert 4.5 < seen[1] <= 5


async def test_both_sides_have_every_attribute_of_a_call(around: Around) -> None:
    seen: dict[str, Any] = {}

    async def look(call: Call, proceed: Proceed) -> Any:
        names = [name for name in dir(Call) if not name.startswith("_")]
        seen.update((name, getattr(call, name)) for name in names if name != "draining")
        value = await proceed(call)
        await call.sleep(0)
        assert call.status is Status.OK
        assert not call.cancelled
        return value

    async with around(look) as client:
        assert await client.call(Arith.mul, 6, 7) == 42
    assert seen["peer"].address.scheme == "memory"
    assert (seen["identity"], seen["cancelled"], seen["state"]) == (None, False, {})
    assert seen["deadline"] > 0


async def test_an_interceptor_sees_the_side_of_its_call() -> None:
    sides: list[str] = []

    async def look(call: Call, proceed: Proceed) -> Any:
        sides.append(call.side)
        return await proceed(call)

    async with connected(Arith, interceptors=[look], client_interceptors=[look]) as client:
        await client.call(Arith.mul, 1, 1)
    assert sides == ["client", "server"]


async def test_returning_without_proceeding_answers(around: Around) -> None:
    async def answer(call: Call, proceed: Proceed) -> Any:
        call.reply_metadata["cached"] = "yes"
        return 5

    arith = Arith()
    async with around(answer, sources=(arith,)) as client:
        assert await client.call(Arith.mul, 6, 7) == 5
        reply = await client.request(Arith.mul, 6, 7)
        assert (reply.value, reply.metadata["cached"]) == (5, "yes")
        assert reply.seconds >= 0
        assert await client.call_many(Arith.mul, [(1, 2), (3, 4)]) == [5, 5]
        await client.notify(Arith.mul, 6, 7)
    assert arith.ran == 0


async def test_an_interceptor_may_change_the_answer(around: Around) -> None:
    async def add_one(call: Call, proceed: Proceed) -> Any:
        return await proceed(call) + 1

    async with around(add_one, add_one) as client:
        assert await client.call(Arith.mul, 6, 7) == 44
        reply = await client.request(Arith.mul, 6, 7)
        assert isinstance(reply, Reply)
        assert reply.value == 44


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (Status.PERMISSION_DENIED, CallError, False),
        (Status.RESOURCE_EXHAUSTED, OverloadedError, True),
        (Status.UNAVAILABLE, UnavailableError, True),
    ],
)
async def test_raising_on_the_server_refuses_before_the_start(
    status: Status, kind: type[fastrpc.FastRPCError], retryable: bool
) -> None:
    async def refuse(call: Call, proceed: Proceed) -> Any:
        raise CallError(status, "not today")

    arith = Arith()
    async with connected(arith, interceptors=[refuse]) as client:
        with pytest.raises(kind, match="not today") as refused:
            await client.call(Arith.mul, 6, 7)
        assert type(refused.value) is kind
        assert refused.value.status is status
        assert (refused.value.processed, refused.value.retryable) == ("no", retryable)
    assert arith.ran == 0


async def test_an_exception_of_a_client_interceptor_is_raised_unchanged(around_calls: Around) -> None:
    class OwnError(Exception):
        pass

    async def refuse(call: Call, proceed: Proceed) -> Any:
        raise OwnError("not today")

    arith = Arith()
    async with around_calls(refuse, sources=(arith,)) as client:
        with pytest.raises(OwnError, match="not today"):
            await client.call(Arith.mul, 6, 7)
        with pytest.raises(OwnError):
            await client.call_many(Arith.mul, [(1, 2), (3, 4)])
    assert arith.ran == 0


@pytest.mark.parametrize("error", [CallError(Status.ABORTED, "no"), DeadlineExceededError("no")])
async def test_calls_that_the_client_refuses_before_sending_did_not_run(
    around_calls: Around, error: fastrpc.FastRPCError
) -> None:
    seen: list[str] = []

    async def outer(call: Call, proceed: Proceed) -> Any:
        try:
            return await proceed(call)
        except fastrpc.FastRPCError as refusal:
            seen.append(refusal.processed)
            raise

    async def refuse(call: Call, proceed: Proceed) -> Any:
        raise error

    arith = Arith()
    async with around_calls(outer, refuse, sources=(arith,)) as client:
        with pytest.raises(type(error)) as refused:
            await client.call(Arith.mul, 6, 7)
    assert (refused.value.processed, seen, arith.ran) == ("no", ["no"], 0)


async def test_a_refusal_instead_of_a_connection_did_not_run_either() -> None:
    async def translate(call: Call, proceed: Proceed) -> Any:
        try:
            return await proceed(call)
        except fastrpc.ConnectError as error:
            raise CallError(Status.ABORTED, "nobody there") from error

    async with Client("memory://nobody", interceptors=[translate]) as client:
        with pytest.raises(CallError) as refused:
            await client.call(Arith.mul, 6, 7)
    assert refused.value.processed == "no"


@pytest.mark.parametrize("kind", CLIENTS)
async def test_an_interceptor_answers_and_refuses_without_a_connection(kind: str) -> None:
    async def answer(call: Call, proceed: Proceed) -> Any:
        if call.method == "arith.mul":
            return 1
        raise CallError(Status.PERMISSION_DENIED, "not that")

    async with nowhere(kind, interceptors=[answer]) as client:
        assert await client.call(Arith.mul, 6, 7) == 1
        with pytest.raises(CallError, match="not that") as refused:
            await client.call(Arith.add, 6, 7)
        assert refused.value.processed == "no"


async def test_an_error_raised_by_the_client_after_sending_keeps_its_text(around_calls: Around) -> None:
    async def too_late(call: Call, proceed: Proceed) -> Any:
        await proceed(call)
        raise CallError(Status.ABORTED, "too late")

    async def impatient(call: Call, proceed: Proceed) -> Any:
        try:
            async with asyncio.timeout(0.5):
                return await proceed(call)
        except TimeoutError:
            raise CallError(Status.ABORTED, "too slow", processed="unknown") from None

    arith = Arith()
    async with around_calls(too_late, sources=(arith,)) as client:
        with pytest.raises(CallError) as refused:
            await client.call(Arith.mul, 6, 7)
    assert refused.value.processed == "yes"
    # Nothing else ends a call of a thread in the middle.
    async with connected(arith, client_interceptors=[impatient]) as waiting:
        with pytest.raises(CallError) as refused:
            await waiting.call(Arith.fail, "hang")
    assert (refused.value.processed, arith.ran) == ("unknown", 2)


async def test_an_error_after_proceeding_counts_as_processed() -> None:
    async def fail_late(call: Call, proceed: Proceed) -> Any:
        await proceed(call)
        raise CallError(Status.ABORTED, "too late")

    async with connected(Arith, interceptors=[fail_late]) as client:
        with pytest.raises(CallError, match="too late") as failed:
            await client.call(Arith.mul, 6, 7)
        assert failed.value.processed == "yes"


async def test_a_crash_in_a_server_interceptor_is_internal() -> None:
    async def crash(call: Call, proceed: Proceed) -> Any:
        raise ValueError("secret")

    async with connected(Arith, interceptors=[crash], config=ServerConfig()) as client:
        with pytest.raises(CallError) as failed:
            await client.call(Arith.mul, 6, 7)
        assert failed.value.status is Status.INTERNAL
        assert "secret" not in str(failed.value)


def noting_outcomes(seen: list[Any]) -> Interceptor:
    async def note(call: Call, proceed: Proceed) -> Any:
        assert call.status is None
        try:
            return await proceed(call)
        finally:
            seen.append((call.status, type(call.error)))

    return note


@pytest.mark.parametrize(
    ("kind", "status", "on_server"),
    [
        ("refuse", Status.NOT_FOUND, CallError),
        ("crash", Status.INTERNAL, ValueError),
        ("cancel", Status.INTERNAL, asyncio.CancelledError),
    ],
)
async def test_the_final_status_and_error_are_seen_at_every_level(
    kind: str, status: Status, on_server: type[BaseException]
) -> None:
    server, client_side = list[Any](), list[Any]()
    async with connected(
        Arith,
        interceptors=[noting_outcomes(server), noting_outcomes(server)],
        client_interceptors=[noting_outcomes(client_side), noting_outcomes(client_side)],
    ) as client:
        with pytest.raises(CallError) as failed:
            await client.call(Arith.fail, kind)
        assert failed.value.status is status
    assert server == [(status, on_server)] * 2
    assert client_side == [(status, CallError)] * 2


async def test_success_is_seen_as_ok(around: Around) -> None:
    seen: list[Any] = []
    async with around(noting_outcomes(seen), noting_outcomes(seen)) as client:
        await client.call(Arith.mul, 6, 7)
    assert seen == [(Status.OK, type(None))] * 2


async def test_a_refusal_by_an_inner_interceptor_is_seen_by_the_outer(around: Around) -> None:
    async def refuse(call: Call, proceed: Proceed) -> Any:
        raise CallError(Status.UNAUTHENTICATED, "who are you")

    seen: list[Any] = []
    async with around(noting_outcomes(seen), refuse) as client:
        with pytest.raises(CallError):
            await client.call(Arith.mul, 6, 7)
    assert seen == [(Status.UNAUTHENTICATED, CallError)]


async def test_a_passed_deadline_is_recognised() -> None:
    server, client_side = list[Any](), list[Any]()
    async with connected(
        Arith,
        interceptors=[noting_outcomes(server)],
        client_interceptors=[noting_outcomes(client_side)],
    ) as client:
        with pytest.raises(DeadlineExceededError):
            await client.with_options(timeout=0.5).call(Arith.fail, "wait")
        await eventually(lambda: server)
    assert server == [(Status.DEADLINE_EXCEEDED, asyncio.CancelledError)]
    assert client_side == [(Status.DEADLINE_EXCEEDED, DeadlineExceededError)]


async def test_a_cancelled_caller_is_seen_on_both_sides() -> None:
    server, client_side = list[Any](), list[Any]()
    async with connected(
        Arith,
        interceptors=[noting_outcomes(server)],
        client_interceptors=[noting_outcomes(client_side)],
    ) as client:
        await client.ready()
        call = asyncio.ensure_future(client.call(Arith.fail, "wait"))
        await client.call(Arith.mul, 1, 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await eventually(lambda: len(server) == 2)
    assert server[1] == (Status.CANCELLED, asyncio.CancelledError)
    assert client_side[1] == (Status.CANCELLED, asyncio.CancelledError)


async def test_a_client_interceptor_changes_the_sent_call(around_calls: Around) -> None:
    async def sign(call: Call, proceed: Proceed) -> Any:
        call.metadata["token"] = "t"
        call.metadata.binary["trace-bin"] = b"\x01"
        value = await proceed(call)
        assert call.reply_metadata["from"] == "handler"
        return value

    async with around_calls(sign) as client:
        view = client.with_options(metadata={"tenant": "acme"})
        assert await view.call(Arith.metadata) == {"tenant": "acme", "token": "t"}
        assert getattr(view, "client", view).metadata == {"tenant": "acme"}


async def test_a_server_interceptor_changes_metadata_of_request_and_answer() -> None:
    async def stamp(call: Call, proceed: Proceed) -> Any:
        call.metadata["stamped"] = "yes"
        value = await proceed(call)
        assert call.reply_metadata["from"] == "handler"
        call.reply_metadata["server"] = "one"
        return value

    async with connected(Arith, interceptors=[stamp]) as client:
        reply = await client.request(Arith.metadata)
        assert reply.value == {"stamped": "yes"}
        assert dict(reply.metadata) == {"from": "handler", "server": "one"}


async def test_state_goes_from_interceptor_to_handler() -> None:
    @fastrpc.service("stateful")
    class Stateful:
        @fastrpc.method
        async def user(self) -> str:
            return str(current_call().state["user"])

    async def authenticate(call: Call, proceed: Proceed) -> Any:
        call.state["user"] = "ada"
        return await proceed(call)

    async with connected(Stateful, interceptors=[authenticate]) as client:
        assert await client.call(Stateful.user) == "ada"


async def test_an_object_with_call_is_an_interceptor(around: Around) -> None:
    class Counter:
        count = 0

        async def __call__(self, call: Call, proceed: Proceed) -> Any:
            self.count += 1
            return await proceed(call)

    counter = Counter()
    async with around(counter) as client:
        await client.call_many(Arith.mul, [(1, 2)] * 5)
    assert counter.count == 5


@pytest.mark.parametrize("side", ["client_interceptors", "interceptors"])
async def test_an_interceptor_may_wait_and_make_calls(side: str) -> None:
    async with served(Arith) as other, Client(other) as helper:

        async def ask(call: Call, proceed: Proceed) -> Any:
            await asyncio.sleep(0)
            factor = await helper.call(Arith.mul, 2, 5)
            return factor * await proceed(call)

        async with connected(Arith, **{side: [ask]}) as client:  # type: ignore[arg-type]
            assert await client.call(Arith.mul, 6, 7) == 420


async def test_a_client_interceptor_runs_once_around_all_attempts(around_calls: Around) -> None:
    log: list[str] = []

    async def refuse_first(call: Call, proceed: Proceed) -> Any:
        log.append(f"server {call.attempt}")
        if call.attempt == 0:
            raise CallError(Status.UNAVAILABLE, "try again")
        return await proceed(call)

    async with around_calls(logging(log, "client"), server_interceptors=[refuse_first]) as client:
        reply = await client.request(Arith.mul, 6, 7)
        assert (reply.value, reply.attempts) == (42, 2)
    assert log == ["client in", "server 0", "server 1", "client out"]


async def test_an_interceptor_may_proceed_again(around_calls: Around) -> None:
    async def twice(call: Call, proceed: Proceed) -> Any:
        return await proceed(call) + await proceed(call)

    async with around_calls(twice) as client:
        assert await client.call(Arith.mul, 6, 7) == 84


async def test_call_many_goes_through_the_interceptors_call_by_call(around: Around) -> None:
    log: list[str] = []
    async with around(logging(log, "a")) as client:
        assert await client.call_many(Arith.mul, [(n, 2) for n in range(3)]) == [0, 2, 4]
    assert log.count("a in") == log.count("a out") == 3


async def test_without_interceptors_no_coroutine_stands_in_between() -> None:
    async with connected(Arith) as client:
        await client.ready()
        call = client.call(Arith.mul, 6, 7)
        assert asyncio.isfuture(call.send(None))
        assert asyncio.isfuture(call.cr_await)  # type: ignore[attr-defined]
        call.close()
