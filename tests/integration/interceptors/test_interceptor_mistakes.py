"""Interceptors that forget `await` or `return`, or answer with a value that cannot be encoded."""

import asyncio
import functools
import gc
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import fastrpc
from fastrpc import Call, CallError, Client, Interceptor, Proceed, ServerConfig, Status, SyncClient
from fastrpc.testing import connected, serving
from tests.support.served import served

pytestmark = pytest.mark.one_loop


@fastrpc.service("desk")
class Desk:
    def __init__(self) -> None:
        self.ran = 0

    @fastrpc.method
    async def mul(self, a: int, b: int) -> int:
        self.ran += 1
        return a * b

    @fastrpc.method
    async def nothing(self) -> None:
        self.ran += 1

    @fastrpc.method
    async def perhaps(self) -> int | None:
        self.ran += 1
        return 5

    @fastrpc.method
    async def unsaid(self):  # type: ignore[no-untyped-def]
        self.ran += 1
        return 5

    @fastrpc.method
    async def anything(self) -> Any:
        self.ran += 1
        return 5

    @fastrpc.method
    async def broken_promise(self) -> int:
        self.ran += 1
        return None  # type: ignore[return-value]

    @fastrpc.method
    def threaded(self) -> list[int]:
        self.ran += 1
        return [1]

    @fastrpc.method(inline=True)
    def inline(self) -> str:
        self.ran += 1
        return "text"

    @fastrpc.method
    async def each(self, limit: int) -> AsyncIterator[int]:
        self.ran += 1
        for number in range(limit):
            yield number


async def returns_the_rest(call: Call, proceed: Proceed) -> Any:
    return proceed(call)


async def drops_the_rest(call: Call, proceed: Proceed) -> Any:
    proceed(call)


async def keeps_the_rest(call: Call, proceed: Proceed) -> Any:
    rest = proceed(call)
    assert rest is not None


async def drops_the_value(call: Call, proceed: Proceed) -> Any:
    await proceed(call)


async def never_proceeds(call: Call, proceed: Proceed) -> Any:
    return None


async def returns_a_coroutine(call: Call, proceed: Proceed) -> Any:
    async def rest() -> Any:
        return await proceed(call)

    return rest()


async def returns_a_task(call: Call, proceed: Proceed) -> Any:
    async def rest() -> Any:
        return await proceed(call)

    return asyncio.ensure_future(rest())


def is_plain(call: Call, proceed: Proceed) -> Any:
    proceed(call)


def answers_plainly(call: Call, proceed: Proceed) -> Any:
    return 5


async def generates(call: Call, proceed: Proceed) -> Any:
    yield await proceed(call)


class Forgetful:
    async def __call__(self, call: Call, proceed: Proceed) -> Any:
        return proceed(call)


async def with_option(option: int, call: Call, proceed: Proceed) -> Any:
    return proceed(call)


MISTAKES: dict[str, Any] = {
    "returns_the_rest": returns_the_rest,
    "drops_the_rest": drops_the_rest,
    "keeps_the_rest": keeps_the_rest,
    "drops_the_value": drops_the_value,
    "never_proceeds": never_proceeds,
    "returns_a_coroutine": returns_a_coroutine,
    "is_plain": is_plain,
    "answers_plainly": answers_plainly,
    "generates": generates,
    "Forgetful": Forgetful(),
    "with_option": functools.partial(with_option, 1),
}
ASYNC_MISTAKES = {**MISTAKES, "returns_a_task": returns_a_task}


async def plain(call: Call, proceed: Proceed) -> Any:
    return await proceed(call)


def around(mistaken: Interceptor, place: str) -> list[Interceptor]:
    return {
        "alone": [mistaken],
        "outside": [mistaken, plain],
        "inside": [plain, mistaken],
    }[place]


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
        gc.collect()


@pytest.mark.parametrize("place", ["alone", "outside", "inside"])
@pytest.mark.parametrize("name", ASYNC_MISTAKES)
async def test_a_mistake_on_the_server_is_internal_and_the_log_names_the_interceptor(
    name: str, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    interceptors = around(ASYNC_MISTAKES[name], place)
    async with connected(Desk, interceptors=interceptors, config=ServerConfig()) as client:
        for method, arguments in (("mul", (6, 7)), ("threaded", ()), ("inline", ())):
            caplog.clear()
            with pytest.raises(CallError) as failed:
                await client.call(f"desk.{method}", *arguments)
            assert failed.value.status is Status.INTERNAL, method
            (record,) = [record for record in caplog.records if hasattr(record, "error_id")]
            assert record.error_id in str(failed.value)
            assert f"interceptor {__name__}.{name} " in caplog.text
            assert "return await proceed(call)" in caplog.text


async def test_an_exposed_error_names_the_interceptor() -> None:
    config = ServerConfig(expose_errors=True)
    async with connected(Desk, interceptors=[returns_the_rest], config=config) as client:
        with pytest.raises(CallError, match=r"interceptor \S+\.returns_the_rest returned a Proceeding"):
            await client.call(Desk.mul, 6, 7)


@pytest.mark.parametrize("place", ["alone", "outside", "inside"])
@pytest.mark.parametrize("name", ASYNC_MISTAKES)
async def test_a_mistake_on_the_client_names_the_interceptor(name: str, place: str) -> None:
    interceptors = around(ASYNC_MISTAKES[name], place)
    async with connected(Desk, client_interceptors=interceptors) as client:
        with pytest.raises(TypeError, match=rf"interceptor \S+\.{name} .*desk\.mul.*return await proceed"):
            await client.call(Desk.mul, 6, 7)
        with pytest.raises(TypeError, match=name):
            await client.request(Desk.mul, 6, 7)
        with pytest.raises(TypeError, match=name):
            await client.call_many(Desk.mul, [(6, 7), (1, 2)])


async def goes_on_with_none(call: Call, proceed: Proceed) -> Any:
    return await proceed(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("place", ["alone", "outside", "inside"])
async def test_proceeding_without_the_call_names_the_interceptor(place: str) -> None:
    text = r"interceptor \S+\.goes_on_with_none called proceed\(None\); write `return await proceed\(call\)`"
    async with connected(Desk, client_interceptors=around(goes_on_with_none, place)) as client:
        with pytest.raises(TypeError, match=text):
            await client.call(Desk.mul, 6, 7)
    config = ServerConfig(expose_errors=True)
    async with connected(Desk, interceptors=around(goes_on_with_none, place), config=config) as client:
        with pytest.raises(CallError, match=text):
            await client.call(Desk.mul, 6, 7)


@pytest.mark.parametrize("place", ["alone", "outside", "inside"])
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_a_blocking_client_names_the_interceptor(name: str, place: str) -> None:
    with serving(Desk) as address, SyncClient(address, interceptors=around(MISTAKES[name], place)) as client:
        for verb in (client.call, client.request):
            with pytest.raises(
                TypeError, match=rf"interceptor \S+\.{name} .*desk\.mul.*return await proceed"
            ):
                verb(Desk.mul, 6, 7)
        with pytest.raises(TypeError, match=name):
            client.call_many(Desk.mul, [(6, 7), (1, 2)])


@pytest.mark.parametrize("method", ["nothing", "perhaps", "unsaid", "anything"])
@pytest.mark.parametrize("forgets", [drops_the_rest, keeps_the_rest])
async def test_a_handler_that_was_never_awaited_is_reported_for_any_result(
    method: str, forgets: Interceptor
) -> None:
    """No answer that may be None hides that the handler never ran."""
    desk = Desk()
    async with connected(desk, client_interceptors=[forgets]) as client:
        with pytest.raises(TypeError, match="did not await it"):
            await client.call(f"desk.{method}")
    config = ServerConfig(expose_errors=True)
    async with connected(desk, interceptors=[plain, forgets], config=config) as client:
        with pytest.raises(CallError, match="did not await it"):
            await client.call(f"desk.{method}")
    assert desk.ran == 0


# Interceptors that are asked before a call whether it concerns them


class Asked:
    """Raises when it is asked about a call."""

    def __init__(self, error: BaseException) -> None:
        self.error: BaseException | None = error

    def _concerns(self, call: Call | None) -> bool:
        if self.error is not None:
            raise self.error
        return False

    async def __call__(self, call: Call, proceed: Proceed) -> Any:
        return await proceed(call)


@pytest.mark.parametrize("place", ["alone", "outside", "inside"])
async def test_an_interceptor_that_raises_while_it_is_chosen_fails_only_the_call(
    place: str, caplog: pytest.LogCaptureFixture
) -> None:
    asked, desk = Asked(ValueError("swordfish")), Desk()
    interceptors = {"alone": [asked], "outside": [asked, Asking()], "inside": [Asking(), asked]}[place]
    async with connected(desk, interceptors=interceptors, config=ServerConfig()) as client:
        for method, arguments in (("mul", (6, 7)), ("threaded", ()), ("inline", ()), ("each", (3,))):
            caplog.clear()
            with pytest.raises(CallError) as failed:
                if method == "each":
                    async with client.stream("desk.each", *arguments) as numbers:
                        await numbers.receive()
                else:
                    await client.call(f"desk.{method}", *arguments)
            assert (failed.value.status, failed.value.processed) == (Status.INTERNAL, "no"), method
            assert "swordfish" not in str(failed.value)
            (record,) = [record for record in caplog.records if hasattr(record, "error_id")]
            assert record.error_id in str(failed.value)
        await client.notify(Desk.mul, 6, 7)
        asked.error = fastrpc.CallError(Status.ABORTED, "not now")
        with pytest.raises(CallError, match="not now") as told:
            await client.call(Desk.mul, 6, 7)
        assert told.value.status is Status.ABORTED
        assert desk.ran == 0
        asked.error = None
        # On the same connection.
        assert await client.call(Desk.mul, 6, 7) == 42
        assert client.stats()["totals"]["connections"] == 1


class Asking:
    """Is concerned by no call."""

    def _concerns(self, call: Call | None) -> bool:
        return False

    async def __call__(self, call: Call, proceed: Proceed) -> Any:
        raise AssertionError("no call concerns it")


async def test_a_clients_interceptor_that_raises_while_it_is_chosen_fails_only_the_call() -> None:
    asked, desk = Asked(ValueError("swordfish")), Desk()
    async with connected(desk, client_interceptors=[asked]) as client:
        for verb in (client.call, client.request, client.notify):
            with pytest.raises(ValueError, match="swordfish"):
                await verb(Desk.mul, 6, 7)
        with pytest.raises(ValueError, match="swordfish"):
            await client.call_many(Desk.mul, [(6, 7), (1, 2)])
        asked.error = None
        assert await client.call(Desk.mul, 6, 7) == 42
    assert desk.ran == 1


def test_an_interceptor_of_a_blocking_client_that_raises_while_it_is_chosen_fails_only_the_call() -> None:
    asked, desk = Asked(ValueError("swordfish")), Desk()
    with serving(desk) as address, SyncClient(address, interceptors=[asked]) as client:
        for verb in (client.call, client.request, client.notify):
            with pytest.raises(ValueError, match="swordfish"):
                verb(Desk.mul, 6, 7)
        with pytest.raises(ValueError, match="swordfish"):
            client.call_many(Desk.mul, [(6, 7), (1, 2)])
        asked.error = None
        assert client.call(Desk.mul, 6, 7) == 42
    assert desk.ran == 1


# No false alarms


@pytest.mark.parametrize("method", ["nothing", "perhaps", "unsaid", "anything"])
@pytest.mark.parametrize("answers", [drops_the_value, never_proceeds, plain])
async def test_none_is_an_answer_where_the_result_may_be_none(method: str, answers: Interceptor) -> None:
    expected = 5 if answers is plain and method != "nothing" else None
    for options in ({"interceptors": [answers]}, {"client_interceptors": [answers]}):
        async with connected(Desk, **options) as client:  # type: ignore[arg-type]
            assert await client.call(f"desk.{method}") == expected
            assert await client.call(getattr(Desk, method)) == expected


async def test_a_wrong_result_of_the_handler_is_not_blamed_on_an_interceptor() -> None:
    # `connected` checks results itself.
    async with served(Desk, interceptors=[plain, plain]) as target, Client(target) as client:
        with pytest.raises(fastrpc.DecodeError):
            await client.call(Desk.broken_promise)
        assert await client.call("desk.broken_promise") is None


async def test_a_client_accepts_none_as_the_result_of_a_method_known_only_by_name() -> None:
    async with connected(Desk, client_interceptors=[never_proceeds]) as client:
        assert await client.call("desk.mul", 6, 7) is None


async def test_the_result_of_a_notification_is_not_checked() -> None:
    desk = Desk()
    async with connected(
        desk, interceptors=[drops_the_value], client_interceptors=[drops_the_value]
    ) as client:
        await client.notify(Desk.mul, 6, 7)
        await client.notify(Desk.nothing)
        while desk.ran < 2:
            await asyncio.sleep(0)
    async with connected(desk, client_interceptors=[never_proceeds]) as client:
        await client.notify(Desk.mul, 6, 7)


async def test_an_interceptor_may_drop_the_inner_call_and_answer() -> None:
    async def answers_in_its_place(call: Call, proceed: Proceed) -> Any:
        proceed(call)
        return 3

    async def proceeds_the_second_time(call: Call, proceed: Proceed) -> Any:
        proceed(call)
        return await proceed(call)

    async def survives(call: Call, proceed: Proceed) -> Any:
        try:
            return await proceed(call)
        except TypeError:
            return None

    async with connected(Desk, client_interceptors=[answers_in_its_place]) as client:
        assert await client.call(Desk.mul, 6, 7) == 3
    async with connected(Desk, interceptors=[proceeds_the_second_time]) as client:
        assert await client.call(Desk.mul, 6, 7) == 42
        assert await client.call(Desk.nothing) is None
    async with connected(Desk, interceptors=[survives, drops_the_rest]) as client:
        assert await client.call(Desk.nothing) is None


# Values that cannot travel


class Unknown:
    pass


@pytest.mark.parametrize("proceeds", [True, False])
@pytest.mark.parametrize("codec", ["msgpack", "json"])
@pytest.mark.parametrize(
    "value",
    [object(), Unknown(), {1, object()}, 1 << 70, "\ud800"],
    ids=["object", "unknown", "set", "large", "surrogate"],
)
async def test_a_value_that_cannot_be_encoded_is_no_fault_of_the_caller(
    value: object, codec: str, proceeds: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def replace(call: Call, proceed: Proceed) -> Any:
        if proceeds:
            await proceed(call)
        return value

    if value == 1 << 70 and codec == "json":
        pytest.skip("JSON has integers of any size")
    async with connected(Desk, interceptors=[replace], config=ServerConfig()) as client:
        with pytest.raises(CallError) as failed:
            await client.with_options(codec=codec).call("desk.mul", 6, 7)
        assert (failed.value.status, failed.value.processed) == (Status.INTERNAL, "yes")
    identifiers = [getattr(record, "error_id", None) for record in caplog.records]
    assert any(identifier and identifier in str(failed.value) for identifier in identifiers)


async def test_a_too_large_answer_of_an_interceptor_counts_as_processed() -> None:
    async def large(call: Call, proceed: Proceed) -> Any:
        return bytes(17 << 20)

    async with served(Desk, interceptors=[large]) as target, Client(target) as client:
        with pytest.raises(CallError, match="Limits.message_bytes") as failed:
            await client.call("desk.mul", 6, 7)
    assert (failed.value.status, failed.value.processed) == (Status.RESOURCE_EXHAUSTED, "yes")


@pytest.mark.parametrize("error", [fastrpc.EncodeError("swordfish"), fastrpc.DecodeError("swordfish")])
async def test_a_codec_error_of_an_interceptor_is_no_fault_of_the_caller(error: Exception) -> None:
    async def refuse(call: Call, proceed: Proceed) -> Any:
        raise error

    async with connected(Desk, interceptors=[refuse], config=ServerConfig()) as client:
        with pytest.raises(CallError) as failed:
            await client.call(Desk.mul, 6, 7)
    assert failed.value.status is Status.INTERNAL
    assert "swordfish" not in str(failed.value)
