"""Active probes between real clients and servers: endpoints that are avoided and used again, and untouched calls."""

import asyncio
import contextlib
import logging
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import (
    Client,
    ClientConfig,
    Endpoint,
    Keepalive,
    ServerConfig,
    Status,
    SyncClient,
    Timeouts,
)
from fastrpc.config import Outlier, Pool, Probes
from fastrpc.registries import StaticRegistry
from tests.support.ledger import Journal
from tests.support.member import Member
from tests.support.noted import Noted
from tests.support.probed import answering, config, down, probing, serving
from tests.support.served import SCHEMES, served
from tests.support.waiting import eventually
from tests.support.who import Who

pytestmark = pytest.mark.one_loop


@fastrpc.service("extra")
class Extra:
    @fastrpc.method
    async def nothing(self) -> None:
        pass


# Left and taken again


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_endpoint_that_is_not_serving_is_avoided_until_it_serves_again(scheme: str) -> None:
    async with serving(3, scheme) as places, probing(places) as client:
        assert await answering(client) == {"0", "1", "2"}
        places[1].target.server.set_serving(False)
        await eventually(lambda: down(client) == [False, True, False])
        assert await answering(client) == {"0", "2"}
        places[1].target.server.set_serving(True)
        await eventually(lambda: down(client) == [False, False, False])
        assert await answering(client) == {"0", "1", "2"}


async def test_running_calls_are_undisturbed_when_their_endpoint_is_avoided() -> None:
    async with serving(3) as places, probing(places) as client:
        places[1].who.is_stuck = True
        running = asyncio.create_task(client.with_options(endpoint=places[1].target).call(Who.name_of))
        await eventually(lambda: places[1].who.calls)
        places[1].target.server.set_serving(False)
        await eventually(lambda: down(client)[1])
        places[1].who.is_stuck = False
        await places[1].asked.again()
        assert not running.done()
        assert places[1].connections == 1
        running.cancel()
        await eventually(lambda: places[1].who.cancelled)


async def test_a_server_that_announces_its_drain_is_avoided_before_the_drain() -> None:
    settings = ServerConfig(timeouts=Timeouts(announce=1))
    async with serving(1, config=settings) as leaving, serving(2) as others:
        async with probing([*leaving, *others]) as client:
            drain = asyncio.create_task(leaving[0].target.server.drain())
            await eventually(lambda: down(client) == [True, False, False])
            assert await answering(client) == {"0", "1"}
            assert leaving[0].who.calls == 0
            assert await drain is True


async def test_probes_may_name_a_service() -> None:
    async with serving(3) as places, probing(places) as whole:
        async with probing(places, config(service="who")) as narrow:
            places[0].target.server.set_serving(False, service="who")
            await eventually(lambda: down(narrow)[0])
            assert await answering(narrow) == {"1", "2"}
            await places[0].asked.again()
            assert down(whole) == [False, False, False]


async def test_endpoint_without_the_probed_service_is_not_serving() -> None:
    async with serving(2) as places, served(Extra, scheme="tcp") as other:
        client = Client([*(place.target for place in places), other], config=config(service="extra"))
        async with client:
            await client.ready(5)
            await eventually(lambda: down(client) == [True, True, False])


async def test_when_most_are_not_serving_all_are_used() -> None:
    async with serving(3) as places, probing(places) as client:
        places[0].target.server.set_serving(False)
        await eventually(lambda: down(client) == [True, False, False])
        assert await answering(client) == {"1", "2"}
        places[1].target.server.set_serving(False)
        await eventually(lambda: down(client) == [True, True, False])
        assert await answering(client) == {"0", "1", "2"}


async def test_a_stopped_process_is_avoided_after_failed_probes(tmp_path: Path) -> None:
    keepalive = Keepalive(interval=60, timeout=60)
    settings = ClientConfig(
        pool=Pool(probes=Probes(interval=0.05, timeout=0.5, fall=2), outlier=None), keepalive=keepalive
    )
    stopped = Member(tmp_path, tmp_path / "journal")
    with stopped.running():
        async with (
            served(Noted(Journal()), scheme="tcp") as one,
            served(Noted(Journal()), scheme="tcp") as two,
        ):
            async with Client([stopped.address, one, two], config=settings) as client:
                await client.ready(5)
                await eventually(lambda: len(client._pool.connections) == 3)
                stopped.signal(signal.SIGSTOP)
                await eventually(lambda: down(client) == [True, False, False])
                # Nothing else has noticed: it is still connected.
                assert len(client._pool.connections) == 3
                replies = [await client.request(Noted.once, bytes([number])) for number in range(6)]
                assert {str(reply.endpoint) for reply in replies} <= {one, two}
                stopped.signal(signal.SIGCONT)
                await eventually(lambda: down(client) == [False, False, False])


async def test_a_single_failed_probe_takes_nobody_out() -> None:
    async with serving(3) as places, probing(places, config(fall=2)) as client:
        asked = places[1].asked
        for _ in range(5):
            asked.error = fastrpc.CallError(Status.INTERNAL, "it fell over")
            await asked.again(1)
            asked.error = None
            await asked.again(1)
            assert down(client) == [False, False, False]
        asked.error = fastrpc.CallError(Status.INTERNAL, "it fell over")
        await eventually(lambda: down(client) == [False, True, False])


async def test_an_ejected_endpoint_stays_out_until_a_probe_passes() -> None:
    outlier = Outlier(consecutive=1, interval=0.01, ejection=0.02)
    async with serving(3) as places, probing(places, config(fall=1000, outlier=outlier)) as client:
        health = client._pool.subchannels[0].endpoint_state.health
        places[0].asked.error = fastrpc.CallError(Status.INTERNAL, "it fell over")
        places[0].who.is_failing = True
        await eventually(lambda: health.failed_probes)
        while not health.is_ejected:
            with contextlib.suppress(fastrpc.CallError):
                await client.call(Who.name_of)
        places[0].who.is_failing = False
        calls = places[0].who.calls
        until = asyncio.get_running_loop().time() + 10 * outlier.ejection
        while asyncio.get_running_loop().time() < until:
            await client.call(Who.name_of)
        assert places[0].who.calls == calls
        places[0].asked.error = None
        async with asyncio.timeout(20):
            while places[0].who.calls == calls:
                await client.call(Who.name_of)


@pytest.mark.parametrize("status", [Status.UNIMPLEMENTED, Status.UNAUTHENTICATED, Status.PERMISSION_DENIED])
async def test_servers_that_do_not_report_health_are_used_as_long_as_they_answer(
    status: Status, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(3) as places:
        for place in places:
            place.asked.error = fastrpc.CallError(status, "no")
        async with probing(places, config(fall=1)) as client:
            for place in places:
                await place.asked.again(3)
            assert down(client) == [False, False, False]
            assert await answering(client) == {"0", "1", "2"}
            assert (
                len([record for record in caplog.records if "does not report its health" in record.message])
                == 1
            )
            places[2].asked.error, places[2].asked.is_stuck = None, True
            await eventually(lambda: down(client) == [False, False, True])


async def test_an_endpoint_that_was_down_is_up_again_with_its_next_server(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "fastrpc.client")
    async with serving(3) as places, probing(places, config(interval=0.05)) as client:
        places[0].target.server.set_serving(False)
        await eventually(lambda: down(client) == [True, False, False])
        await places[0].target.server.close()
        await eventually(lambda: len(client._pool.connections) == 2)
        assert down(client) == [True, False, False]
        async with fastrpc.Server(Who("again")) as server:
            await server.listen(places[0].target)
            # No call went there before, so it is one that has it connected again.
            assert await answering(client) <= {"1", "2", "again"}
            await eventually(lambda: down(client) == [False, False, False])
            assert await answering(client) == {"again", "1", "2"}
            # Before this one leaves, and says so.
            said = [record.getMessage() for record in caplog.records if " is " in record.getMessage()]
    assert said == [
        f"{places[0].target} is down: it says 'NOT_SERVING'",
        f"{places[0].target} is up: it passed its probes",
    ]


# State that probes leave unchanged


async def test_probes_are_no_calls_of_the_client() -> None:
    seen = []

    async def interceptor(call: Any, proceed: Any) -> Any:
        seen.append(call.method)
        return await proceed(call)

    async with serving(3) as places, probing(places, interceptors=[interceptor]) as client:
        before = client.stats()["totals"]
        places[0].asked.error = fastrpc.CallError(Status.UNAVAILABLE, "not now", retry_after=0.001)
        for place in places:
            await place.asked.again(10)
        assert client.stats()["totals"] == before
        assert before["calls"] == 0
        assert client._state.budget.calls == client._state.budget.retries == 0
        assert {each.endpoint_state.health.attempts for each in client._pool.subchannels} == {0}
        assert [each.endpoint_state.in_flight for each in client._pool.subchannels] == [0, 0, 0]
        assert {call.attempt for call in places[0].asked.seen} == {0}
        assert seen == []


async def test_probes_have_their_own_time_limit_whichever_call_comes_first() -> None:
    async with serving(2) as places:
        client = Client([place.target for place in places], config=config(timeout=7))
        async with client:
            async with fastrpc.timeout(4.0):
                assert await client.with_options(metadata={"who": "me"}).call(Who.name_of) in {"0", "1"}
            for place in places:
                await place.asked.again(3)
                assert min(place.asked.remaining) > 5
                assert not any(dict(call.metadata) for call in place.asked.seen)


async def test_a_handler_that_calls_first_leaves_no_deadline_and_no_retry_to_probes() -> None:
    @fastrpc.service("front")
    class Front:
        @fastrpc.method
        async def ask(self) -> str:
            return await client.call(Who.name_of)

    async with serving(2) as places, served(Front()) as front:
        async with (
            Client([place.target for place in places], config=config(timeout=7)) as client,
            Client(front) as caller,
        ):
            assert await caller.with_options(timeout=4.0).call(Front.ask) in {"0", "1"}
            for place in places:
                await place.asked.again(3)
                assert min(place.asked.remaining) > 5


@pytest.mark.parametrize("side", ["client", "server"])
async def test_probes_keep_no_connection_that_nobody_needs(side: str) -> None:
    idle = Timeouts(idle=0.1, linger=0.1)
    server = ServerConfig(timeouts=idle if side == "server" else Timeouts())
    async with serving(2, config=server) as places:
        settings = config(timeouts=idle if side == "client" else Timeouts())
        async with Client([place.target for place in places], config=settings) as client:
            assert await client.call(Who.name_of) in {"0", "1"}
            await eventually(lambda: all(place.asked.seen for place in places))
            await eventually(
                lambda: all(each.is_dormant and not each.all_connections for each in client._pool.subchannels)
            )
            # The count does not change: a further client shows that time has passed.
            made = client.stats()["totals"]["connections"]
            async with serving(2) as others, probing(others):
                await others[0].asked.again(20)
            assert client.stats()["totals"]["connections"] == made
            assert await client.call(Who.name_of) in {"0", "1"}


async def test_a_connection_of_age_that_had_only_probes_is_not_replaced() -> None:
    settings = replace(config(), keepalive=Keepalive(max_age=0.1))
    async with serving(2) as places:
        async with Client([place.target for place in places], config=settings) as client:
            assert await client.call(Who.name_of) in {"0", "1"}
            await eventually(lambda: all(place.asked.seen for place in places))
            await eventually(
                lambda: all(each.is_dormant and not each.all_connections for each in client._pool.subchannels)
            )
            assert await client.call(Who.name_of) in {"0", "1"}


async def test_unanswered_probes_keep_no_connection_either() -> None:
    settings = config(interval=0.001, timeout=0.05, timeouts=Timeouts(idle=0.1, linger=0.1))
    async with serving(2) as places:
        for place in places:
            place.asked.is_stuck = True
        async with Client([place.target for place in places], config=settings) as client:
            assert await client.call(Who.name_of) in {"0", "1"}
            await eventually(lambda: all(place.asked.seen for place in places))
            await eventually(
                lambda: all(each.is_dormant and not each.all_connections for each in client._pool.subchannels)
            )


async def test_probes_wake_no_connection_that_nobody_needed() -> None:
    quiet = ServerConfig(timeouts=Timeouts(idle=0.1, linger=0.1))
    async with serving(1, config=quiet) as (sleeping,), serving(1) as (awake,):
        async with Client([sleeping.target, awake.target], config=config()) as client:
            subchannel = client._pool.subchannels[0]
            await client.call(Who.name_of)
            await eventually(lambda: sleeping.asked.seen)
            await eventually(lambda: subchannel.is_dormant and not subchannel.all_connections)
            asked = len(sleeping.asked.seen)
            await awake.asked.again(20)
            assert subchannel.is_dormant
            assert len(sleeping.asked.seen) == asked
            # A call does, and a new connection begins with a probe.
            await client.call(Who.name_of)
            await eventually(lambda: len(sleeping.asked.seen) > asked)


async def test_a_connection_with_calls_in_addition_to_probes_is_not_idle() -> None:
    async with serving(2) as places, probing(places, config(timeouts=Timeouts(idle=0.05))) as client:
        places[0].who.is_stuck = True
        running = asyncio.create_task(client.with_options(endpoint=places[0].target).call(Who.name_of))
        await places[0].asked.again(20)
        await eventually(lambda: places[1].connections == 0)
        assert places[0].connections == 1
        running.cancel()


async def test_one_fixed_address_is_not_probed() -> None:
    async with serving(1) as (alone,), serving(2) as others:
        async with Client(alone.target, config=config()) as client, probing(others):
            assert await client.call(Who.name_of) == "0"
            await others[0].asked.again(10)
        assert alone.asked.seen == []


async def test_endpoints_are_probed_only_if_configured() -> None:
    async with serving(2) as places, probing(places, ClientConfig()) as quiet, serving(2) as others:
        async with probing(others):
            await answering(quiet)
            await others[0].asked.again(10)
        assert places[0].asked.seen == places[1].asked.seen == []


def test_a_blocking_client_refuses_to_probe() -> None:
    for target in ("tcp://127.0.0.1:9", ["tcp://127.0.0.1:9", "tcp://127.0.0.1:10"]):
        with pytest.raises(fastrpc.ConfigError, match=r"Pool\.probes.*SyncClient"):
            SyncClient(target, config=config())


# Their end


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_closing_under_a_probe_leaves_nothing(scheme: str) -> None:
    before = asyncio.all_tasks()
    async with serving(3, scheme) as places:
        for place in places:
            place.asked.is_stuck = True
        async with probing(places, config(timeout=60)) as client:
            await eventually(lambda: all(place.asked.is_inside for place in places))
            timers = client._pool.connections[0].loop_state
        assert client.stats()["live"] == {"connections": 0, "calls": 0, "waiting": 0}
        assert client.stats()["buffered"] == 0
        # The handlers are notified, too.
        await eventually(lambda: not any(place.target.server.stats()["live"]["calls"] for place in places))
        assert [each._probes._timer for each in client._pool.subchannels] == [None] * 3  # type: ignore[union-attr]
    await eventually(lambda: asyncio.all_tasks() == before)
    await eventually(lambda: timers.live_timers == 0)


async def test_an_endpoint_removed_during_a_probe_is_probed_no_more() -> None:
    async with serving(3) as places:
        places[0].asked.is_stuck = True
        registry = StaticRegistry({"who": [place.target for place in places]})
        async with Client("who", registry=registry, config=config(timeout=60)) as client:
            await client.ready(5)
            await eventually(lambda: places[0].asked.is_inside)
            registry.update("who", [place.target for place in places[1:]])
            await eventually(lambda: not places[0].connections)
            asked = len(places[0].asked.seen)
            for place in places[1:]:
                await place.asked.again(10)
            assert len(places[0].asked.seen) == asked
            assert await answering(client) == {"1", "2"}


async def test_endpoints_that_come_are_asked() -> None:
    async with serving(4) as places:
        registry = StaticRegistry({"who": [place.target for place in places[:3]]})
        async with Client("who", registry=registry, config=config()) as client:
            await client.ready(5)
            places[3].target.server.set_serving(False)
            registry.update("who", [place.target for place in places])
            # A registry has a separate order.
            await eventually(lambda: sum(down(client)) == 1)
            assert client._pool.subchannels[down(client).index(True)].endpoint == Endpoint(places[3].target)
            assert await answering(client) == {"0", "1", "2"}
