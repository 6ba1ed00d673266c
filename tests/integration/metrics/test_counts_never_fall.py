"""A count never falls: calls are counted by how they ended once that is known, which is when the answer is decoded."""

import asyncio
import dataclasses
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import pytest

import fastrpc
from fastrpc import Client, DecodeError, SyncClient
from fastrpc._core.base.histogram import default_registry
from fastrpc.testing import serving

Sample = dict[str, int]

#: Told whenever an answer is decoded.
watchers: list[Callable[[], None]] = []


@dataclasses.dataclass
class Odd:
    number: int

    def __post_init__(self) -> None:
        for watch in watchers:
            watch()
        if self.number % 2 == 0:
            raise ValueError(f"{self.number} is even")


@fastrpc.service("parity")
class Parity(Protocol):
    """The server's class as clients know it."""

    @fastrpc.method(inline=True)
    def make(self, number: int) -> Odd: ...

    @fastrpc.method(inline=True)
    def text(self, number: int) -> int: ...


@fastrpc.service("parity")
class Untrue:
    """The server's real class."""

    @fastrpc.method(inline=True)
    def make(self, number: int) -> dict[str, int]:
        return {"number": number}

    @fastrpc.method(inline=True)
    def text(self, number: int) -> str:
        return "no number" if number % 2 == 0 else ""


def counts(client: Any, method: str) -> Sample:
    """Return all that is counted of the calls of a method, and of all calls of a client."""
    totals = client.stats()["totals"]
    snapshot = default_registry.counters(f"parity.{method}", "client").snapshot()
    return {
        **{f"method {status}": count for status, count in snapshot["calls"].items()},
        **{f"client {status}": count for status, count in totals["failed"].items()},
        "client OK": totals["succeeded"],
    }


@contextmanager
def sampling(client: Any, method: str) -> Iterator[list[Sample]]:
    samples = [counts(client, method)]

    def sample() -> None:
        samples.append(counts(client, method))

    watchers.append(sample)
    try:
        yield samples
        sample()
    finally:
        watchers.remove(sample)


def check(samples: list[Sample], **grown: int) -> None:
    """Check that no count fell, and by how much each has grown."""
    for before, after in itertools.pairwise(samples):
        assert all(after.get(name, 0) >= count for name, count in before.items()), (before, after)
    first, last = samples[0], samples[-1]
    for side in ("method", "client"):
        for status in {*grown, "OK", "INTERNAL"}:
            name = f"{side} {status}"
            assert last.get(name, 0) - first.get(name, 0) == grown.get(status, 0), name


def in_flight(method: str) -> int:
    return default_registry.counters(f"parity.{method}", "client").in_flight


@pytest.fixture(params=["plain", "intercepted", "listed", "compressed"])
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    async def passing(call: Any, proceed: Any) -> Any:
        return await proceed(call)

    return {"interceptors": [passing]} if request.param == "intercepted" else {"is": request.param}


@contextmanager
def target_of(options: dict[str, Any]) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Serve, and return a target and the arguments of a client."""
    kind = options.get("is")
    with serving(Untrue) as address:
        extra = {"config": fastrpc.ClientConfig(compressor="gzip", compress_above=0)}
        chosen = extra if kind == "compressed" else {}
        chosen = {"interceptors": options["interceptors"]} if "interceptors" in options else chosen
        yield [address, address.replace("127.0.0.1", "localhost")] if kind == "listed" else address, chosen


async def test_no_count_falls_while_answers_fail_to_decode(options: dict[str, Any]) -> None:
    with target_of(options) as (target, chosen):
        async with Client(target, **chosen) as client:
            with sampling(client, "make") as samples:
                for number in range(6):
                    if number % 2:
                        assert await client.call(Parity.make, number) == Odd(number)
                        continue
                    for verb in (client.call, client.request):
                        with pytest.raises(DecodeError):
                            await verb(Parity.make, number)
            check(samples, OK=3, INTERNAL=6)
            with sampling(client, "make") as samples:
                values = await client.call_many(
                    Parity.make, [(number,) for number in range(9)], return_exceptions=True
                )
            assert [type(value) for value in values] == [DecodeError, Odd] * 4 + [DecodeError]
            check(samples, OK=4, INTERNAL=5)
            with sampling(client, "text") as samples:
                with pytest.raises(DecodeError):
                    await client.call(Parity.text, 2)
                await client.notify(Parity.text, 2)
            check(samples, OK=1, INTERNAL=1)
    assert in_flight("make") == in_flight("text") == 0


def test_no_count_of_a_blocking_client_falls_while_answers_fail_to_decode(options: dict[str, Any]) -> None:
    with target_of(options) as (target, chosen), SyncClient(target, **chosen) as client:
        with sampling(client, "make") as samples:
            for number in range(6):
                if number % 2:
                    assert client.call(Parity.make, number) == Odd(number)
                    continue
                for verb in (client.call, client.request):
                    with pytest.raises(DecodeError):
                        verb(Parity.make, number)
        check(samples, OK=3, INTERNAL=6)
        with sampling(client, "make") as samples:
            values = client.call_many(Parity.make, [(number,) for number in range(9)], return_exceptions=True)
        assert [type(value) for value in values] == [DecodeError, Odd] * 4 + [DecodeError]
        check(samples, OK=4, INTERNAL=5)
        with sampling(client, "text") as samples:
            with pytest.raises(DecodeError):
                client.call(Parity.text, 2)
            client.notify(Parity.text, 2)
        check(samples, OK=1, INTERNAL=1)
    assert in_flight("make") == in_flight("text") == 0


@pytest.mark.parametrize("end", ["closed", "cancelled", "dropped"])
@pytest.mark.parametrize("is_batch", [False, True])
async def test_an_answer_that_nobody_reads_is_counted_once(end: str, is_batch: bool) -> None:
    with serving(Untrue) as address:
        async with Client(address) as client:
            await client.call("parity.make", 1)
            samples = [counts(client, "make")]
            call: Any = (
                client.call_many(Parity.make, [(1,), (2,)]) if is_batch else client.call(Parity.make, 1)
            )
            answered = call.send(None)
            await asyncio.wait([answered])
            samples.append(counts(client, "make"))
            if end == "closed":
                call.close()
            elif end == "cancelled":
                with pytest.raises(asyncio.CancelledError):
                    call.throw(asyncio.CancelledError())
            del call
            samples.append(counts(client, "make"))
            check(samples, OK=2 if is_batch else 1)
    assert in_flight("make") == 0
