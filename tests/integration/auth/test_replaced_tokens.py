"""Tokens that are replaced while clients are connected, on both sides by files."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, Client, Server, Status, watched_file
from fastrpc.auth import StaticTokens, TokenFile
from fastrpc.coordination import RegistryServer
from tests.support.either_client import CLIENTS, Stepped

pytestmark = pytest.mark.one_loop

#: A connection that ends sooner than this is taken for a failed one, which is dialled again with a pause.
QUICK = fastrpc.ClientConfig(backoff=fastrpc.config.Backoff(first=0.001))


@fastrpc.service("bank")
class Bank:
    def __init__(self) -> None:
        self.began, self.may_end = asyncio.Event(), asyncio.Event()

    @fastrpc.method
    async def news(self) -> AsyncIterator[str]:
        yield "begun"
        await self.may_end.wait()

    @fastrpc.method
    async def work(self) -> str:
        self.began.set()
        await self.may_end.wait()
        return "done"

    @fastrpc.method
    async def caller(self) -> str:
        identity = fastrpc.current_call().identity
        assert identity is not None
        return identity.name


class Files:
    """The file of tokens of a server, and the token file of a client."""

    def __init__(self, folder: Path) -> None:
        self.tokens, self.token = folder / "tokens.toml", folder / "token"
        self.write("old", "old")

    def write(self, accepted: str, shown: str) -> None:
        for file, text in (
            (self.tokens, f'[[token]]\ntoken = "{accepted}"\nname = "ada"'),
            (self.token, shown),
        ):
            # As one, as tools for secrets do it.
            (file.parent / "new").write_text(text)
            os.replace(file.parent / "new", file)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


async def status_of(client: Any) -> Status:
    """Call once."""
    try:
        assert await client.call(Bank.caller) == "ada"
    except fastrpc.FastRPCError as error:
        return error.status
    return Status.OK


async def until(client: Any, status: Status) -> None:
    """Call until a call ends so: files count once two looks agree."""
    async with asyncio.timeout(20):
        while (found := await status_of(client)) is not status:
            assert found in {Status.OK, Status.UNAUTHENTICATED}
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_client_connects_again_with_the_new_token(files: Files, kind: str) -> None:
    async with Server(Bank, authenticate=StaticTokens.from_file(files.tokens)) as server:
        address = str(await server.listen("tcp://127.0.0.1:0"))
        options: dict[str, Any] = {"credentials": TokenFile(files.token), "config": QUICK}
        with fastrpc.SyncClient(address, **options) as blocking:
            async with Client(address, **options) as asynchronous:
                client: Any = asynchronous if kind == "async" else Stepped(blocking)
                assert await client.call(Bank.caller) == "ada"
                files.write("new", "new")
                server.reload()
                # The client takes the new token once two looks at its file agree: after a stall at once.
                assert await status_of(client) in {Status.UNAUTHENTICATED, Status.OK}
                await until(client, Status.OK)
                # From then on nothing fails.
                assert [await status_of(client) for _ in range(20)] == [Status.OK] * 20


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_client_with_a_fixed_token_stays_refused(files: Files, kind: str) -> None:
    async with Server(Bank, authenticate=StaticTokens.from_file(files.tokens)) as server:
        address = str(await server.listen("tcp://127.0.0.1:0"))
        with fastrpc.SyncClient(address, credentials="old", config=QUICK) as blocking:
            async with Client(address, credentials="old", config=QUICK) as asynchronous:
                client: Any = asynchronous if kind == "async" else Stepped(blocking)
                assert await client.call(Bank.caller) == "ada"
                files.write("new", "new")
                server.reload()
                assert [await status_of(client) for _ in range(4)] == [Status.UNAUTHENTICATED] * 4
                # It is accepted again.
                files.write("old", "old")
                server.reload()
                await until(client, Status.OK)


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_stream_ends_with_its_token_although_nobody_calls(files: Files, kind: str) -> None:
    async with Server(Bank, authenticate=StaticTokens.from_file(files.tokens)) as server:
        address = str(await server.listen("tcp://127.0.0.1:0"))
        with fastrpc.SyncClient(address, credentials="old") as blocking:
            async with Client(address, credentials="old") as asynchronous:
                client: Any = asynchronous if kind == "async" else Stepped(blocking)
                async with client.stream(Bank.news) as news:
                    assert await news.receive() == "begun"
                    files.write("new", "new")
                    with pytest.raises(fastrpc.FastRPCError) as ended:
                        await news.receive()
                assert ended.value.status is Status.UNAUTHENTICATED


async def test_a_unary_call_under_way_ends_although_its_token_is_removed(files: Files) -> None:
    bank = Bank()
    async with Server(bank, authenticate=StaticTokens.from_file(files.tokens)) as server:
        address = str(await server.listen("tcp://127.0.0.1:0"))
        async with Client(address, credentials="old") as client:
            working = asyncio.ensure_future(client.call(Bank.work))
            await bank.began.wait()
            files.write("new", "new")
            server.reload()
            await until(client, Status.UNAUTHENTICATED)
            bank.may_end.set()
            assert await working == "done"


async def test_a_broken_token_file_keeps_the_token_before_it(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    shown = TokenFile(files.token)
    assert shown() == "old"
    files.write("old", "planted secret")
    async with asyncio.timeout(20):
        while not caplog.records:
            assert shown() == "old"
            await asyncio.sleep(0.05)
    [record] = caplog.records
    assert (record.name, record.levelno) == ("fastrpc.audit", logging.WARNING)
    assert "the token file cannot be used, the old content stays" in record.getMessage()
    assert "planted" not in caplog.text
    files.write("old", "  newer\n")
    async with asyncio.timeout(20):
        while shown() != "newer":
            await asyncio.sleep(0.05)
    assert "newer" not in repr(shown)
    assert "newer" not in caplog.text


async def test_a_registered_server_stays_registered_with_the_new_token(
    files: Files, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its old token is refused before the file with the new one counts.
    monkeypatch.setattr(watched_file, "LOOK_SECONDS", 1.0)
    caplog.set_level(logging.INFO, "fastrpc.registry")
    tokens = StaticTokens.from_file(files.tokens)
    async with RegistryServer("tcp://127.0.0.1:0", authenticate=tokens) as registry:
        url = f"{registry.url}?ttl=2&token_file={files.token}"
        async with Server(Bank, registry=url) as server:
            await server.listen("tcp://127.0.0.1:0")
            files.write("new", "new")
            registry.reload()
            async with asyncio.timeout(20):
                while " is registered" not in caplog.text:
                    await asyncio.sleep(0.05)
            async with Client(f"{registry.url}/bank?token=new") as client:
                with pytest.raises(CallError) as refused:
                    await client.with_options(wait_for_ready=True).call(Bank.caller)
                assert refused.value.status is Status.INTERNAL  # It has no identity there, and was found.
