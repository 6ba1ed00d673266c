"""A result that does not fit its annotation: refused where the server checks, else a failure of the caller's."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any, Literal

import pytest

import fastrpc
from fastrpc import CallError, Client, DecodeError, ServerConfig, Status, SyncClient
from fastrpc.testing import connected
from tests.support.people import person_class
from tests.support.served import SCHEMES, served
from tests.support.threaded_server import ThreadedServer

pytestmark = pytest.mark.one_loop

Person = person_class()


@dataclass
class Point:
    x: int
    y: int = 0


@fastrpc.service("results")
class Results:
    """Each method returns its argument, in spite of its annotation."""

    @fastrpc.method
    async def number(self, value=None) -> int:  # type: ignore[no-untyped-def]
        return value  # type: ignore[no-any-return]

    @fastrpc.method
    async def late(self, value=None) -> int:  # type: ignore[no-untyped-def]
        await asyncio.sleep(0)
        return value  # type: ignore[no-any-return]

    @fastrpc.method(inline=True)
    def inline(self, value=None) -> list[int]:  # type: ignore[no-untyped-def]
        return value  # type: ignore[no-any-return]

    @fastrpc.method
    def thread(self, value=None) -> dict[str, Point]:  # type: ignore[no-untyped-def]
        return value  # type: ignore[no-any-return]

    @fastrpc.method
    async def point(self, value=None) -> Point:  # type: ignore[no-untyped-def]
        return value  # type: ignore[no-any-return]

    @fastrpc.method
    async def mode(self, value=None) -> Literal["fast", "slow"]:  # type: ignore[no-untyped-def]
        return value  # type: ignore[no-any-return]

    @fastrpc.method
    async def nothing(self, value=None) -> None:  # type: ignore[no-untyped-def]
        return value  # type: ignore[no-any-return]

    @fastrpc.method
    async def anything(self, value=None):  # type: ignore[no-untyped-def]
        return value

    @fastrpc.method
    async def person(self, value: Person) -> Person:  # type: ignore[valid-type]
        return None if value.name == "nobody" else value  # type: ignore[attr-defined]


WRONG: list[Any] = [
    (Results.number, "text", "result: expected `int`, got `str`"),
    (Results.number, None, "result: expected `int`, got `"),
    (Results.late, 1.5, "result: expected `int`, got `float`"),
    (Results.inline, [1, "two"], "result[1]: expected `int`, got `str`"),
    (Results.thread, {"a": {"x": 1, "y": "z"}}, "expected `int`, got `str`"),
    (Results.point, {"y": 1}, "missing required field `x`"),
    (Results.point, 5, "result: expected `object`, got `int`"),
    (Results.mode, "purple", "result: invalid enum value 'purple'"),
    (Results.nothing, 1, "result: expected `null`, got `int`"),
]
RIGHT: list[Any] = [
    (Results.number, 1, 1),
    (Results.inline, [1, 2], [1, 2]),
    (Results.thread, {"a": {"x": 1}}, {"a": Point(1)}),
    (Results.point, {"x": 1}, Point(1)),
    (Results.nothing, None, None),
    (Results.anything, ["a", 1], ["a", 1]),
]


def check_refusal(error: CallError, method: Any, text: str, caplog: pytest.LogCaptureFixture) -> None:
    """Check that the caller gets an id, and that the log has the reason under it."""
    assert (error.status, error.processed) == (Status.INTERNAL, "yes")
    [record] = [record for record in caplog.records if record.name == "fastrpc.server"]
    assert record.levelno == logging.ERROR
    assert record.error_id in error.message  # type: ignore[attr-defined]
    assert record.method == f"results.{method.__name__}"  # type: ignore[attr-defined]
    assert text in str(record.exc_info[1])  # type: ignore[index]


@pytest.mark.parametrize("codec", ["msgpack", "json"])
@pytest.mark.parametrize(("method", "value", "text"), WRONG)
async def test_a_result_that_does_not_fit_is_refused_and_logged(
    method: Any, value: Any, text: str, codec: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(Results) as client:
        with pytest.raises(CallError) as refused:
            await client.with_options(codec=codec).call(method, value)
        check_refusal(refused.value, method, text, caplog)


@pytest.mark.parametrize("codec", ["msgpack", "json"])
@pytest.mark.parametrize(("method", "value", "returned"), RIGHT)
async def test_a_result_that_fits_is_sent(method: Any, value: Any, returned: Any, codec: str) -> None:
    async with connected(Results) as client:
        assert await client.with_options(codec=codec).call(method, value) == returned


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_any_server_checks_results_if_configured(scheme: str, caplog: pytest.LogCaptureFixture) -> None:
    config = ServerConfig(check_results=True)
    async with served(Results, scheme=scheme, config=config) as target, Client(target) as client:
        with pytest.raises(CallError) as refused:
            await client.call("results.number", "text")
        check_refusal(refused.value, Results.number, "expected `int`", caplog)
        outcomes = await client.call_many(Results.number, [(1,), ("text",), (2,)], return_exceptions=True)
        assert [outcomes[0], outcomes[2]] == [1, 2]
        assert outcomes[1].status is Status.INTERNAL


async def test_a_value_of_an_interceptor_is_checked_as_well(caplog: pytest.LogCaptureFixture) -> None:
    async def answer(call: Any, proceed: Any) -> Any:
        return "text"

    async def replace(call: Any, proceed: Any) -> Any:
        return str(await proceed(call))

    for interceptor in (answer, replace):
        caplog.clear()
        async with connected(Results, interceptors=[interceptor]) as client:
            with pytest.raises(CallError) as refused:
                await client.call(Results.number, 1)
            assert refused.value.status is Status.INTERNAL
            assert "expected `int`, got `str`" in caplog.text


async def test_a_protobuf_result_is_a_message_of_its_class(caplog: pytest.LogCaptureFixture) -> None:
    async with connected(Results) as client:
        assert (await client.call(Results.person, Person(name="ada"))).name == "ada"
        with pytest.raises(CallError) as refused:
            await client.call(Results.person, Person(name="nobody"))
        check_refusal(refused.value, Results.person, "expected `Person`, got `NoneType`", caplog)


async def test_a_result_is_not_held_to_the_limits_of_arguments() -> None:
    config = ServerConfig(memory=fastrpc.Memory(items=100))
    async with connected(Results, config=config) as client:

        async def answer(call: Any, proceed: Any) -> Any:
            return list(range(1_000))

        async with connected(Results, config=config, interceptors=[answer]) as answered:
            assert await answered.call(Results.inline) == list(range(1_000))
        assert await client.call(Results.inline, [1]) == [1]


def failed(client: Any) -> Any:
    totals = client.stats()["totals"]
    return totals["succeeded"], totals["failed"]


async def test_without_the_check_the_answer_is_the_callers_failure_and_counted_so() -> None:
    async with served(Results) as target, Client(target) as client:
        assert await client.call(Results.number, 1) == 1
        with pytest.raises(DecodeError):
            await client.call(Results.number, "text")
        assert failed(client) == (1, {"INTERNAL": 1})
        with pytest.raises(DecodeError):
            await client.request(Results.number, "text")
        outcomes = await client.call_many(Results.number, [(1,), ("text",)], return_exceptions=True)
        assert isinstance(outcomes[1], DecodeError)
        assert failed(client) == (2, {"INTERNAL": 3})


def test_a_blocking_client_counts_it_as_well() -> None:
    with ThreadedServer(Results) as server, SyncClient(server.address) as client:
        for _ in range(2):
            with pytest.raises(DecodeError):
                client.call(Results.number, "text")
        outcomes = client.call_many(Results.number, [(1,), ("text",)], return_exceptions=True)
        assert isinstance(outcomes[1], DecodeError)
        assert failed(client) == (1, {"INTERNAL": 3})


async def test_the_metrics_of_a_method_count_it_as_well() -> None:
    from fastrpc._core.base.histogram import default_registry

    counters = default_registry.counters("results.late", "client")
    before = counters.snapshot()
    async with served(Results) as target, Client(target) as client:
        await client.call(Results.late, 1)
        with pytest.raises(DecodeError):
            await client.call(Results.late, "text")
    after = counters.snapshot()
    changed = {name: after["calls"].get(name, 0) - before["calls"].get(name, 0) for name in after["calls"]}
    assert {name: count for name, count in changed.items() if count} == {"OK": 1, "INTERNAL": 1}
    assert after["in_flight"] == before["in_flight"]


async def test_a_long_compressed_answer_that_does_not_fit_is_counted_once() -> None:
    async def answer(call: Any, proceed: Any) -> Any:
        return "text" * 100_000

    async with served(Results, interceptors=[answer]) as target, Client(target) as client:
        with pytest.raises(DecodeError):
            await client.with_options(compressor="gzip").call(Results.number, 1)
        assert failed(client) == (0, {"INTERNAL": 1})


def test_the_setting_is_a_flag() -> None:
    with pytest.raises(fastrpc.ConfigError, match="check_results"):
        ServerConfig(check_results="yes")  # type: ignore[arg-type]
    assert ServerConfig().check_results is False
