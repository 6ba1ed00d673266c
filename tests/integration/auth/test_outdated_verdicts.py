"""Verdicts that were given by files, or for a time, that are over when a call would start."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import Admission, Client, ConfigError, Server, ServerConfig, Status
from fastrpc.auth import AnyOf, Identity, StaticTokens
from fastrpc.auth.verdict import Answer, Refusal, Verdict
from fastrpc.endpoint import Address
from fastrpc.peers.peer import Peer
from tests.support.kept_connection import KeptConnection, gate_for
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

ADA = Identity("ada")


@fastrpc.service("desk")
class Desk:
    def __init__(self) -> None:
        self.seen: list[str | None] = []

    @fastrpc.method
    async def caller(self) -> str | None:
        identity = fastrpc.current_call().identity
        self.seen.append(identity and identity.name)
        return self.seen[-1]

    @fastrpc.method
    async def ticks(self) -> AsyncIterator[str | None]:
        while True:
            yield await self.caller()
            await asyncio.sleep(0.01)

    @fastrpc.method
    async def rest(self) -> None:
        await asyncio.Event().wait()

    @fastrpc.method
    async def block(self, seconds: float) -> None:
        time.sleep(seconds)


class Given:
    """Answers for every token as the test sets it."""

    version = 0

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def look(self) -> None:
        """Nothing changes."""

    def handles(self, peer: Any) -> bool:
        return peer.credentials is not None

    def verify(self, peer: Any) -> Answer | Awaitable[Answer]:
        return self.answer()  # type: ignore[no-any-return]


async def status_of(client: Client) -> Status:
    try:
        await client.call(Desk.caller)
    except fastrpc.FastRPCError as error:
        return error.status
    return Status.OK


async def test_a_token_removed_before_the_first_call_starts_no_call(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    file.write_text('[[token]]\ntoken = "aaa"\nname = "ada"')
    desk = Desk()
    async with Server(desk, authenticate=StaticTokens.from_file(file)) as server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        async with Client(target, credentials="aaa") as client:
            await client.ready()
            file.write_text('[[token]]\ntoken = "bbb"\nname = "ada"')
            server.reload()
            assert await status_of(client) is Status.UNAUTHENTICATED
    assert desk.seen == []


async def test_calls_that_wait_when_the_credential_expires_do_not_start_as_nobody() -> None:
    desk = Desk()
    async with Server(desk, authenticate=Given(lambda: Verdict(ADA, time.time() + 0.35))) as server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        async with Client(target, credentials="aaa") as client:
            calls = [client.call(Desk.block, 0.15) for _ in range(6)]
            calls += [client.call(Desk.caller) for _ in range(3)]
            await asyncio.gather(*calls, return_exceptions=True)
    assert None not in desk.seen


@pytest.mark.parametrize("years", [200, 9_000])
async def test_a_verdict_may_hold_for_centuries(years: int) -> None:
    seconds = years * 365.25 * 86_400
    async with Server(Desk(), authenticate=Given(lambda: Verdict(ADA, time.time() + seconds))) as server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        async with Client(target, credentials="aaa") as client:
            assert await client.call(Desk.caller) == "ada"


async def test_a_verdict_of_another_type_is_an_internal_error() -> None:
    async def wrong() -> Any:
        return "yes"

    desk = Desk()
    async with Server(desk, authenticate=Given(wrong)) as server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        async with Client(target, credentials="aaa") as client:
            assert await status_of(client) is Status.INTERNAL
    assert desk.seen == []


async def test_a_client_that_serves_refuses_methods_that_need_a_role() -> None:
    @fastrpc.service("rooms")
    class Rooms:
        @fastrpc.method(roles=("admin",))
        async def wipe(self) -> None:
            """Nobody may."""

    async with Server(Desk()) as server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        with pytest.raises(
            ConfigError, match=r"rooms\.wipe needs a role, but a client does not authenticate servers"
        ):
            async with Client(target, services=[Rooms()]) as client:
                await client.ready()


class Dated:
    """Accepts every token as Ada's for a time, which a change may shorten; counts how often it is asked."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self.version = 0
        self.asked = 0
        self.takes = 0.0

    def look(self) -> None:
        """Nothing changes by itself."""

    def handles(self, peer: Any) -> bool:
        return peer.credentials is not None

    def verify(self, peer: Any) -> Answer:
        self.asked += 1
        time.sleep(self.takes)
        return Verdict(ADA, None if self.seconds is None else time.time() + self.seconds)


@pytest.mark.parametrize("before", [60.0, None])
async def test_a_life_that_a_change_shortens_ends_sooner(before: float | None) -> None:
    dated = Dated(before)
    async with Server(Desk(), authenticate=dated) as server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        async with Client(target, credentials="aaa") as client, client.stream(Desk.ticks) as ticks:
            assert await ticks.receive() == "ada"
            dated.seconds, dated.version = 0.3, 1
            server.reload()
            await eventually(lambda: dated.asked == 2)
            dated.seconds = 60.0
            with pytest.raises(fastrpc.CallError) as ended:
                while True:
                    assert await ticks.receive() == "ada"
            assert ended.value.status is Status.UNAUTHENTICATED
            # The client knew another expiry: it makes another connection, and its calls continue.
            assert await client.call(Desk.caller) == "ada"
            assert client.stats()["totals"]["connections"] == 2


async def test_a_change_that_leaves_the_expiry_unchanged_ends_nothing() -> None:
    dated = Dated(60.0)
    async with Server(Desk(), authenticate=dated) as server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        async with Client(target, credentials="aaa") as client, client.stream(Desk.ticks) as ticks:
            for version in range(1, 4):
                dated.version = version
                server.reload()
                assert await client.call(Desk.caller) == "ada"
                assert await ticks.receive() == "ada"
            assert client.stats()["totals"]["connections"] == 1
    assert dated.asked == 4


class Seat:
    """The gate's facts of a connection."""

    def __init__(self, connection: KeptConnection) -> None:
        self.connection = connection


@pytest.mark.parametrize("own", [False, True], ids=["of connections", "of calls"])
async def test_ten_thousand_credentials_are_verified_again_without_holding_the_loop(own: bool) -> None:
    dated, count = Dated(None), 200
    config = ServerConfig(admission=Admission(queue_age=60))
    async with gate_for(Desk(), config=config, authenticate=dated) as gate:
        assert gate.guards.access is not None
        connections = [KeptConnection(gate) for _ in range(1 if own else count)]
        for number, connection in enumerate(connections):
            connection.peer_info = Peer(Address("memory"), "bearer", f"token-{number}")
            connection.identity = ADA
        if own:
            for number in range(count):
                connections[0].call("desk.rest", metadata={"authorization": f"Bearer {number}"})
            await eventually(lambda: len(connections[0].running) == count)
        asked, dated.takes, dated.version = dated.asked, 0.002, 1
        gate.guards.access.look()
        gate.guards.access.renew([Seat(connection) for connection in connections])
        turns = []
        async with asyncio.timeout(60):
            while dated.asked < asked + count:
                turns.append(dated.asked)
                await asyncio.sleep(0)
        turns.append(dated.asked)
        # Four milliseconds of each turn, and at least one verdict.
        assert all(after - before <= 4 for before, after in zip([asked, *turns], turns, strict=False))
        if own:
            gate.end_calls(connections[0], "the test is over")


class Later:
    """Refuses every token after a turn of the loop, as an issuer does that has to be asked."""

    version = 0

    def look(self) -> None:
        """Nothing changes."""

    def handles(self, peer: Any) -> bool:
        return peer.credentials is not None

    async def verify(self, peer: Any) -> Answer:
        await asyncio.sleep(0)
        return Refusal("unknown here, too")


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("own", [False, True], ids=["of the connection", "of its own"])
async def test_a_removed_token_is_refused_though_another_authenticator_takes_time(
    tmp_path: Path, own: bool
) -> None:
    file = tmp_path / "tokens.toml"
    file.write_text('[[token]]\ntoken = "aaa"\nname = "ada"')
    authenticate = AnyOf(StaticTokens.from_file(file), Later())
    async with Server(Desk(), authenticate=authenticate) as server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        async with Client(target, credentials=None if own else "aaa") as client:
            view = client.with_options(metadata={"authorization": "Bearer aaa"} if own else {})
            assert await view.call(Desk.caller) == "ada"
            async with view.stream(Desk.ticks) as ticks:
                assert await ticks.receive() == "ada"
                file.write_text('[[token]]\ntoken = "bbb"\nname = "ada"')
                server.reload()
                with pytest.raises(fastrpc.CallError) as ended:
                    while True:
                        await ticks.receive()
                assert ended.value.status is Status.UNAUTHENTICATED
            with pytest.raises(fastrpc.FastRPCError) as refused:
                await view.call(Desk.caller)
            assert refused.value.status is Status.UNAUTHENTICATED
