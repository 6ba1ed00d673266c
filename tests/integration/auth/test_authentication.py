"""Identities of callers: tokens of connections and calls, for both clients, all transports and kinds of methods."""

import asyncio
import logging
import time
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import (
    Client,
    ClientConfig,
    ConfigError,
    Peer,
    Server,
    Status,
    StoreError,
    Timeouts,
    UnavailableError,
)
from fastrpc.auth import Identity, StaticTokens
from fastrpc.auth.verdict import Answer, Presented, Refusal, Verdict
from fastrpc.client import renewal
from fastrpc.handlers.auth import authentication
from tests.support.either_client import CLIENTS
from tests.support.guarded import ADA, TOKENS, Shop, calling, guarded, refusal
from tests.support.served import SCHEMES

pytestmark = pytest.mark.one_loop

ADA_TOKEN = "token-of-ada"


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_token_gives_calls_the_identity(kind: str, scheme: str) -> None:
    if (kind, scheme) == ("sync", "memory"):
        pytest.skip("a SyncClient has no memory transport")
    shop = Shop()
    async with guarded(shop, scheme=scheme) as target:
        async with calling(kind, target, credentials=ADA_TOKEN) as client:
            assert await client.call(Shop.who) == "ada"
            assert await client.call("shop.in_thread") == "ada"
            assert await client.call(Shop.hello) == "ada"
            assert await client.call(Shop.echo, bytes(300_000)) == 300_000
            async with client.stream(Shop.count, 3) as names:
                assert [name async for name in names] == ["ada"] * 3
            assert await client.call(Shop.total, [1, 2, 3]) == 6


@pytest.mark.parametrize("kind", CLIENTS)
async def test_without_a_token_only_public_methods_start(kind: str) -> None:
    shop = Shop()
    async with guarded(shop) as target, calling(kind, target) as client:
        assert await client.call(Shop.hello) == "nobody"
        for method, arguments in (
            ("who", ()),
            ("in_thread", ()),
            ("echo", (b"x",)),
            ("total", ([1],)),
            ("nothing", ()),
        ):
            error = await refusal(client.call(f"shop.{method}", *arguments))
            assert (error.status, error.processed) == (Status.UNAUTHENTICATED, "no")
        assert (await refusal(client.call("fastrpc.health.check"))).status is Status.UNAUTHENTICATED
        assert (await refusal(client.call("fastrpc.reflection.services"))).status is Status.UNAUTHENTICATED
        assert shop.started == ["shop.hello"]


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_wrong_token_refuses_every_call_before_it_starts(kind: str) -> None:
    shop = Shop()
    async with guarded(shop) as target, calling(kind, target, credentials="wrong") as client:
        for _ in range(3):
            for method in (Shop.who, Shop.hello):
                error = await refusal(client.call(method))
                assert (error.status, error.processed) == (Status.UNAUTHENTICATED, "no")
                assert "wrong" not in str(error)
        assert shop.started == []


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_function_gives_the_token_of_each_connection(kind: str) -> None:
    asked = []

    async def credentials() -> str:
        asked.append(1)
        return ADA_TOKEN

    async with guarded(Shop) as target, calling(kind, target, credentials=credentials) as client:
        for _ in range(3):
            assert await client.call(Shop.who) == "ada"
    assert len(asked) == 1


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_credential_of_a_call_stands_for_that_call_alone(kind: str) -> None:
    shop = Shop()
    async with guarded(shop) as target, calling(kind, target, credentials="token-of-bob") as client:
        as_ada = client.with_options(metadata={"authorization": f"Bearer {ADA_TOKEN}"})
        assert await as_ada.call(Shop.who) == "ada"
        assert await client.call(Shop.who) == "bob"
        for header in ("Bearer wrong", "Bearer", "", ADA_TOKEN, f"Basic {ADA_TOKEN}", f"Bearer {ADA_TOKEN}x"):
            other = client.with_options(metadata={"authorization": header})
            # No fallback to the identity of the connection, not even for a public method.
            for method in (Shop.who, Shop.hello):
                assert (await refusal(other.call(method))).status is Status.UNAUTHENTICATED
        assert await client.call(Shop.who) == "bob"
    assert len(shop.started) == 3


class Slow:
    """Verifies tokens after a turn of the loop, as one does that has to fetch something."""

    version = 0

    def __init__(self, answer: Answer | None = None) -> None:
        self.answer = answer
        self.asked = 0
        self.go = asyncio.Event()
        self.go.set()

    def look(self) -> None:
        pass

    def handles(self, peer: Presented) -> bool:
        return True

    async def verify(self, peer: Presented) -> Answer:
        self.asked += 1
        await self.go.wait()
        await asyncio.sleep(0)
        return self.answer or TOKENS.verify(peer)


@pytest.mark.parametrize("kind", CLIENTS)
async def test_calls_wait_in_order_for_a_verdict_that_takes_time(kind: str) -> None:
    slow = Slow()
    async with guarded(Shop, authenticate=slow) as target:
        async with calling(kind, target, credentials=ADA_TOKEN) as client:
            slow.go.clear()
            calls = [asyncio.ensure_future(client.call(Shop.who)) for _ in range(5)]
            total = asyncio.ensure_future(client.call(Shop.total, range(200)))
            while not slow.asked:
                await asyncio.sleep(0.01)
            slow.go.set()
            assert await asyncio.gather(*calls) == ["ada"] * 5
            assert await total == sum(range(200))
            as_bob = client.with_options(metadata={"authorization": "Bearer token-of-bob"})
            assert await as_bob.call(Shop.who) == "bob"
            async with as_bob.stream(Shop.count, 2) as names:
                assert [name async for name in names] == ["bob"] * 2


async def test_a_verdict_is_kept_for_further_calls() -> None:
    slow = Slow()
    async with guarded(Shop, authenticate=slow) as target, Client(target) as client:
        as_ada = client.with_options(metadata={"authorization": f"bearer {ADA_TOKEN}"})
        for _ in range(5):
            assert await as_ada.call(Shop.who) == "ada"
    assert slow.asked == 1


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_function_authenticates(kind: str) -> None:
    async def authenticate(peer: Peer) -> Identity | None:
        assert (peer.scheme, peer.protocol, peer.certificate) == ("bearer", "native", None)
        return Identity(f"host:{peer.address.host}") if peer.credentials == ADA_TOKEN else None

    async with guarded(Shop, authenticate=authenticate) as target:
        async with calling(kind, target, credentials=ADA_TOKEN) as client:
            assert await client.call(Shop.who) == "host:127.0.0.1"
        async with calling(kind, target, credentials="other") as client:
            assert (await refusal(client.call(Shop.who))).status is Status.UNAUTHENTICATED


@pytest.mark.parametrize("answer", [ValueError("for the log alone"), "ada", True, KeyError()])
async def test_a_function_that_gives_no_verdict_refuses(
    answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def authenticate(peer: Peer) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    shop = Shop()
    async with guarded(shop, authenticate=authenticate) as target:
        async with Client(target, credentials=ADA_TOKEN) as client:
            error = await refusal(client.call(Shop.who))
            assert error.status is Status.INTERNAL
            assert "alone" not in str(error)
        async with Client(target) as client:
            own = client.with_options(metadata={"authorization": "Bearer x"})
            assert (await refusal(own.call(Shop.who))).status is Status.INTERNAL
    assert shop.started == []
    assert "authenticate raised" in caplog.text


async def test_a_function_whose_store_is_away_is_unavailable_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def authenticate(peer: Peer) -> Any:
        raise StoreError("the secret store is away", retryable=True)

    async with guarded(Shop(), authenticate=authenticate) as target:
        for _ in range(3):
            async with Client(target, credentials=ADA_TOKEN) as client:
                with pytest.raises(UnavailableError, match="cannot be verified now") as failed:
                    await client.call(Shop.who)
                assert "secret" not in str(failed.value)
    (record,) = [one for one in caplog.records if "authenticate could" in one.getMessage()]
    assert record.getMessage().endswith("a call it made failed: StoreError: the secret store is away")
    assert record.exc_info is None


async def test_a_verdict_that_takes_too_long_is_unavailable() -> None:
    slow = Slow()
    slow.go.clear()
    config = fastrpc.ServerConfig(timeouts=Timeouts(handshake=1.0))
    text = ""
    async with guarded(Shop, authenticate=slow, config=config) as target, asyncio.timeout(20):
        async with Client(target, credentials=ADA_TOKEN, fail_mode="failfast") as client:
            # After a stall the time of the opening may end before the time of the verdict.
            while "cannot be verified now" not in text:
                with pytest.raises(fastrpc.UnavailableError) as caught:
                    await client.call(Shop.who)
                text = str(caught.value)


async def test_a_verdict_ends_where_the_opening_of_a_connection_has_no_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(authentication, "VERDICT_SECONDS", 0.2)
    slow = Slow()
    slow.go.clear()
    config = fastrpc.ServerConfig(timeouts=Timeouts(handshake=None))
    async with guarded(Shop, authenticate=slow, config=config) as target:
        async with Client(target, credentials=ADA_TOKEN, fail_mode="failfast") as client:
            with pytest.raises(fastrpc.UnavailableError, match="cannot be verified now"):
                await client.call(Shop.who)


@pytest.mark.parametrize("kind", CLIENTS)
async def test_large_messages_need_an_identity(kind: str) -> None:
    @fastrpc.service("open")
    class Open:
        @fastrpc.method(public=True)
        async def size(self, data: bytes) -> int:
            return len(data)

    async with guarded(Open) as target:
        async with calling(kind, target) as client:
            assert await client.call(Open.size, bytes(60_000)) == 60_000
            with pytest.raises(
                fastrpc.CallError, match="without an identity .* it needs credentials"
            ) as caught:
                await client.call(Open.size, bytes(70_000))
            # It would never be taken, so it is sent once.
            assert caught.value.status is fastrpc.Status.RESOURCE_EXHAUSTED
            assert (caught.value.processed, caught.value.retryable) == ("no", False)
            assert caught.value.retry_after is None
            # Credit goes back, so that small calls do not come to an end.
            for _ in range(5):
                assert await client.call(Open.size, bytes(60_000)) == 60_000
        async with calling(kind, target, credentials=ADA_TOKEN) as client:
            assert await client.call(Open.size, bytes(1_000_000)) == 1_000_000


class Expiring:
    """Accepts one token for a time, and counts how often."""

    version = 0

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.names = ["ada"]
        self.asked = 0

    def look(self) -> None:
        pass

    def handles(self, peer: Presented) -> bool:
        return True

    def verify(self, peer: Presented) -> Answer:
        self.asked += 1
        if not self.names:
            return Refusal("no more")
        name = self.names[0] if len(self.names) == 1 else self.names.pop(0)
        return Verdict(Identity(name), time.time() + self.seconds)


async def test_calls_and_streams_end_with_the_credential() -> None:
    started, gate = asyncio.Event(), asyncio.Event()

    @fastrpc.service("slow")
    class Slowly:
        @fastrpc.method
        async def wait(self) -> str:
            started.set()
            await gate.wait()
            identity = fastrpc.current_call().identity
            return "nobody" if identity is None else identity.name

    async with guarded(Shop, Slowly, authenticate=Expiring(0.9)) as target:
        # A token alone cannot be renewed.
        async with Client(target, credentials=ADA_TOKEN) as client:
            waiting = asyncio.ensure_future(client.call(Slowly.wait))
            async with asyncio.timeout(20):
                await started.wait()
            async with client.open(Shop.both) as stream:
                await stream.send(1)
                assert await stream.receive() == 1
                error = await refusal(stream.receive())
                assert error.status is Status.UNAUTHENTICATED
                assert "expired" in str(error)
            assert (await refusal(client.call(Shop.who))).status is Status.UNAUTHENTICATED
            assert await client.call(Shop.hello) == "nobody"
            gate.set()
            assert await waiting == "ada"


async def test_a_client_renews_before_the_credential_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    # A machine that stalls has seconds left for the renewal.
    monkeypatch.setattr(renewal, "RENEWED_AT", 0.1)
    expiring = Expiring(8.0)
    tokens = [f"token-{number}" for number in range(100)]

    async with guarded(Shop, authenticate=expiring) as target:
        async with Client(target, credentials=lambda: tokens.pop(0)) as client:
            async with client.open(Shop.both) as stream:
                while expiring.asked < 3:
                    await stream.send(1)
                    assert await stream.receive() == 1
                    await asyncio.sleep(0.02)
            assert await client.call(Shop.who) == "ada"
            assert client.stats()["totals"]["connections"] == 1


async def test_a_renewal_by_another_identity_ends_the_connection(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "RENEWED_AT", 0.1)
    expiring = Expiring(8.0)
    expiring.names = ["ada", "eve"]
    tokens = [f"token-{number}" for number in range(100)]
    async with guarded(Shop, authenticate=expiring) as target:
        async with Client(target, credentials=lambda: tokens.pop(0)) as client:
            async with client.open(Shop.both) as stream:
                with pytest.raises(fastrpc.FastRPCError):
                    while True:
                        await stream.send(1)
                        assert await stream.receive() == 1
                        await asyncio.sleep(0.02)
    assert "another identity" in caplog.text


async def test_a_sync_client_takes_another_connection_before_its_credential_expires() -> None:
    expiring = Expiring(1.5)
    tokens = [f"token-{number}" for number in range(100)]
    async with guarded(Shop, authenticate=expiring) as target:
        async with calling("sync", target, credentials=lambda: tokens.pop(0)) as client:
            while expiring.asked < 3:
                assert await client.call(Shop.who) == "ada"
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_removed_token_is_refused_on_open_connections(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text('[[token]]\ntoken = "one"\nname = "ada"\n[[token]]\ntoken = "two"\nname = "bob"\n')
    server = Server(Shop, authenticate=StaticTokens.from_file(path))
    async with server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        async with (
            calling(kind, target, credentials="one") as first,
            calling(kind, target, credentials="two") as second,
        ):
            assert (await first.call(Shop.who), await second.call(Shop.who)) == ("ada", "bob")
            path.write_text('[[token]]\ntoken = "two"\nname = "bob"\n')
            server.reload()
            # The change is taken at the first call a second after the last look.
            with pytest.raises(fastrpc.CallError) as caught:
                # The connection that the server gives up is so young that the next one is dialled after a pause.
                while await first.with_options(wait_for_ready=True).call(Shop.who) == "ada":
                    await asyncio.sleep(0.02)
            assert caught.value.status is Status.UNAUTHENTICATED
            assert await second.call(Shop.who) == "bob"


@pytest.mark.parametrize("others_call", [False, True])
async def test_a_stream_ends_with_a_removed_token_though_its_connection_makes_no_call(
    others_call: bool, tmp_path: Path
) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text('[[token]]\ntoken = "one"\nname = "ada"\n')
    async with Server(Shop, authenticate=StaticTokens.from_file(path)) as server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        async with Client(target, credentials="one") as client, client.open(Shop.both) as stream:
            await stream.send(1)
            assert await stream.receive() == 1
            path.write_text('[[token]]\ntoken = "two"\nname = "bob"\n')
            # The server notices by itself after two looks, a second apart.
            ending = asyncio.ensure_future(refusal(stream.receive()))
            async with Client(target) as other:
                while others_call and not ending.done():
                    assert await other.call(Shop.hello) == "nobody"
                    await asyncio.sleep(0.01)
                assert (await ending).status is Status.UNAUTHENTICATED


async def test_logins_that_fail_again_and_again_wait(caplog: pytest.LogCaptureFixture) -> None:
    shop = Shop()
    async with guarded(shop) as target, Client(target) as client:
        wrong = client.with_options(metadata={"authorization": "Bearer wrong"}, timeout=5)
        with caplog.at_level(logging.WARNING, "fastrpc.audit"):
            for _ in range(10):
                await refusal(wrong.call(Shop.who))
        begun = asyncio.get_running_loop().time()
        await refusal(wrong.call(Shop.who))
        waited = asyncio.get_running_loop().time()
        # Other connections are not delayed meanwhile, and neither is this connection's next call.
        assert waited - begun >= 0.9
        assert await client.call(Shop.hello) == "nobody"
    assert "wrong" not in caplog.text.replace("was wrong", "")
    assert "authentication refused" in caplog.text


async def test_a_valid_token_is_checked_without_delay_while_others_guess_tokens() -> None:
    async with guarded(Shop) as target, Client(target) as client:
        known = client.with_options(metadata={"authorization": f"Bearer {ADA_TOKEN}"})
        assert await known.call(Shop.who) == "ada"
        for number in range(10):
            wrong = client.with_options(metadata={"authorization": f"Bearer wrong{number}"})
            await refusal(wrong.call(Shop.who))
        # A verdict that waits takes a second.
        assert await known.with_options(timeout=0.9).call(Shop.who) == "ada"


class TestCredentialsInTheClear:
    @pytest.mark.parametrize("kind", CLIENTS)
    @pytest.mark.parametrize(
        "target",
        ["tcp://192.0.2.1:9", "tcp://shop.example:9", ["tcp://127.0.0.1:9", "tcp://[2001:db8::1]:9"]],
    )
    async def test_credentials_in_the_clear_are_refused_beyond_loopback(self, kind: str, target: Any) -> None:
        with pytest.raises(ConfigError, match="in the clear") as caught:
            async with calling(kind, target, credentials="planted-5ecret"):
                pass
        assert "planted" not in str(caught.value)

    @pytest.mark.parametrize(
        "target", ["tcp://127.0.0.1:9", "tcp://localhost:9", "tcp://[::1]:9", "unix:///nowhere"]
    )
    async def test_they_are_accepted_on_this_machine(self, target: str) -> None:
        async with Client(target, credentials="token"):
            pass

    async def test_a_setting_allows_them(self) -> None:
        config = ClientConfig(allow_insecure_credentials=True)
        async with Client("tcp://192.0.2.1:9", credentials="token", config=config):
            pass


@pytest.mark.parametrize("credentials", ["", "a b", "a\n", "ä", 7, b"token", Shop])
async def test_credentials_that_cannot_be_sent_are_refused(credentials: Any) -> None:
    with pytest.raises((ConfigError, TypeError)):
        Client("tcp://127.0.0.1:9", credentials=credentials)
    with pytest.raises((ConfigError, TypeError)):
        fastrpc.SyncClient("tcp://127.0.0.1:9", credentials=credentials)


def test_wrong_authenticators_are_refused() -> None:
    def plain(peer: Peer) -> None:
        pass

    for wrong in ("token", plain, Shop, 7, {"token": ADA}):
        with pytest.raises(TypeError, match="fastrpc.auth"):
            Server(Shop, authenticate=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_server_that_authenticates_nobody_serves_callers_with_tokens(kind: str) -> None:
    @fastrpc.service("open")
    class Open:
        @fastrpc.method
        async def who(self) -> bool:
            return fastrpc.current_call().identity is None

    async with guarded(Open, authenticate=None) as target:
        async with calling(kind, target, credentials=ADA_TOKEN) as client:
            assert await client.call(Open.who)
            assert await client.call(Open.who)
