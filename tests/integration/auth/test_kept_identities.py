"""A call keeps the identity that it started with, even if the identity of its connection changes."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, Server, SyncClient
from fastrpc.auth import AnyOf, Identity, Policy, StaticTokens
from fastrpc.auth.verdict import Answer, Presented, Refusal, Verdict
from fastrpc.client import renewal
from tests.support.either_client import CLIENTS
from tests.support.guarded import calling
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


def who() -> list[str] | None:
    """Return the roles of the caller, None for nobody."""
    caller = fastrpc.current_call().identity
    return None if caller is None else sorted(caller.roles)


@fastrpc.service("desk")
class Desk:
    def __init__(self) -> None:
        self.began, self.may_end = asyncio.Event(), asyncio.Event()
        self.reload: Any = None

    async def both(self) -> list[Any]:
        found = [who()]
        self.began.set()
        await self.may_end.wait()
        return [*found, who()]

    @fastrpc.method
    async def work(self) -> list[Any]:
        return await self.both()

    @fastrpc.method(public=True)
    async def open_work(self) -> list[Any]:
        return await self.both()

    @fastrpc.method
    async def ticks(self) -> AsyncIterator[Any]:
        for found in await self.both():
            yield found

    @fastrpc.method
    async def total(self, numbers: AsyncIterator[int]) -> list[Any]:
        found = await self.both()
        async for _ in numbers:
            found.append(who())
        return found

    @fastrpc.method
    def in_thread(self) -> list[Any]:
        found = [who()]
        self.began.set()
        while not self.may_end.is_set():
            time.sleep(0.005)
        return [*found, who()]

    @fastrpc.method
    async def read_again(self) -> list[Any]:
        found = [who()]
        self.reload()
        return [*found, who()]

    @fastrpc.method
    async def now(self) -> list[str] | None:
        return who()


def listed(path: Path, role: str) -> None:
    path.write_text(f'[[token]]\ntoken = "one"\nname = "ada"\nroles = ["{role}"]\n')


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("scheme", ["tcp://127.0.0.1:0", "unix", "memory://kept-identities"])
@pytest.mark.parametrize("method", ["work", "in_thread", "ticks", "total"])
async def test_a_call_keeps_its_roles_when_the_file_of_tokens_gives_others(
    kind: str, scheme: str, method: str, tmp_path: Path
) -> None:
    if kind == "sync" and scheme.startswith("memory"):
        pytest.skip("a SyncClient has no memory transport")
    listed(tmp_path / "tokens", "reader")
    desk = Desk()
    address = f"unix://{tmp_path}/socket" if scheme == "unix" else scheme
    async with Server(desk, authenticate=StaticTokens.from_file(tmp_path / "tokens")) as server:
        target = str(await server.listen(address))
        async with calling(kind, target, credentials="one") as client:
            if method == "ticks":
                async with client.stream(Desk.ticks) as ticks:
                    first = asyncio.ensure_future(ticks.receive())
                    await changed(server, desk, tmp_path / "tokens")
                    assert [await first, await ticks.receive()] == [["reader"]] * 2
            else:
                arguments = ([1],) if method == "total" else ()
                working = asyncio.ensure_future(client.call(getattr(Desk, method), *arguments))
                await changed(server, desk, tmp_path / "tokens")
                assert await working == [["reader"]] * (2 + len(arguments))
            assert await client.call(Desk.now) == ["admin"]


async def changed(server: Server, desk: Desk, path: Path) -> None:
    """Give the caller another role while a call of it runs."""
    await eventually(desk.began.is_set)
    listed(path, "admin")
    server.reload()
    await asyncio.sleep(0)
    desk.may_end.set()


async def test_a_handler_keeps_its_roles_when_files_are_read_again_during_its_run(tmp_path: Path) -> None:
    listed(tmp_path / "tokens", "reader")
    desk = Desk()
    async with Server(desk, authenticate=StaticTokens.from_file(tmp_path / "tokens")) as server:

        def reload() -> None:
            # Not earlier: the server looks at its files by itself, where the call begins late.
            listed(tmp_path / "tokens", "admin")
            server.reload()

        desk.reload = reload
        target = str(await server.listen("tcp://127.0.0.1:0"))
        async with Client(target, credentials="one") as client:
            assert await client.call(Desk.read_again) == [["reader"]] * 2
            assert await client.call(Desk.now) == ["admin"]


class Renewed:
    """Accepts every token as Ada's, with the token as her role, for a time."""

    version = 0

    def look(self) -> None:
        """Nothing changes."""

    def handles(self, peer: Presented) -> bool:
        return peer.credentials is not None

    def verify(self, peer: Presented) -> Answer:
        return Verdict(Identity("ada", roles={peer.credentials or ""}), time.time() + 8.0)


async def test_a_call_keeps_its_roles_when_the_credential_is_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    # A machine that stalls has seconds left for the renewal.
    monkeypatch.setattr(renewal, "RENEWED_AT", 0.1)
    desk, tokens = Desk(), [f"role-{number}" for number in range(100)]
    async with Server(desk, authenticate=Renewed()) as server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        async with Client(target, credentials=lambda: tokens.pop(0)) as client:
            working = asyncio.ensure_future(client.call(Desk.work))
            await desk.began.wait()
            while (now := await client.call(Desk.now)) == ["role-0"]:
                await asyncio.sleep(0.02)
            assert now == ["role-1"]
            desk.may_end.set()
            assert await working == [["role-0"]] * 2


class Later:
    """Takes time to say that it does not know a token."""

    version = 0

    def look(self) -> None:
        """Nothing changes."""

    def handles(self, peer: Presented) -> bool:
        return peer.credentials is not None

    async def verify(self, peer: Presented) -> Refusal:
        await asyncio.sleep(0)
        return Refusal("unknown here")


async def test_roles_that_a_file_takes_away_go_though_another_authenticator_takes_time(
    tmp_path: Path,
) -> None:
    file = tmp_path / "tokens.toml"
    file.write_text('[[token]]\ntoken = "aaa"\nname = "ada"\nroles = ["admin"]')
    authenticate = AnyOf(Later(), StaticTokens.from_file(file))
    async with Server(Desk(), authenticate=authenticate) as server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        async with Client(target, credentials="aaa") as client:
            assert await client.call(Desk.now) == ["admin"]
            file.write_text('[[token]]\ntoken = "aaa"\nname = "ada"\nroles = ["reader"]')
            server.reload()
            async with asyncio.timeout(20):
                while (now := await client.call(Desk.now)) == ["admin"]:
                    await asyncio.sleep(0.01)
            assert now == ["reader"]
            assert client.stats()["totals"]["connections"] == 1


@fastrpc.service("kept")
class Kept:
    """Keeps the calls that it serves."""

    def __init__(self) -> None:
        self.calls: list[fastrpc.Call] = []
        self.later: list[asyncio.Task[fastrpc.Call]] = []
        self.may_look = asyncio.Event()

    def keep(self) -> None:
        self.calls.append(fastrpc.current_call())

    @fastrpc.method
    async def at_once(self) -> None:
        self.keep()

    @fastrpc.method
    async def in_steps(self) -> None:
        await asyncio.sleep(0)
        self.keep()

    @fastrpc.method
    def in_thread(self) -> None:
        self.keep()

    @fastrpc.method(inline=True)
    def inline(self) -> None:
        self.keep()

    @fastrpc.method
    async def failing(self) -> None:
        self.keep()
        raise fastrpc.CallError(fastrpc.Status.ABORTED, "as it was asked to")

    @fastrpc.method
    async def ticks(self) -> AsyncIterator[int]:
        self.keep()
        yield 1

    @fastrpc.method
    async def afterwards(self) -> None:
        self.later.append(asyncio.ensure_future(self.look()))

    async def look(self) -> fastrpc.Call:
        await self.may_look.wait()
        return fastrpc.current_call()

    @fastrpc.method(public=True)
    async def open_keep(self) -> None:
        self.keep()


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_call_object_kept_after_its_end_still_names_its_caller(kind: str, tmp_path: Path) -> None:
    listed(tmp_path / "tokens", "reader")
    kept = Kept()
    async with Server(kept, Desk(), authenticate=StaticTokens.from_file(tmp_path / "tokens")) as server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        async with calling(kind, target, credentials="one") as client:
            for method in (Kept.at_once, Kept.in_steps, Kept.in_thread, Kept.inline, Kept.afterwards):
                await client.call(method)
            with pytest.raises(fastrpc.CallError):
                await client.call(Kept.failing)
            async with client.stream(Kept.ticks) as ticks:
                assert await ticks.receive() == 1
            listed(tmp_path / "tokens", "admin")
            server.reload()
            for _ in range(3):
                assert await client.call(Desk.now) == ["admin"]
            await client.call(Kept.at_once)
            kept.may_look.set()
            calls = [*kept.calls, *(await asyncio.gather(*kept.later))]
    roles = [None if call.identity is None else sorted(call.identity.roles) for call in calls]
    assert roles == [*([["reader"]] * 6), ["admin"], ["reader"]]


async def test_a_kept_call_that_nobody_made_stays_one_of_nobody() -> None:
    kept = Kept()
    async with Server(kept, authenticate=Renewed()) as server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        async with Client(target) as client:
            await client.call(Kept.open_keep)
            [session] = server._gate.engines  # type: ignore[union-attr]
            session.identify(Identity("ada"), 60.0)
            await client.call(Kept.open_keep)
    assert [call.identity and call.identity.name for call in kept.calls] == [None, "ada"]


async def test_a_call_that_nobody_made_stays_one_of_nobody() -> None:
    desk = Desk()
    async with Server(desk, authenticate=Renewed()) as server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        async with Client(target) as client:
            working = asyncio.ensure_future(client.call(Desk.open_work))
            await desk.began.wait()
            [session] = server._gate.engines  # type: ignore[union-attr]
            session.identify(Identity("ada"), 60.0)
            desk.may_end.set()
            assert await working == [None, None]


async def test_a_changed_policy_verifies_no_credential_again(tmp_path: Path) -> None:
    """A thousand connections would have as many signatures checked at once."""

    class Counting(Renewed):
        asked = 0

        def verify(self, peer: Presented) -> Answer:
            self.asked += 1
            return Verdict(Identity("ada"))

    counting, policy = Counting(), tmp_path / "policy.toml"
    policy.write_text('[[rule]]\nwho = ["ada"]\nallow = ["desk.*"]')
    async with Server(Desk(), authenticate=counting, authorize=Policy.from_file(policy)) as server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        with SyncClient(target, credentials="one") as client:
            assert await asyncio.to_thread(client.call, Desk.now) == []
            policy.write_text('[[rule]]\nwho = ["ada"]\nallow = ["desk.work"]')
            server.reload()
            with pytest.raises(fastrpc.CallError, match="may not call"):
                await asyncio.to_thread(client.call, Desk.now)
    assert counting.asked == 1
