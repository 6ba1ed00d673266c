"""Calls with separate credentials, whose verdict takes time: other calls of the connection run meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, ClientConfig, Limits, OverloadedError, Server, ServerConfig, Status
from fastrpc.auth import Identity, StaticTokens
from fastrpc.auth.verdict import Answer, Presented, Refusal, Verdict
from fastrpc.handlers.auth import failed_logins
from fastrpc.handlers.auth.own_credentials import MOST_LATE
from tests.support.either_client import CLIENTS
from tests.support.guarded import TOKENS, Shop, calling, guarded, refusal
from tests.support.kept_connection import KeptConnection, gate_for
from tests.support.served import SCHEMES
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

ADA_TOKEN = "token-of-ada"
BOB = {"authorization": "Bearer token-of-bob"}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


class Held:
    """Verifies `TOKENS` at once, and other tokens once a test lets it: they are Eve's."""

    version = 0

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.asked: list[str | None] = []

    def look(self) -> None:
        """Nothing changes."""

    def handles(self, peer: Presented) -> bool:
        return peer.credentials is not None

    def verify(self, peer: Presented) -> Any:
        found = TOKENS.verify(peer)
        return found if isinstance(found, Verdict) else self.verify_later(peer)

    async def verify_later(self, peer: Presented) -> Answer:
        self.asked.append(peer.credentials)
        await self.go.wait()
        return Refusal("wrong") if (peer.credentials or "").startswith("wrong") else Verdict(Identity("eve"))

    async def until_asked(self, count: int = 1) -> None:
        while len(self.asked) < count:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_verdict_that_takes_time_holds_no_other_call(kind: str, scheme: str) -> None:
    if (kind, scheme) == ("sync", "memory"):
        pytest.skip("a SyncClient has no memory transport")
    held = Held()
    async with guarded(Shop, authenticate=held, scheme=scheme) as target:
        async with calling(kind, target, credentials=ADA_TOKEN) as client:
            assert await client.call(Shop.who) == "ada"
            slow = [
                asyncio.ensure_future(client.with_options(metadata=bearer("of-eve")).call(Shop.who))
                for _ in range(3)
            ]
            total = asyncio.ensure_future(
                client.with_options(metadata=bearer("of-eve")).call(Shop.total, range(300))
            )
            await held.until_asked()
            # Calls without a separate credential, with a good one, and with one that is refused.
            assert await client.call(Shop.who) == "ada"
            assert await client.with_options(metadata=BOB).call(Shop.who) == "bob"
            async with client.stream(Shop.count, 3) as names:
                assert [name async for name in names] == ["ada"] * 3
            assert not any(call.done() for call in (*slow, total))
            held.go.set()
            assert await asyncio.gather(*slow) == ["eve"] * 3
            assert await total == sum(range(300))
    # Asked once for all who wait for it.
    assert held.asked == ["of-eve"]


@pytest.mark.parametrize("kind", CLIENTS)
async def test_wrong_credentials_of_some_calls_hold_no_other_call(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failed_logins, "PAUSE_SECONDS", 3.0)
    shop = Shop()
    async with guarded(shop) as target, calling(kind, target, credentials=ADA_TOKEN) as client:
        for number in range(10):
            await refusal(client.with_options(metadata=bearer(f"wrong{number}")).call(Shop.who))
        # From now on a verdict for this host waits.
        wrong = [
            asyncio.ensure_future(
                refusal(client.with_options(metadata=bearer(f"worse{number}"), timeout=60).call(Shop.who))
            )
            for number in range(4)
        ]
        await asyncio.sleep(0)
        for _ in range(5):
            assert await client.call(Shop.who) == "ada"
        async with client.stream(Shop.count, 2) as names:
            assert [name async for name in names] == ["ada"] * 2
        assert not any(call.done() for call in wrong)
        assert {(await call).status for call in wrong} == {Status.UNAUTHENTICATED}
    assert shop.started.count("shop.who") == 5


async def test_wrong_credentials_beyond_a_number_are_refused_at_once_and_leave_room() -> None:
    config = ServerConfig(limits=Limits(concurrent_calls=100))
    async with (
        guarded(Shop, config=config) as target,
        Client(target, credentials=ADA_TOKEN, fail_mode="failfast") as client,
    ):
        for number in range(10):
            await refusal(client.with_options(metadata=bearer(f"wrong{number}")).call(Shop.who))
        wrong = [
            asyncio.ensure_future(client.with_options(metadata=bearer(f"worse{number}")).call(Shop.who))
            for number in range(90)
        ]
        assert await asyncio.gather(*(client.call(Shop.who) for _ in range(10))) == ["ada"] * 10
        errors = await asyncio.gather(*wrong, return_exceptions=True)
        refused = [error for error in errors if isinstance(error, OverloadedError)]
        assert len(refused) == 90 - 32
        assert {error.retry_after for error in refused} == {1.0}
        # A caller with a known token does not wait for guessers.
        known = client.with_options(metadata=bearer(ADA_TOKEN))
        assert await known.call(Shop.who) == "ada"


async def test_a_call_that_is_cancelled_before_its_verdict_does_not_start() -> None:
    held, shop = Held(), Shop()
    async with guarded(shop, authenticate=held) as target, Client(target) as client:
        call = asyncio.ensure_future(client.with_options(metadata=bearer("of-eve")).call(Shop.who))
        await held.until_asked()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        # The cancel arrives before this call is answered.
        assert await client.call(Shop.hello) == "nobody"
        held.go.set()
        assert await client.with_options(metadata=bearer("other")).call(Shop.who) == "eve"
    assert shop.started == ["shop.hello", "shop.who"]


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_call_whose_deadline_passes_before_its_verdict_does_not_start(kind: str) -> None:
    held, shop = Held(), Shop()
    async with guarded(shop, authenticate=held) as target, calling(kind, target) as client:
        late = client.with_options(metadata=bearer("of-eve"), timeout=0.1)
        with pytest.raises(fastrpc.DeadlineExceededError):
            await late.call(Shop.who)
        held.go.set()
        assert await client.with_options(metadata=bearer("other")).call(Shop.who) == "eve"
    assert shop.started == ["shop.who"]


@pytest.mark.parametrize("method", ["shop.who", "shop.unknown"])
async def test_a_verdict_that_hangs_ends_in_a_refusal_at_the_deadline(method: str) -> None:
    held, shop = Held(), Shop()
    async with gate_for(shop, authenticate=held) as gate:
        connection = KeptConnection(gate)
        connection.call(method, "apple", metadata=bearer("of-eve"), timeout=0.05)
        async with asyncio.timeout(20):
            await connection.wait()
        # The same text for existing and missing methods.
        text = "the deadline passed while its credential was verified; the call was not started"
        assert connection.refusals == [(Status.DEADLINE_EXCEEDED, text, False)]
        assert (connection.running, connection.held_bytes) == ((), 0)
        held.go.set()
        await eventually(lambda: gate.guards.access.authentication.is_idle)
        assert (shop.started, connection.answers, connection.failures, len(connection.refusals)) == (
            [],
            [],
            [],
            1,
        )


async def test_short_deadlines_start_no_verification_above_the_limits_of_a_connection() -> None:
    held = Held()
    config = ServerConfig(limits=Limits(concurrent_calls=20))
    async with gate_for(Shop, authenticate=held, config=config) as gate:
        connection = KeptConnection(gate)
        for number in range(MOST_LATE + 10):
            connection.call("shop.who", metadata=bearer(f"of-eve-{number}"), timeout=0)
            await eventually(lambda number=number: len(connection.refusals) > min(number, MOST_LATE - 1))
        assert len(connection.running) == 10
        held.go.set()
        await eventually(lambda: not connection.running)
        assert {status for status, *_ in connection.refusals} == {Status.DEADLINE_EXCEEDED}
        assert len(connection.refusals) == MOST_LATE + 10
        # The next ones are answered early again.
        held.go.clear()
        connection.call("shop.who", metadata=bearer("of-eve-again"), timeout=0)
        await eventually(lambda: len(connection.refusals) == MOST_LATE + 11)


async def test_calls_that_wait_for_a_verdict_end_with_the_server() -> None:
    held, shop = Held(), Shop()
    async with gate_for(shop, authenticate=held) as gate:
        connection = KeptConnection(gate)
        calls = [connection.call("shop.price", "apple", metadata=bearer("of-eve")) for _ in range(3)]
        await held.until_asked()
        assert set(connection.running) == set(calls)
        gate.end_calls(connection, "the server stops")
        assert [(one.status, one.has_run) for one in connection.failures] == [(Status.UNAVAILABLE, False)] * 3
        held.go.set()
        await asyncio.sleep(0.05)
        assert (shop.started, connection.answers, connection.refusals, len(connection.failures)) == (
            [],
            [],
            [],
            3,
        )
        assert (connection.running, connection.held_bytes) == ((), 0)


async def test_calls_that_wait_for_a_verdict_count_on_the_limits_of_their_connection() -> None:
    held = Held()
    config = ServerConfig(limits=Limits(concurrent_calls=20))
    async with gate_for(Shop, authenticate=held, config=config) as gate:
        connection = KeptConnection(gate)
        for number in range(30):
            connection.call("shop.price", "a" * 1000, metadata=bearer(f"of-eve-{number}"))
        assert [status for status, *_ in connection.refusals] == [Status.RESOURCE_EXHAUSTED] * 10
        assert len(connection.running) == 20
        assert connection.held_bytes > 20 * 1000
        held.go.set()
        async with asyncio.timeout(10):
            while connection.running:
                await connection.wait()
        assert connection.held_bytes == 0


async def test_a_call_to_an_unknown_method_waits_for_its_verdict_as_known_methods_do() -> None:
    held = Held()
    async with guarded(Shop, authenticate=held) as target, Client(target) as client:
        unknown = client.with_options(metadata=bearer("of-eve"))
        call = asyncio.ensure_future(refusal(unknown.call("hidden.price")))
        await held.until_asked()
        assert await client.call(Shop.hello) == "nobody"
        held.go.set()
        assert (await call).status is Status.PERMISSION_DENIED


@fastrpc.service("news")
class News:
    @fastrpc.method
    async def ticks(self) -> AsyncIterator[str]:
        caller = fastrpc.current_call().identity
        assert caller is not None
        while True:
            yield caller.name
            await asyncio.sleep(0.01)

    @fastrpc.method
    async def total(self, numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    @fastrpc.method(public=True)
    async def open_ticks(self, limit: int) -> AsyncIterator[int]:
        for number in range(limit):
            yield number
            await asyncio.sleep(0.01)

    @fastrpc.method
    async def work(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        caller = fastrpc.current_call().identity
        return "nobody" if caller is None else caller.name


class Timed:
    """Accepts tokens that say whose they are and for how many seconds: `ada/0.5`."""

    version = 0

    def __init__(self) -> None:
        self.until: dict[str, float] = {}

    def look(self) -> None:
        """Nothing changes."""

    def handles(self, peer: Presented) -> bool:
        return peer.credentials is not None

    def verify(self, peer: Presented) -> Answer:
        token = peer.credentials or ""
        name, _, seconds = token.partition("/")
        return Verdict(Identity(name), self.until.setdefault(token, time.time() + float(seconds)))


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_stream_ends_with_its_separate_credential(kind: str) -> None:
    async with guarded(News, authenticate=Timed()) as target:
        async with calling(kind, target, credentials="bob/60") as client:
            async with client.stream(News.ticks) as lasting:
                assert await lasting.receive() == "bob"
                own = client.with_options(metadata=bearer("ada/1.2"))
                working = asyncio.ensure_future(own.call(News.work, 1.6))
                opened = own.stream(News.open_ticks, 160)
                async with own.stream(News.ticks) as ending, opened as open_ticks:
                    with pytest.raises(fastrpc.CallError) as ended:
                        while True:
                            assert await ending.receive() == "ada"
                    assert ended.value.status is Status.UNAUTHENTICATED
                    # Streams that need no identity continue, and so do a running unary call, and the streams of the
                    # connection.
                    assert len([number async for number in open_ticks]) == 160
                    assert await working == "ada"
                assert await lasting.receive() == "bob"


async def test_a_stream_to_the_server_ends_with_its_separate_credential() -> None:
    async with guarded(News, authenticate=Timed()) as target, Client(target) as client:
        own = client.with_options(metadata=bearer("ada/0.3"))

        async def numbers() -> AsyncIterator[int]:
            while True:
                yield 1
                await asyncio.sleep(0.01)

        error = await refusal(own.with_options(timeout=10).call(News.total, numbers()))
        assert error.status is Status.UNAUTHENTICATED


async def test_a_separate_credential_outlives_the_credential_of_the_connection() -> None:
    async with guarded(News, authenticate=Timed()) as target:
        async with Client(target, credentials="bob/1.5") as client:
            own = client.with_options(metadata=bearer("ada/60"))
            async with own.stream(News.ticks) as lasting, client.stream(News.ticks) as ending:
                with pytest.raises(fastrpc.CallError):
                    while True:
                        await ending.receive()
                for _ in range(20):
                    assert await lasting.receive() == "ada"


@pytest.mark.parametrize("scheme", ["tcp", "memory"])
async def test_a_stream_ends_when_its_separate_token_is_removed(tmp_path: Path, scheme: str) -> None:
    path = tmp_path / "tokens.toml"
    both = '[[token]]\ntoken = "one"\nname = "ada"\n[[token]]\ntoken = "two"\nname = "bob"\n'
    path.write_text(both)
    server = Server(News, authenticate=StaticTokens.from_file(path))
    async with server:
        target = str(
            await server.listen("tcp://127.0.0.1:0" if scheme == "tcp" else "memory://own-credentials")
        )
        async with Client(target, credentials="two") as client:
            own = client.with_options(metadata=bearer("one"))
            working = asyncio.ensure_future(own.call(News.work, 0.3))
            async with own.stream(News.ticks) as ending, client.stream(News.ticks) as lasting:
                assert (await ending.receive(), await lasting.receive()) == ("ada", "bob")
                path.write_text('[[token]]\ntoken = "two"\nname = "bob"\n')
                server.reload()
                with pytest.raises(fastrpc.CallError) as ended:
                    while True:
                        await ending.receive()
                assert ended.value.status is Status.UNAUTHENTICATED
                assert await lasting.receive() == "bob"
            assert await working == "ada"


async def test_large_requests_of_calls_that_wait_for_a_verdict_stay_within_the_memory_of_a_connection() -> (
    None
):
    held, size = Held(), 60_000
    memory = fastrpc.config.Memory(request_bytes=1_000_000)
    config = ServerConfig(memory=memory, limits=Limits(message_bytes=100_000))
    async with guarded(Shop, authenticate=held, config=config) as target:
        options: dict[str, Any] = {"config": ClientConfig(), "fail_mode": "failfast"}
        async with Client(target, **options) as client:
            calls = [
                asyncio.ensure_future(
                    client.with_options(metadata=bearer(f"of-eve-{number}")).call(Shop.echo, bytes(size))
                )
                for number in range(40)
            ]
            # The first that ends is refused: there is no room for more.
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            held.go.set()
            found = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(one) for one in found} <= {int, OverloadedError}
    assert 10 <= sum(one == size for one in found) < 40
