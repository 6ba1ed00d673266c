"""Clients of services with several endpoints: the choice of endpoints, as endpoints come and go."""

import asyncio
import contextlib
import gc
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import fastrpc
from fastrpc import Backoff, Client, ClientConfig, Endpoint
from fastrpc.config import Breaker, Outlier, Pool
from fastrpc.coordination import RegistryServer
from fastrpc.failmodes import FailBackup
from fastrpc.registries import StaticRegistry, open_registry
from fastrpc.testing import serving
from tests.support.served import Served, served
from tests.support.waiting import eventually
from tests.support.who import Who

pytestmark = pytest.mark.one_loop

QUICK = ClientConfig(backoff=Backoff(first=0.01, longest=0.05))


@contextlib.asynccontextmanager
async def endpoint_set(count: int, scheme: str = "tcp") -> AsyncIterator[tuple[list[Who], list[Served]]]:
    """Serve several endpoints."""
    async with contextlib.AsyncExitStack() as stack:
        people = [Who(f"server {number}") for number in range(count)]
        targets = [await stack.enter_async_context(served(who, scheme=scheme)) for who in people]
        yield people, targets


async def connected(client: Client, count: int) -> None:
    """Return once the given number of endpoints are connected."""
    await client.ready(5)
    await eventually(lambda: sum(session.is_ready for session in client._pool.connections) == count)


@contextlib.asynccontextmanager
async def calling(client: Client, method: Any, tasks: int = 8) -> AsyncIterator[Callable[[], int]]:
    """Keep calls running inside the block, none of which may fail; yield their counter."""
    is_over = False
    ended = 0

    async def caller() -> None:
        nonlocal ended
        while not is_over:
            await client.call(method)
            ended += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(tasks):
            group.create_task(caller())
        try:
            yield lambda: ended
        finally:
            is_over = True


# Registries


@pytest.mark.parametrize("method", [Who.name_of, Who.once])
async def test_endpoints_come_and_go_without_a_failed_call(method: Any) -> None:
    async with endpoint_set(3) as (people, targets):
        registry = StaticRegistry({"who": targets[:1]})
        async with Client("who", registry=registry, config=QUICK) as client:
            async with calling(client, method) as ended:
                await eventually(lambda: people[0].calls > 50)
                registry.update("who", targets)
                await eventually(lambda: people[1].calls > 50 and people[2].calls > 50)
                registry.update("who", targets[2:])
                await eventually(lambda: len(client._pool.open_connections) == 1)
                left, enough = people[0].calls + people[1].calls, ended() + 100
                await eventually(lambda: ended() > enough)
                assert people[0].calls + people[1].calls == left


async def test_embedded_registry_lists_servers_for_a_client() -> None:
    async with endpoint_set(2) as (people, targets), RegistryServer("tcp://127.0.0.1:0") as server:
        async with open_registry(server.url) as registry, contextlib.AsyncExitStack() as first:
            await first.enter_async_context(registry.register("who", Endpoint(targets[0])))
            async with Client(f"{server.url}/who", config=QUICK) as client:
                assert await client.call(Who.name_of) == "server 0"
                async with calling(client, Who.once), registry.register("who", Endpoint(targets[1])):
                    await eventually(lambda: people[1].calls > 50)
                    await first.aclose()
                    await eventually(lambda: len(client._pool.open_connections) == 1)
                assert await client.call(Who.name_of) == "server 1"


async def test_registry_url_and_service_name() -> None:
    async with endpoint_set(1) as (_, targets), RegistryServer("tcp://127.0.0.1:0") as server:
        async with open_registry(server.url) as registry, registry.register("who", Endpoint(targets[0])):
            async with Client("who", registry=server.url) as client:
                assert await client.call(Who.name_of) == "server 0"
            async with Client("who", registry=registry) as client:
                assert await client.call(Who.name_of) == "server 0"


async def test_dns_target() -> None:
    async with endpoint_set(1) as (_, targets):
        async with Client(f"dns://127.0.0.1:{targets[0].rpartition(':')[2]}", config=QUICK) as client:
            assert await client.call(Who.name_of) == "server 0"


async def test_nobody_serves() -> None:
    async with Client("who", registry=StaticRegistry({"who": []})) as client:
        with pytest.raises(
            fastrpc.NoEndpointError, match=r"who\.name_of: no endpoint serves it \(.*'who'\)"
        ) as caught:
            await client.call(Who.name_of)
        assert caught.value.processed == "no"
        assert client.stats()["totals"]["calls"] == 1


async def test_waiting_until_somebody_serves() -> None:
    registry = StaticRegistry({"who": []})
    async with endpoint_set(1) as (_, targets), Client("who", registry=registry) as client:
        call = asyncio.create_task(client.with_options(wait_for_ready=True).call(Who.name_of))
        await asyncio.sleep(0)
        registry.update("who", targets)
        assert await call == "server 0"


async def test_registry_that_cannot_be_asked() -> None:
    async with Client("registry://127.0.0.1:9/who") as client:
        with pytest.raises(fastrpc.NoEndpointError, match=r"who\.name_of: the endpoints of who are unknown"):
            await client.call(Who.name_of)
        with pytest.raises(fastrpc.DeadlineExceededError, match="no endpoint of who is known"):
            await client.with_options(wait_for_ready=True, timeout=0.1).call(Who.name_of)


async def test_error_names_every_address_that_was_tried() -> None:
    registry = StaticRegistry({"who": ["tcp://127.0.0.1:9", "memory://nobody"]})
    async with Client("who", registry=registry) as client:
        with pytest.raises(fastrpc.ConnectError) as caught:
            await client.call(Who.name_of)
    # Each of them once.
    assert re.fullmatch(
        r"who\.name_of: no endpoint could be reached: cannot connect to memory://nobody \(\d\.\d+ s\): [^;]+; "
        r"cannot connect to tcp://127\.0\.0\.1:9 \(\d\.\d+ s\): [^;]+",
        caught.value.message,
    )


@pytest.mark.parametrize(
    ("target", "registry", "message"),
    [
        ("who", None, "needs registry="),
        ("tcp://127.0.0.1:9", StaticRegistry(), "name of the service"),
        ("registry://127.0.0.1:9", None, "names no service"),
        ("who", "nowhere://host", "scheme"),
        ("who", 7, "not a registry"),
        ("who is it", StaticRegistry(), "'who is it' is not a service name"),
        ("who is it", "registry://127.0.0.1:9", "'who is it' is not a service name"),
        ("registry://127.0.0.1:9/who is it", None, "'who is it' is not a service name"),
        ("dns://localhost:eighty", None, "localhost:eighty"),
    ],
)
@pytest.mark.parametrize("kind", [Client, fastrpc.SyncClient])
def test_target_that_cannot_be_meant(kind: Any, target: str, registry: Any, message: str) -> None:
    with pytest.raises(fastrpc.ConfigError, match=message):
        kind(target, registry=registry)


async def test_a_client_does_not_close_a_registry_that_it_was_given() -> None:
    registry = StaticRegistry({"who": []})
    async with Client("who", registry=registry) as client:
        with pytest.raises(fastrpc.NoEndpointError):
            await client.call(Who.name_of)
    registry.watch("who").close()


async def test_a_registry_class_of_a_program_decides_which_names_are_valid() -> None:
    class Anything:
        def __init__(self) -> None:
            self._known = StaticRegistry(["memory://nobody"])

        def watch(self, service: str) -> Any:
            return self._known.watch("any")

    async with Client("who/is it", registry=Anything()) as client:  # type: ignore[arg-type]
        with pytest.raises(fastrpc.ConnectError):
            await client.call(Who.name_of)


# Selectors


async def test_keys_stay_with_their_endpoint() -> None:
    async with endpoint_set(3) as (_, targets):
        async with (
            Client(list(targets), selector="consistent_hash") as one,
            Client(list(targets), selector="consistent_hash") as two,
        ):
            placed = {key: await one.with_options(hash_key=key).call(Who.name_of) for key in range(30)}
            assert len(set(placed.values())) == 3
            again = {key: await two.with_options(hash_key=key).call(Who.name_of) for key in range(30)}
            assert again == placed
            batches = {
                key: await one.with_options(hash_key=key).call_many(Who.name_of, [()]) for key in placed
            }
            assert batches == {key: [name] for key, name in placed.items()}


async def test_a_selector_of_ones_own() -> None:
    class Last:
        def __init__(self) -> None:
            self.endpoints: list[Endpoint] = []
            self.observed: list[tuple[str, Exception | None]] = []
            self.kinds: set[str] = set()

        def update(self, endpoints: Any) -> None:
            self.endpoints = list(endpoints)

        def pick(self, call: Any) -> Endpoint:
            self.kinds.add(call.metadata["kind"])
            return self.endpoints[-1]

        def observe(self, endpoint: Endpoint, seconds: float, error: Exception | None) -> None:
            self.observed.append((str(endpoint), error))

    selector = Last()
    async with endpoint_set(2) as (_, targets):
        async with Client(list(targets), selector=selector) as client:
            await connected(client, 2)
            view = client.with_options(metadata={"kind": "test"})
            assert [await view.call(Who.name_of) for _ in range(3)] == ["server 1"] * 3
            assert selector.observed == [(str(targets[1]), None)] * 3
            assert selector.kinds == {"test"}


async def test_a_call_may_name_one_endpoint() -> None:
    async with endpoint_set(2) as (_, targets):
        registry = StaticRegistry({"who": targets})
        async with Client("who", registry=registry) as client:
            view = client.with_options(endpoint=targets[1])
            assert [await view.call(Who.name_of) for _ in range(4)] == ["server 1"] * 4
            with pytest.raises(fastrpc.NoEndpointError, match="is not an endpoint of who"):
                await client.with_options(endpoint="tcp://127.0.0.1:9").call(Who.name_of)


async def test_placements_come_to_an_end() -> None:
    async with endpoint_set(2) as (people, targets):
        async with Client(list(targets), selector="least_loaded") as client:
            await connected(client, 2)
            await asyncio.gather(*(client.call(Who.name_of) for _ in range(20)))
            with pytest.raises(TypeError):
                await client.call(Who.name_of, 1)
            people[0].is_stuck = people[1].is_stuck = True
            with pytest.raises(fastrpc.DeadlineExceededError):
                await client.with_options(timeout=0.05).call(Who.name_of)
            # A stall can end the call before a handler begins.
            called = sum(who.calls for who in people)
            stuck = asyncio.create_task(client.call(Who.name_of))
            await eventually(lambda: sum(who.calls for who in people) > called)
            stuck.cancel()
            await asyncio.gather(stuck, return_exceptions=True)
            people[0].is_stuck = people[1].is_stuck = False
            await client.notify(Who.name_of)
            await client.call_many(Who.name_of, [()] * 3)
            fleet_ = client._state.endpoint_set
            assert fleet_ is not None
            assert [endpoint_state.in_flight for endpoint_state in fleet_.endpoint_states] == [0, 0]


# Fail modes


async def test_breaker_keeps_calls_away_from_an_endpoint_that_fails_them() -> None:
    config = ClientConfig(pool=Pool(breaker=Breaker(consecutive=3, open_seconds=30), outlier=None))
    async with endpoint_set(2) as (people, targets):
        people[0].is_failing = True
        async with Client(list(targets), config=config) as client:
            await connected(client, 2)
            failed = 0
            for _ in range(20):
                try:
                    await client.call(Who.name_of)
                except fastrpc.CallError:
                    failed += 1
            assert failed == people[0].calls == 3
            people[1].is_failing = True
            for _ in range(3):
                with pytest.raises(fastrpc.CallError):
                    await client.call(Who.name_of)
            with pytest.raises(fastrpc.CircuitOpenError, match=r"who\.name_of: the breaker"):
                await client.call(Who.name_of)
            # Another method is another matter.
            assert await client.call(Who.once) in {"server 0", "server 1"}


async def test_hedging_takes_the_first_answer() -> None:
    async with endpoint_set(2) as (people, targets):
        people[0].is_stuck = True
        async with Client(list(targets), fail_mode=FailBackup(delay=0.01)) as client:
            await connected(client, 2)
            replies = [await client.request(Who.name_of) for _ in range(6)]
            assert {reply.value for reply in replies} == {"server 1"}
            assert 2 in {reply.attempts for reply in replies}
            await eventually(lambda: people[0].cancelled == people[0].calls > 0)
            assert 1 in people[1].attempts


async def test_a_method_that_is_not_idempotent_has_no_hedge() -> None:
    async with endpoint_set(2) as (people, targets):
        async with Client(list(targets), fail_mode=FailBackup(delay=0)) as client:
            await connected(client, 2)
            for _ in range(10):
                await client.call(Who.once)
            assert people[0].calls + people[1].calls == 10


async def test_fail_mode_of_one_call() -> None:
    async with endpoint_set(2) as (_, targets):
        async with Client([targets[0], "tcp://127.0.0.1:9"], config=QUICK) as client:
            pinned = client.with_options(endpoint="tcp://127.0.0.1:9", fail_mode="failfast")
            with pytest.raises(fastrpc.ConnectError):
                await pinned.call(Who.name_of)
            with pytest.raises(fastrpc.ConfigError, match="there is no fail mode 'failsafe'"):
                client.with_options(fail_mode="failsafe")
        async with Client("memory://x", fail_mode="failtry") as client:
            with pytest.raises(fastrpc.ConnectError):
                await client.call(Who.name_of)


async def test_a_killed_server_costs_no_idempotent_call() -> None:
    async with endpoint_set(3) as (_, targets), Client(list(targets), config=QUICK) as client:
        await connected(client, 3)
        async with calling(client, Who.name_of) as ended:
            enough = ended() + 200
            await eventually(lambda: ended() > enough)
            await targets[0].server.close()
            enough = ended() + 200
            await eventually(lambda: ended() > enough)


# All endpoints


async def test_broadcast_returns_every_outcome() -> None:
    async with endpoint_set(3) as (people, targets), Client(list(targets), config=QUICK) as client:
        people[1].is_failing = True
        outcomes = await client.broadcast(Who.name_of)
        assert [str(endpoint) for endpoint in outcomes] == list(targets)
        first, second, third = outcomes.values()
        assert isinstance(first, fastrpc.Reply)
        assert first.value == "server 0"
        assert isinstance(second, fastrpc.CallError)
        assert isinstance(third, fastrpc.Reply)
        assert third.endpoint.address == Endpoint(targets[2]).address
        with pytest.raises(TypeError):
            await client.broadcast(Who.name_of, 1)  # type: ignore[call-overload]


async def test_broadcast_to_nobody() -> None:
    async with Client("who", registry=StaticRegistry({"who": []})) as client:
        with pytest.raises(fastrpc.NoEndpointError, match=r"who\.name_of: no endpoint serves it"):
            await client.broadcast(Who.name_of)


async def test_fork_returns_the_first_success_and_cancels_the_other_calls() -> None:
    async with endpoint_set(3) as (people, targets), Client(list(targets), config=QUICK) as client:
        people[0].is_stuck = True
        people[1].is_failing = True
        assert await client.fork(Who.name_of) == "server 2"
        await eventually(lambda: people[0].cancelled == people[0].calls)
        people[0].is_stuck, people[0].is_failing, people[2].is_failing = False, True, True
        with pytest.raises(fastrpc.CallError, match="broken"):
            await client.fork("who.name_of")


# Calls left after a client's work


def in_flight(client: Client) -> list[int]:
    """Return how many attempts each endpoint is thought to have."""
    fleet_ = client._state.endpoint_set
    assert fleet_ is not None
    return [endpoint_state.in_flight for endpoint_state in fleet_.endpoint_states]


async def test_abandoned_call_holds_no_place() -> None:
    async with endpoint_set(1) as (_, targets):
        async with Client("who", registry=StaticRegistry({"who": targets})) as client:
            await connected(client, 1)
            call = client.call(Who.name_of)
            call.send(None)
            assert in_flight(client) == [1]
            # As of a task that was destroyed: the answer comes, and nobody steps the call again.
            del call
            await eventually(lambda: in_flight(client) == [0])


async def test_notification_takes_no_place_and_teaches_nothing() -> None:
    config = ClientConfig(pool=Pool(breaker=Breaker(consecutive=2, open_seconds=30), outlier=None))
    async with endpoint_set(2) as (people, targets), Client(list(targets), config=config) as client:
        await connected(client, 2)
        people[0].is_failing = people[1].is_failing = True
        for _ in range(2):
            with pytest.raises(fastrpc.CallError):
                await client.call(Who.name_of)
        # Were it taken for a success, the faults before it would be forgotten.
        await asyncio.gather(*(client.notify(Who.name_of) for _ in range(2)))
        assert in_flight(client) == [0, 0]
        for _ in range(2):
            with pytest.raises(fastrpc.CallError):
                await client.call(Who.name_of)
        with pytest.raises(fastrpc.CircuitOpenError):
            await client.call(Who.name_of)


async def test_endpoint_that_fails_in_a_row_is_ejected() -> None:
    config = ClientConfig(pool=Pool(breaker=None, outlier=Outlier(consecutive=2, ejection=30)))
    async with endpoint_set(3) as (people, targets), Client(list(targets), config=config) as client:
        await connected(client, 3)
        people[0].is_failing = True
        outcomes = await asyncio.gather(*(client.call(Who.name_of) for _ in range(6)), return_exceptions=True)
        assert sum(isinstance(outcome, fastrpc.CallError) for outcome in outcomes) == 2
        assert {await client.call(Who.name_of) for _ in range(12)} == {"server 1", "server 2"}


async def test_weights_of_the_registry_give_the_smooth_order() -> None:
    async with endpoint_set(3) as (_, targets):
        letters: dict[str, str] = dict(zip(sorted(targets), "abc", strict=True))
        weighted = [Endpoint(target, weight=5 if letters[target] == "a" else 1) for target in sorted(targets)]
        async with Client("who", registry=StaticRegistry({"who": weighted}), selector="weighted") as client:
            await connected(client, 3)
            replies = [await client.request(Who.name_of) for _ in range(14)]
            assert "".join(letters[str(reply.endpoint)] for reply in replies) in "aabacaa" * 3


@pytest.mark.measures
@pytest.mark.asyncio(loop_factories=["uvloop"])
async def test_least_loaded_leaves_a_server_made_slow_and_comes_back() -> None:
    # Without outlier detection: it would eject the slow endpoint for any selector.
    config = ClientConfig(pool=Pool(breaker=None, outlier=None))
    async with endpoint_set(3) as (people, targets):
        for who in people:
            who.seconds = 0.002
        async with Client(list(targets), selector="least_loaded", config=config) as client:
            await connected(client, 3)

            async def share_of_first(seconds: float) -> float:
                before = [who.calls for who in people]
                await asyncio.sleep(seconds)
                calls = [who.calls - earlier for who, earlier in zip(people, before, strict=True)]
                return calls[0] / sum(calls)

            async with calling(client, Who.slowly, tasks=12):
                usual = await share_of_first(1)
                assert usual > 0.15
                people[0].seconds *= 20
                await asyncio.sleep(2)
                assert await share_of_first(2) <= 0.05 * usual + 0.005
                people[0].seconds /= 20
                await asyncio.sleep(4)
                assert await share_of_first(2) > usual / 2


# Views


async def test_view_is_of_the_class_of_its_client() -> None:
    class Mine(Client):
        pass

    async with endpoint_set(1) as (_, targets), Mine(targets[0]) as client:
        view = client.with_options(hash_key="a")
        assert type(view) is type(view.with_options(timeout=1)) is Mine
        assert (view.hash_key, client.hash_key) == ("a", None)
        with pytest.raises(TypeError, match="cannot be closed"):
            await view.close()
        with pytest.raises(TypeError, match="no option hash_keys"):
            client.with_options(hash_keys=1)  # type: ignore[call-arg]


def test_client_left_open_warns_once_with_any_views() -> None:
    async def use(address: str) -> None:
        client = Client(address)
        assert [await client.with_options(hash_key=key).call(Who.name_of) for key in range(3)] == [
            "server 0"
        ] * 3

    with serving(Who("server 0")) as address:
        with pytest.warns(ResourceWarning) as warned:
            asyncio.run(use(address))
            gc.collect()
    messages = [str(each.message) for each in warned]
    assert messages.count(f"unclosed <Client of {address}>") == 1
