"""Blocking clients of services with several endpoints."""

import asyncio
import contextlib
import gc
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

import fastrpc
from fastrpc import Backoff, ClientConfig, Endpoint, SyncClient
from fastrpc._core.balancing.selectors import EndpointState
from fastrpc.config import Breaker, Outlier, Pool
from fastrpc.coordination.registry.service import RegistryService
from fastrpc.failmodes import FailBackup
from fastrpc.registries import StaticRegistry, open_registry
from fastrpc.selectors import RoundRobin, zone
from fastrpc.testing import serving
from tests.support.who import Who

QUICK = ClientConfig(backoff=Backoff(first=0.01, longest=0.05))


@contextmanager
def endpoint_set(count: int) -> Iterator[tuple[list[Who], list[str]]]:
    """Serve several endpoints, each in a thread."""
    with ExitStack() as stack:
        people = [Who(f"server {number}") for number in range(count)]
        yield people, [stack.enter_context(serving(who)) for who in people]


def states_of(client: SyncClient) -> list[EndpointState]:
    return [] if client._state.endpoint_set is None else client._state.endpoint_set.endpoint_states


def test_endpoints_come_and_go_without_a_failed_call() -> None:
    stopping = threading.Event()
    with endpoint_set(3) as (people, targets):
        registry = StaticRegistry({"who": targets[:1]})
        with SyncClient("who", registry=registry, config=QUICK) as client, ThreadPoolExecutor(3) as pool:

            def ask() -> int:
                done = 0
                while not stopping.is_set():
                    client.call(Who.once)
                    done += 1
                return done

            def served() -> set[str]:
                before = [who.calls for who in people]
                for _ in range(60):
                    client.call(Who.once)
                made = zip(targets, people, before, strict=True)
                return {target for target, who, calls in made if who.calls > calls + 3}

            asking = [pool.submit(ask) for _ in range(3)]
            try:
                for places in (targets, targets[2:], targets[:2]):
                    registry.update("who", places)
                    limit = time.monotonic() + 20
                    while (seen := served()) != set(places):  # A new endpoint is called once it is connected.
                        if time.monotonic() > limit:
                            raise TimeoutError(f"{seen} were called instead of {places}")
            finally:
                stopping.set()
            assert all(asked.result(20) for asked in asking)


def test_embedded_registry_lists_servers_for_a_client() -> None:
    with serving(RegistryService()) as place, endpoint_set(1) as (_, targets):
        url = f"registry://{place.partition('://')[2]}"
        with open_registry(url) as registry, registry.register("who", Endpoint(targets[0])):
            with SyncClient(f"{url}/who") as client:
                assert client.call(Who.name_of) == "server 0"
            with SyncClient("who", registry=registry) as client:
                client.ready(5)
                assert client.call_many(Who.name_of, [(), ()]) == ["server 0"] * 2


def test_nobody_serves() -> None:
    with SyncClient("who", registry=StaticRegistry({"who": []})) as client:
        with pytest.raises(fastrpc.NoEndpointError, match=r"who\.name_of: no endpoint serves it"):
            client.call(Who.name_of)
        with pytest.raises(fastrpc.DeadlineExceededError, match="no endpoint of who is known"):
            client.with_options(wait_for_ready=True, timeout=0.1).call(Who.name_of)


def test_registry_that_cannot_be_asked() -> None:
    with (
        SyncClient("registry://127.0.0.1:9/who") as client,
        pytest.raises(fastrpc.NoEndpointError, match=r"who\.name_of: the endpoints of who are unknown"),
    ):
        client.call(Who.name_of)


def test_keys_stay_with_their_endpoint() -> None:
    with endpoint_set(3) as (_, targets):
        with (
            SyncClient(targets, selector="consistent_hash") as one,
            SyncClient(targets, selector="consistent_hash") as two,
        ):
            placed = [one.with_options(hash_key=key).call(Who.name_of) for key in range(30)]
            assert set(placed) == {"server 0", "server 1", "server 2"}
            assert [two.with_options(hash_key=key).call(Who.name_of) for key in range(30)] == placed


def test_one_endpoint_and_no_other() -> None:
    with endpoint_set(2) as (_, targets), SyncClient(targets) as client:
        view = client.with_options(endpoint=targets[1])
        assert [view.call(Who.name_of) for _ in range(4)] == ["server 1"] * 4


def test_breaker_keeps_calls_away_from_an_endpoint_that_fails_them() -> None:
    config = ClientConfig(pool=Pool(breaker=Breaker(consecutive=3, open_seconds=30), outlier=None))
    with endpoint_set(2) as (people, targets), SyncClient(targets, config=config) as client:
        people[0].is_failing = people[1].is_failing = True
        for _ in range(6):
            with pytest.raises(fastrpc.CallError):
                client.call(Who.name_of)
        with pytest.raises(fastrpc.CircuitOpenError, match=r"who\.name_of: the breaker"):
            client.call(Who.name_of)
        assert client.call(Who.once) in {"server 0", "server 1"}


def test_calls_spill_from_a_zone_that_is_not_sound_and_come_back() -> None:
    config = ClientConfig(pool=Pool(breaker=None, outlier=Outlier(consecutive=3, ejection=0.5)))
    with endpoint_set(5) as (people, targets):
        zones = dict(zip(targets, "nnnff", strict=True))
        registry = StaticRegistry({"who": [Endpoint(target, zone=zones[target]) for target in targets]})
        selector = RoundRobin(filters=[zone("n", sound=0.7)])
        with SyncClient("who", registry=registry, selector=selector, config=config) as client:

            def answering() -> str:
                """Make some calls; return who got any."""
                before = [who.calls for who in people]
                for _ in range(60):
                    with contextlib.suppress(fastrpc.CallError):
                        client.call(Who.name_of)
                return "".join(str(number) for number, who in enumerate(people) if who.calls > before[number])

            def until_answering(expected: str) -> None:
                ends = time.monotonic() + 10
                while answering() != expected:
                    if time.monotonic() >= ends:
                        pytest.fail(f"{expected} do not answer")

            assert answering() == "012"
            people[0].is_failing = True
            until_answering("1234")
            people[0].is_failing = False
            until_answering("012")


@pytest.mark.parametrize("is_connected", [False, True])
@pytest.mark.parametrize("verb", ["call", "call_many"])
def test_errors_that_are_kept_hold_no_place(verb: str, is_connected: bool) -> None:
    async def through(call: Any, proceed: Any) -> Any:
        return await proceed(call)

    kept = []
    with endpoint_set(2) as (_, targets):
        # With an interceptor every call takes the long way.
        with SyncClient(targets, interceptors=[through] if is_connected else [], config=QUICK) as client:
            if is_connected:
                client.call(Who.name_of)
            for _ in range(3):
                arguments = [object()] if verb == "call" else [[(object(),)]]
                with pytest.raises(fastrpc.EncodeError) as caught:
                    getattr(client, verb)("who.name_of", *arguments)
                kept.append(caught.value)
            assert [endpoint_state.in_flight for endpoint_state in states_of(client)] == [0, 0]
    assert len(kept) == 3


def test_endpoints_that_could_not_be_reached_are_forgotten_when_they_are_gone() -> None:
    registry = StaticRegistry({"who": ["unix:///nowhere/0"]})
    gone = []
    with SyncClient("who", registry=registry, config=QUICK) as client:
        for number in range(10):
            # One endpoint stays each time, or the objects that it keeps alive would be freed.
            registry.update("who", [f"unix:///nowhere/{number + step}" for step in range(2)])
            with pytest.raises(fastrpc.ConnectError):
                client.call(Who.name_of)
            gone.append(weakref.ref(client._pool.subchannels[0]))
        gc.collect()
        assert [subchannel() for subchannel in gone[:-2]] == [None] * 8


def test_placements_come_to_an_end() -> None:
    with endpoint_set(2) as (people, targets), SyncClient(targets, selector="least_loaded") as client:
        for _ in range(10):
            client.call(Who.name_of)
        with pytest.raises(TypeError):
            client.call(Who.name_of, 1)
        people[0].is_stuck = people[1].is_stuck = True
        with pytest.raises(fastrpc.DeadlineExceededError):
            client.with_options(timeout=0.05).call(Who.name_of)
        people[0].is_stuck, people[1].is_stuck = False, False
        client.notify(Who.name_of)
        client.call_many(Who.name_of, [()] * 3)
        with pytest.raises(TypeError):
            client.call_many(Who.name_of, [(1,)])
        assert [endpoint_state.in_flight for endpoint_state in states_of(client)] == [0, 0]


@pytest.mark.parametrize("mode", ["failfast", "failtry", "failover"])
def test_fail_modes(mode: Any) -> None:
    with endpoint_set(2) as (people, targets), SyncClient(targets, fail_mode=mode) as client:
        for _ in range(5):
            client.call(Who.name_of)
        assert people[0].calls + people[1].calls == 5


@pytest.mark.parametrize("mode", ["failbackup", FailBackup(delay=0)])
def test_hedging_is_refused(mode: Any) -> None:
    with pytest.raises(fastrpc.ConfigError, match="FailBackup.* one at a time") as refused:
        SyncClient("memory://x", fail_mode=mode)
    assert "failover" in str(refused.value.hint)
    with SyncClient("memory://x") as client, pytest.raises(fastrpc.ConfigError, match="one at a time"):
        client.with_options(fail_mode=mode)


def test_a_fail_mode_that_needs_a_loop() -> None:
    class Sleepy:
        async def run(self, call: Any, pick: Any, attempt: Any) -> Any:
            await asyncio.sleep(1)

    with SyncClient("memory://x", fail_mode=Sleepy()) as client:
        with pytest.raises(
            RuntimeError, match="needs an event loop; interceptors and fail modes of a SyncClient"
        ):
            client.call(Who.name_of)


def test_broadcast_returns_every_outcome() -> None:
    with endpoint_set(3) as (people, targets), SyncClient(targets, config=QUICK) as client:
        people[1].is_failing = True
        outcomes = client.broadcast(Who.name_of)
        assert [str(endpoint) for endpoint in outcomes] == targets
        first, second, third = outcomes.values()
        assert isinstance(first, fastrpc.Reply)
        assert first.value == "server 0"
        assert isinstance(second, fastrpc.CallError)
        assert isinstance(third, fastrpc.Reply)


def test_fork_returns_the_first_success_and_cancels_the_other_calls() -> None:
    with endpoint_set(2) as (people, targets), SyncClient(targets, config=QUICK) as client:
        people[0].is_stuck = True
        assert client.fork(Who.name_of) == "server 1"
        until = time.monotonic() + 5
        while people[0].cancelled < people[0].calls and time.monotonic() < until:
            client.with_options(endpoint=targets[1]).call(Who.once)
        assert people[0].cancelled == people[0].calls
        people[0].is_stuck, people[0].is_failing, people[1].is_failing = False, True, True
        with pytest.raises(fastrpc.CallError, match="broken"):
            client.fork(Who.name_of)


class Withholding:
    """Forwards connections to a server, but holds the server's bytes until its release."""

    def __init__(self, target: str) -> None:
        host, _, port = target.removeprefix("tcp://").rpartition(":")
        self._place = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.target = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self.lets_through = threading.Event()
        threading.Thread(target=self._accept, name="withholding", daemon=True).start()

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        far = socket.create_connection(self._place)
        threading.Thread(target=self._pump, args=(near, far), name="withholding", daemon=True).start()
        self.lets_through.wait(10)
        self._pump(far, near)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for each in (source, sink):
            each.close()

    def close(self) -> None:
        self._listener.close()
        self.lets_through.set()


def test_fork_starts_nothing_after_it_returned() -> None:
    with endpoint_set(2) as (people, targets), contextlib.closing(Withholding(targets[1])) as late:
        with SyncClient([targets[0], late.target], config=QUICK) as client:
            before = set(threading.enumerate())
            # Compressed calls wait for the server's settings.
            assert client.with_options(compressor="gzip").fork(Who.name_of) == "server 0"
            late.lets_through.set()
            for thread in set(threading.enumerate()) - before:
                if thread.name != "withholding":
                    thread.join(20)
                    assert not thread.is_alive()
        assert [who.calls for who in people] == [1, 0]
