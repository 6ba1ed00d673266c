"""Claims of names at a relay: their rights, their owners, and their tokens."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fastrpc import (
    CallError,
    Client,
    ConfigError,
    FastRPCError,
    Identity,
    Server,
    ServerConfig,
    Status,
)
from fastrpc.auth import Policy
from fastrpc.auth.verdict import Answer, Presented, Verdict
from fastrpc.relay import claims
from fastrpc.relay.claims import SPARES
from fastrpc.relay.refusals import RefusalReason
from fastrpc.relay.server import RelayServer
from fastrpc.relay.service import RelayService
from fastrpc.relay.wire import GREETING, ClaimTicket, opened_header
from tests.support.arith import Arith
from tests.support.client_hellos import hello_of_openssl
from tests.support.peer_writing import write_to
from tests.support.relayed import EDGE_RULES, RelayFiles, Relaying, claiming, relaying
from tests.support.waiting import eventually

HELLO = hello_of_openssl("edge-7.localhost")


async def refusal(
    relay: Relaying, token: str | None, name: str = "edge-7", **options: bool | str | int
) -> CallError:
    with pytest.raises(CallError) as refused:
        async with claiming(relay, token, name, **options) as tickets:  # type: ignore[arg-type]
            await anext(tickets)
    return refused.value


@asynccontextmanager
async def shown(relay: Relaying, sent: bytes) -> AsyncIterator[asyncio.StreamReader]:
    """Send bytes to the relay, and yield its answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    try:
        write_to(writer, sent)
        yield reader
    finally:
        writer.transport.abort()


async def is_closed(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read() == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize(
    ("token", "name", "status"),
    [
        (None, "edge-7", Status.UNAUTHENTICATED),
        ("stolen", "edge-7", Status.UNAUTHENTICATED),
        ("token-of-reader", "edge-7", Status.PERMISSION_DENIED),
        ("token-of-edge", "shop", Status.PERMISSION_DENIED),
        ("token-of-edge", "", Status.INVALID_ARGUMENT),
        ("token-of-edge", "edge-7.", Status.INVALID_ARGUMENT),
        ("token-of-edge", "edge-7.localhost", Status.INVALID_ARGUMENT),
        ("token-of-edge", "EDGE-7", Status.INVALID_ARGUMENT),
        ("token-of-edge", "edge-" + "a" * 60, Status.INVALID_ARGUMENT),
    ],
)
async def test_a_claim_without_right_is_refused(
    token: str | None, name: str, status: Status, files: RelayFiles
) -> None:
    async with relaying(files) as relay:
        assert (await refusal(relay, token, name)).status is status
        assert not relay.front.claims.by_name


async def test_a_claim_needs_an_identity_even_without_a_policy(files: RelayFiles) -> None:
    async with RelayServer(
        "tls://127.0.0.1:0", name="localhost", tls=files.relay.tls(), authenticate=files.tokens
    ) as server:
        async with Client(f"tls://localhost:{server.address.port}", config=files.client) as client:
            with pytest.raises(CallError) as refused:
                async with client.stream(RelayService.claim, "edge-7", "a", True) as tickets:
                    await anext(tickets)
            assert refused.value.status is Status.UNAUTHENTICATED


async def test_a_name_has_one_owner(files: RelayFiles, caplog: pytest.LogCaptureFixture) -> None:
    async with relaying(files) as relay, claiming(relay, "token-of-edge") as tickets:
        await anext(tickets)
        with caplog.at_level(logging.INFO, "fastrpc.audit"):
            found = await refusal(relay, "token-of-other")
        assert found.status is Status.PERMISSION_DENIED
        assert "another server has claimed 'edge-7'" in found.message
        assert "a claim is refused" in caplog.text
        assert relay.front.claims.by_name["edge-7"].owner == "edge"


async def test_another_program_of_the_owner_takes_a_name_over(files: RelayFiles) -> None:
    async with relaying(files) as relay, claiming(relay, "token-of-edge", instance="a") as old:
        await anext(old)
        async with claiming(relay, "token-of-edge", instance="b") as new:
            await anext(new)
            with pytest.raises(CallError, match="has taken 'edge-7' over") as lost:
                while True:
                    await anext(old)
            assert lost.value.status is Status.ABORTED
            # The loser does not take it back.
            found = await refusal(relay, "token-of-edge", instance="a", takes_over=False)
            assert found.status is Status.ALREADY_EXISTS
            assert relay.front.claims.by_name["edge-7"].instance == "b"


async def is_lost(tickets: AsyncIterator[ClaimTicket]) -> bool:
    with pytest.raises(CallError, match="has taken 'edge-7' over"):
        async for _ in tickets:
            pass
    return True


async def test_the_program_that_started_last_has_a_name_after_a_restart_of_the_relay(
    files: RelayFiles,
) -> None:
    async with relaying(files) as relay:
        async with claiming(relay, "token-of-edge", instance="a", takes_over=False, started=1) as old:
            await anext(old)
            async with claiming(relay, "token-of-edge", instance="b", takes_over=False, started=2) as new:
                await anext(new)
                assert await is_lost(old)
                for started in (0, 1, 2):
                    found = await refusal(
                        relay, "token-of-edge", instance="a", takes_over=False, started=started
                    )
                    assert found.status is Status.ALREADY_EXISTS
                # It orders the programs of one identity alone.
                found = await refusal(relay, "token-of-other", takes_over=True, started=3)
                assert found.status is Status.PERMISSION_DENIED


async def test_a_program_whose_clock_is_ahead_does_not_take_a_name_back(files: RelayFiles) -> None:
    async with relaying(files) as relay, claiming(relay, "token-of-edge", started=3_600) as ahead:
        await anext(ahead)
        async with claiming(relay, "token-of-edge", instance="b", started=1) as new:
            await anext(new)
            assert await is_lost(ahead)
            found = await refusal(relay, "token-of-edge", takes_over=False, started=3_600)
            assert found.status is Status.ALREADY_EXISTS


async def test_a_program_takes_its_own_lost_claim_over(files: RelayFiles) -> None:
    async with relaying(files) as relay, claiming(relay, "token-of-edge") as old:
        await anext(old)
        async with claiming(relay, "token-of-edge", takes_over=False) as new:
            await anext(new)


async def test_a_claim_ends_with_its_right(
    files: RelayFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastrpc.relay.service._LOOK_SECONDS", 0.01)
    rules = tmp_path / "policy.toml"
    rules.write_text('[[rule]]\nwho = ["edge"]\nrelay = ["edge-*"]\n')
    async with RelayServer(
        "tls://127.0.0.1:0",
        name="localhost",
        tls=files.relay.tls(),
        authenticate=files.tokens,
        policy=Policy.from_file(rules),
    ) as server:
        async with claiming(Relaying(files, server, AsyncExitStack()), "token-of-edge") as tickets:
            await anext(tickets)
            rules.write_text('[[rule]]\nwho = ["edge"]\nrelay = ["shop"]\n')
            server.reload()
            with pytest.raises(CallError) as ended:
                while True:
                    await anext(tickets)
            assert ended.value.status is Status.PERMISSION_DENIED


class Expiring:
    """Accepts the token of an owner for some seconds."""

    version = 0

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def look(self) -> None: ...

    def handles(self, peer: Presented) -> bool:
        return peer.credentials is not None

    def verify(self, peer: Presented) -> Answer:
        return Verdict(Identity("edge"), valid_until=time.time() + self._seconds)


@pytest.mark.parametrize("seconds", [-1.0, 0.5])
async def test_a_claim_lasts_no_longer_than_its_identity(seconds: float, files: RelayFiles) -> None:
    async with RelayServer(
        "tls://127.0.0.1:0",
        name="localhost",
        tls=files.relay.tls(),
        authenticate=Expiring(seconds),
        policy=Policy(EDGE_RULES),
    ) as server:
        relay = Relaying(files, server, AsyncExitStack())
        with pytest.raises(FastRPCError) as ended:
            async with claiming(relay, "token-of-edge") as tickets:
                async for _ in tickets:
                    pass
        assert getattr(ended.value, "status", None) in (Status.UNAUTHENTICATED, Status.UNAVAILABLE), (
            ended.value
        )
        await eventually(lambda: not server.front.claims.by_name)


async def test_an_owner_listens_where_a_claim_is_refused(files: RelayFiles) -> None:
    async with relaying(files) as relay:
        async with Server(Arith, config=ServerConfig(tls=files.edge.tls())) as server:
            with pytest.raises(PermissionError, match="the relay refuses: reader may not claim 'edge-7'"):
                await server.listen(relay.target() + files.options("reader"))
        await relay.serve(Arith)
        async with Server(Arith, config=ServerConfig(tls=files.edge.tls())) as server:
            with pytest.raises(PermissionError, match="another server has claimed"):
                await server.listen(relay.target() + files.options("other"))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("?ca_file=/nowhere", "/nowhere"),
        ("?token_file=/nowhere", "/nowhere"),
        ("?token=secret", "no option 'token'"),
        ("?token_file=a&token_file=b", "given twice"),
        ("?token_file=", "is empty"),
    ],
)
async def test_options_of_a_claim_that_cannot_be_used_are_reported(
    options: str, reason: str, files: RelayFiles
) -> None:
    async with relaying(files) as relay, Server(Arith, config=ServerConfig(tls=files.edge.tls())) as server:
        with pytest.raises(ConfigError, match=reason):
            await server.listen(relay.target() + options)


# Tokens


async def test_two_tokens_come_with_a_claim_and_one_for_each_that_is_used(files: RelayFiles) -> None:
    async with relaying(files) as relay, claiming(relay, "token-of-edge") as tickets:
        first = [ClaimTicket(*await anext(tickets)) for _ in range(SPARES)]
        async with shown(relay, GREETING + first[0].token) as data, shown(relay, HELLO):
            head = await data.read(65_536)
            opened = opened_header(head, first[0].key)
            assert opened is not None
            assert opened[1][0] == "127.0.0.1"
            assert head[opened[0] :] == HELLO
            assert ClaimTicket(*await anext(tickets)) not in first


async def test_a_token_is_good_for_one_connection(files: RelayFiles) -> None:
    async with relaying(files) as relay, claiming(relay, "token-of-edge") as tickets:
        ticket = ClaimTicket(*await anext(tickets))
        async with shown(relay, GREETING + ticket.token):
            await eventually(lambda: relay.front.claims.by_name["edge-7"].spares)
            async with shown(relay, GREETING + ticket.token) as second:
                assert await is_closed(second)
        assert relay.front.refusals.counts == {RefusalReason.TOKEN: 1}


async def test_an_old_token_is_refused(files: RelayFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "TICKET_SECONDS", 0.0)
    async with relaying(files) as relay, claiming(relay, "token-of-edge") as tickets:
        ticket = ClaimTicket(*await anext(tickets))
        async with shown(relay, GREETING + ticket.token) as data:
            assert await is_closed(data)
        assert relay.front.refusals.counts == {RefusalReason.TOKEN: 1}


async def test_the_tokens_of_a_withdrawn_claim_are_refused(files: RelayFiles) -> None:
    async with relaying(files) as relay:
        async with claiming(relay, "token-of-edge") as tickets:
            ticket = ClaimTicket(*await anext(tickets))
        await eventually(lambda: not relay.front.claims.by_name)
        async with shown(relay, GREETING + ticket.token) as data:
            assert await is_closed(data)


async def test_a_thief_of_a_token_reads_cipher_text(files: RelayFiles) -> None:
    async with relaying(files) as relay, claiming(relay, "token-of-edge") as tickets:
        stolen = ClaimTicket(*await anext(tickets))
        async with shown(relay, GREETING + stolen.token) as thief:
            await eventually(lambda: relay.front.claims.by_name["edge-7"].spares)
            config = replace(files.client, timeouts=replace(files.client.timeouts, connect=0.5, call=1.0))
            async with Client(relay.target(), config=config) as client:
                with pytest.raises(Exception):  # noqa: B017
                    await client.call(Arith.mul, 123_456_789, 987_654_321)
            assert b"mul" not in await thief.read(65_536)


async def test_a_server_that_speaks_before_its_caller_loses_the_connection(files: RelayFiles) -> None:
    async with relaying(files) as relay, claiming(relay, "token-of-edge") as tickets:
        ticket = ClaimTicket(*await anext(tickets))
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        write_to(writer, GREETING + ticket.token)
        await eventually(lambda: relay.front.claims.by_name["edge-7"].spares)
        write_to(writer, b"x")
        assert await is_closed(reader)
        writer.transport.abort()
        assert relay.front.refusals.counts == {RefusalReason.EARLY: 1}


async def test_a_caller_waits_for_a_data_connection(files: RelayFiles) -> None:
    async with relaying(files) as relay, claiming(relay, "token-of-edge") as tickets:
        ticket = ClaimTicket(*await anext(tickets))
        async with shown(relay, HELLO):
            await eventually(lambda: relay.front.claims.by_name["edge-7"].callers)
            async with shown(relay, GREETING + ticket.token) as data:
                assert HELLO in await data.read(65_536)


async def test_a_caller_whose_server_opens_no_connection_gets_an_alert(
    files: RelayFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastrpc.relay.opening._OPENING_SECONDS", 0.2)
    async with relaying(files) as relay, claiming(relay, "token-of-edge") as tickets:
        await anext(tickets)
        async with shown(relay, HELLO) as caller:
            assert await caller.read() == b"\x15\x03\x03\x00\x02\x02\x70"
        assert relay.front.refusals.counts == {RefusalReason.SLOW: 1}


async def test_spares_are_renewed(files: RelayFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "_RENEWAL_SECONDS", 0.05)
    monkeypatch.setattr("fastrpc.relay.service._LOOK_SECONDS", 0.01)
    async with relaying(files) as relay:
        await relay.serve(Arith)
        claim = relay.front.claims.by_name["edge-7"]
        await eventually(lambda: len(claim.spares) == SPARES)
        before = set(claim.spares)
        await eventually(lambda: len(claim.spares) == SPARES and before.isdisjoint(claim.spares))
        async with Client(relay.target(), config=files.client) as client:
            assert await client.call(Arith.mul, 6, 7) == 42


async def test_callers_at_once_each_get_a_connection(files: RelayFiles) -> None:
    async with relaying(files) as relay:
        await relay.serve(Arith)

        async def call() -> int:
            async with Client(relay.target(), config=files.client) as client:
                # Forty dials at once take a busy machine longer than a call may take.
                return await client.with_options(timeout=60).call(Arith.mul, 6, 7)

        assert await asyncio.gather(*(call() for _ in range(40))) == [42] * 40
        claim = relay.front.claims.by_name["edge-7"]
        await eventually(lambda: not relay.front.pairs and len(claim.spares) == SPARES)
