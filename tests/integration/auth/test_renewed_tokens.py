"""Tokens that expire, at clients that are given another one in time, late or never."""

import asyncio
import contextlib
import logging
import time
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, ClientConfig, Status
from fastrpc.auth import Identity, TokenFile
from fastrpc.auth.verdict import Answer, Presented, Refusal, Verdict
from fastrpc.client import renewal
from tests.support.either_client import CLIENTS
from tests.support.guarded import calling, guarded

pytestmark = pytest.mark.one_loop

#: A connection that ends sooner than this is taken for a failed one, which is dialled again with a pause.
QUICK = ClientConfig(backoff=fastrpc.config.Backoff(first=0.05, longest=0.1))


@fastrpc.service("desk")
class Desk:
    def __init__(self) -> None:
        self.may_end = asyncio.Event()

    @fastrpc.method
    async def work(self) -> str:
        await self.may_end.wait()
        caller = fastrpc.current_call().identity
        return "nobody" if caller is None else caller.name

    @fastrpc.method
    async def caller(self) -> str:
        caller = fastrpc.current_call().identity
        return "nobody" if caller is None else caller.name


class Until:
    """Accepts tokens as Ada's that say for how long they are valid once they were shown: `number/seconds`."""

    version = 0

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.until: dict[str, float] = {}

    def look(self) -> None:
        """Nothing changes."""

    def handles(self, peer: Presented) -> bool:
        return peer.credentials is not None

    def verify(self, peer: Presented) -> Answer:
        token = peer.credentials or ""
        self.asked.append(token)
        until = self.until.setdefault(token, time.time() + float(token.partition("/")[2]))
        return Verdict(Identity("ada"), until) if time.time() < until else Refusal("it has expired")


def token(number: int, seconds: float) -> str:
    return f"{number}/{seconds}"


async def refused(client: Any) -> None:
    """Call until the token has expired."""
    async with asyncio.timeout(20):
        while True:
            try:
                assert await client.call(Desk.caller) == "ada"
            except fastrpc.FastRPCError as error:
                if error.status is not Status.UNAUTHENTICATED:
                    raise
                return
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("seconds", [1.2, 2.4])
@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_token_that_is_not_replaced_in_time_ends_no_unary_call(
    kind: str, seconds: float, tmp_path: Path
) -> None:
    desk, until, path = Desk(), Until(), tmp_path / "token"
    path.write_text(token(1, seconds))
    async with guarded(desk, authenticate=until) as target:
        async with calling(kind, target, credentials=TokenFile(path), config=QUICK) as client:
            working = asyncio.ensure_future(client.with_options(timeout=60).call(Desk.work))
            await refused(client)
            # Some time later there is a new token.
            path.write_text(token(2, 60))
            async with asyncio.timeout(20):
                while True:
                    try:
                        assert await client.with_options(wait_for_ready=True).call(Desk.caller) == "ada"
                    except fastrpc.FastRPCError:
                        await asyncio.sleep(0.05)
                    else:
                        break
            desk.may_end.set()
            assert await working == "ada"


async def test_a_token_is_shown_once_on_a_connection(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A machine that stalls has seconds left for the renewal.
    monkeypatch.setattr(renewal, "RENEWED_AT", 0.1)
    shown: list[bytes] = []
    until, first, second = Until(), token(1, 8.0), token(2, 60)
    given = [first, first, first, second]

    def credentials() -> str:
        shown.append(b"")
        return given.pop(0) if len(given) > 1 else given[0]

    async with guarded(Desk(), authenticate=until) as target:
        async with Client(target, credentials=credentials, config=QUICK) as client:
            with caplog.at_level(logging.WARNING, "fastrpc.client"):
                async with asyncio.timeout(20):
                    while second not in until.asked:
                        assert await client.call(Desk.caller) == "ada"
                        await asyncio.sleep(0.02)
            assert client.stats()["totals"]["connections"] == 1
    assert until.asked == [first, second]
    # Several retries failed for this reason.
    assert caplog.text.count("there is no other token yet") == 1


async def test_a_new_token_is_shown_though_it_came_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection continues, and so do its streams if the server's clock allows."""
    monkeypatch.setattr(renewal, "RENEWED_AT", 1.01)
    until, first, second = Until(), token(1, 1.99), token(2, 60)
    given = [first, second]
    async with guarded(Desk(), authenticate=until) as target:
        # Told as valid for one second.
        async with Client(target, credentials=lambda: given.pop(0), config=QUICK) as client:
            async with asyncio.timeout(20):
                while second not in until.asked:
                    # After a stall the first one has expired for the server as well.
                    with contextlib.suppress(fastrpc.CallError):
                        await client.call(Desk.caller)
                    await asyncio.sleep(0.02)
            assert await client.call(Desk.caller) == "ada"
            assert client.stats()["totals"]["connections"] == 1


async def test_tokens_of_seconds_do_not_use_up_the_credentials_of_a_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # PROTOCOL.md 9: ten in a minute.
    assert renewal.MOST_SHOWN == 9
    monkeypatch.setattr(renewal, "MOST_SHOWN", 3)
    monkeypatch.setattr(renewal, "RENEWED_AT", 0.1)
    numbers = iter(range(1_000))
    until = Until()
    async with guarded(Desk(), authenticate=until) as target:
        # The credential states seven seconds, and is renewed every 0.7 s.
        async with Client(target, credentials=lambda: token(next(numbers), 8.0), config=QUICK) as client:
            async with asyncio.timeout(60):
                while len(until.asked) < 5:
                    assert await client.call(Desk.caller) == "ada"
                    await asyncio.sleep(0.01)
            assert client.stats()["totals"]["connections"] == 2
