"""A selector of a program: it picks once for each attempt, and gets each outcome once."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, Client, ClientConfig, Endpoint, SyncClient
from fastrpc.config import Backoff
from fastrpc.failmodes import FailTry
from fastrpc.registries import StaticRegistry
from fastrpc.selectors import RoundRobin
from fastrpc.testing import serving
from tests.support.either_client import CLIENTS, connected, taken
from tests.support.served import served
from tests.support.talk import Talk
from tests.support.waiting import eventually
from tests.support.who import Who

pytestmark = pytest.mark.one_loop

CALLS = 5


class Last:
    """Picks the endpoint that came last and takes note of everything."""

    def __init__(self, wanted: str) -> None:
        self.wanted = wanted
        self.endpoints: Sequence[Endpoint] = ()
        self.picked: list[str] = []
        self.observed: list[tuple[str, Exception | None]] = []

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        self.endpoints = endpoints

    def pick(self, call: Any) -> Endpoint:
        found = [each for each in self.endpoints if str(each) == self.wanted] or self.endpoints
        self.picked.append(str(found[0]))
        return found[0]

    def observe(self, endpoint: Endpoint, seconds: float, error: Exception | None) -> None:
        self.observed.append((str(endpoint), error))


@fastrpc.service("refusing")
class Refusing:
    def __init__(self) -> None:
        self.calls = 0

    @fastrpc.method(idempotent=True)
    async def now(self) -> None:
        self.calls += 1
        raise CallError(fastrpc.Status.ABORTED, "not now", retry_after=0.001)


async def test_one_pick_and_one_observation_for_each_call() -> None:
    async with (
        served(Who("a"), scheme="tcp") as first,
        served(Who("b"), scheme="tcp") as second,
        served(Who("c"), scheme="tcp") as third,
    ):
        selector = Last(third)
        async with Client([first, second, third], selector=selector) as client:
            assert [await client.call(Who.name_of) for _ in range(CALLS)] == ["c"] * CALLS
        assert selector.picked == [third] * CALLS
        assert selector.observed == [(third, None)] * CALLS


def test_the_same_without_a_loop() -> None:
    with serving(Who("a")) as first, serving(Who("b")) as second, serving(Who("c")) as third:
        selector = Last(third)
        with SyncClient([first, second, third], selector=selector) as client:
            assert [client.call(Who.name_of) for _ in range(CALLS)] == ["c"] * CALLS
        assert selector.picked == [third] * CALLS
        assert selector.observed == [(third, None)] * CALLS


class Forgetful(Last):
    """Raises at each success."""

    def observe(self, endpoint: Endpoint, seconds: float, error: Exception | None) -> None:
        super().observe(endpoint, seconds, error)
        if error is None:
            raise ValueError("a table that it cannot write")


@pytest.mark.parametrize("kind", CLIENTS)
async def test_an_exception_of_observe_is_logged_and_changes_no_call(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    talk, who = Talk(), Who("a")
    async with served(talk, who, scheme="tcp") as alive:
        selector = Forgetful(alive)
        targets: Any = [alive, "tcp://127.0.0.1:9"]
        async with connected(kind, targets, selector=selector) as client:
            async with client.stream(Talk.described) as words:
                # On the connection of the calls below.
                assert dict(await words.headers()) == {"first": "1"}
                assert [await client.call(Who.name_of) for _ in range(CALLS)] == ["a"] * CALLS
                assert await client.call_many(Who.name_of, [()] * 2) == ["a"] * 2
                talk.may_go_on.set()
                assert await taken(words) == ["a"]
            assert len([where for where, error in selector.observed if error is None]) == CALLS + 2
    [told] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert told.name == "fastrpc.client"
    assert told.getMessage().startswith("Forgetful.observe did not record the outcome of an attempt")
    assert "a table that it cannot write" in caplog.text


@pytest.mark.parametrize("is_blocking", [False, True])
async def test_a_pick_that_cannot_be_reached_is_made_again(is_blocking: bool) -> None:
    gone = "tcp://127.0.0.1:1"
    config = ClientConfig(backoff=Backoff(first=30.0))
    async with served(Who("a"), scheme="tcp") as alive:
        selector = Last(gone)
        if is_blocking:

            def call() -> list[str]:
                with SyncClient([alive, gone], selector=selector, config=config) as client:
                    return [client.call(Who.name_of) for _ in range(CALLS)]

            assert await asyncio.to_thread(call) == ["a"] * CALLS
        else:
            async with Client([alive, gone], selector=selector, config=config) as client:
                assert [await client.call(Who.name_of) for _ in range(CALLS)] == ["a"] * CALLS
        assert [where for where, error in selector.observed if error is None] == [alive] * CALLS
        assert len(selector.observed) == len(selector.picked)


@pytest.mark.parametrize("is_blocking", [False, True])
async def test_fail_try_stays_where_the_first_attempt_went(is_blocking: bool) -> None:
    services = [Refusing() for _ in range(4)]
    async with AsyncExitStack() as stack:
        targets = [await stack.enter_async_context(served(each, scheme="tcp")) for each in services]

        def call() -> None:
            with SyncClient(targets, fail_mode=FailTry(retries=2)) as client:
                client.call(Refusing.now)

        for _ in range(10):
            for service in services:
                service.calls = 0
            # Each client is new: its first attempt goes where a connection comes first.
            with pytest.raises(CallError):
                if is_blocking:
                    await asyncio.to_thread(call)
                else:
                    async with Client(targets, fail_mode=FailTry(retries=2)) as client:
                        await client.call(Refusing.now)
            assert sorted(service.calls for service in services) == [0, 0, 0, 3]


async def test_attempt_that_got_no_connection_is_taken_back_with_its_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as other:
        targets = [f"tcp://127.0.0.1:{each.getsockname()[1]}" for each in (silent, other)]
        async with Client(targets, selector=Last(targets[0])) as client:
            # Compressed calls wait for the server's settings.
            view = client.with_options(compressor="gzip", timeout=0.05)
            with pytest.raises(fastrpc.DeadlineExceededError) as kept:
                await view.call(Who.name_of)
            endpoint_set = client._state.endpoint_set
            assert endpoint_set is not None
            assert [endpoint_state.in_flight for endpoint_state in endpoint_set.endpoint_states] == [0, 0]
            assert kept.value.processed == "no"


# Filters that raise


class Moody:
    """A filter that raises while the test says so."""

    def __init__(self) -> None:
        self.raises = False
        self.asked = 0

    def __call__(self, endpoints: Sequence[Endpoint], sound: Callable[[Endpoint], bool]) -> list[Endpoint]:
        self.asked += 1
        if self.raises:
            raise ValueError("a label that it cannot read")
        return list(endpoints)


async def test_filter_that_raised_once_takes_later_lists() -> None:
    moody = Moody()
    async with served(Who("old"), scheme="tcp") as old, served(Who("new"), scheme="tcp") as new:
        registry = StaticRegistry({"who": [old]})
        async with Client("who", registry=registry, selector=RoundRobin(filters=[moody])) as client:
            assert await client.call(Who.name_of) == "old"
            moody.raises = True
            before = moody.asked
            registry.update("who", [new])
            await eventually(lambda: moody.asked > before)
            with pytest.raises(ValueError, match="a label"):
                await client.call(Who.name_of)
            moody.raises = False
            # The list that it could not take is taken up now, without another one.
            assert await client.call(Who.name_of) == "new"
            registry.update("who", [old])
            await eventually(
                lambda: [str(subchannel.endpoint.address) for subchannel in client._pool.subchannels] == [old]
            )
            assert await client.call(Who.name_of) == "old"


def test_filter_that_raised_once_takes_the_same_list_in_a_blocking_client() -> None:
    moody = Moody()
    with serving(Who("old")) as old, serving(Who("new")) as new:
        registry = StaticRegistry({"who": [old]})
        with SyncClient("who", registry=registry, selector=RoundRobin(filters=[moody])) as client:
            assert client.call(Who.name_of) == "old"
            moody.raises = True
            registry.update("who", [new])
            for _ in range(2):
                with pytest.raises(ValueError, match="a label"):
                    client.call(Who.name_of)
            moody.raises = False
            assert {client.call(Who.name_of) for _ in range(3)} == {"new"}
