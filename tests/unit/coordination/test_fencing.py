"""Holders that are paused and cut off at random: tokens rise with each hold, and a table refuses old ones."""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

import pytest

from fastrpc.coordination.locks import LEADERS, LOCKS, Lock
from fastrpc.errors import StoreError
from fastrpc.stores.base import Item, ItemChange, StoreLimits
from fastrpc.stores.local import LocalStore
from tests.conftest import Scale
from tests.support.virtual_time import pass_time

T = TypeVar("T")

TTL = 5.0


class Member:
    """A process of the test: its clock stands still while it is paused, its requests hang while its link is cut.

    In order, a lock asks for its item and for the list at the same time, and either may be first.
    """

    def __init__(self, store: LocalStore, chance: random.Random, *, in_order: bool = False) -> None:
        self.limits = StoreLimits(in_order=in_order)
        self._store = store
        self._chance = chance
        self._frozen: float | None = None
        self.runs = asyncio.Event()
        self.is_linked = asyncio.Event()
        self.runs.set()
        self.is_linked.set()
        self.is_inside = False

    def clock(self) -> float:
        return asyncio.get_running_loop().time() if self._frozen is None else self._frozen

    async def pause(self, seconds: float) -> None:
        self._frozen = self.clock()
        self.runs.clear()
        await pass_time(seconds)
        self._frozen = None
        self.runs.set()

    async def cut(self, seconds: float) -> None:
        self.is_linked.clear()
        await pass_time(seconds)
        self.is_linked.set()

    async def _pass(self) -> None:
        await pass_time(self._chance.random() * 0.05)
        await self.runs.wait()
        await self.is_linked.wait()

    async def _ask(self, ask: Callable[[], Awaitable[T]]) -> T:
        await self._pass()
        answer = await ask()
        await self._pass()
        return answer

    def __getattr__(self, name: str) -> Any:
        """Pass on the requests of a store."""
        return lambda *arguments, **options: self._ask(
            lambda: getattr(self._store, name)(*arguments, **options)
        )

    async def watch(self, watched: str, *, after: int | None = None) -> AsyncGenerator[ItemChange, None]:
        await self._pass()
        async with aclosing(self._store.watch(watched, after=after)) as changes:
            async for change in changes:
                await self._pass()
                yield change


class Run:
    """Members that hold one lock by turns, and the fenced table that they write."""

    def __init__(self, store: LocalStore, chance: random.Random, kind: type[Lock], folder: str) -> None:
        self.store = store
        self._chance = chance
        self._kind = kind
        self._folder = folder
        self.entered: list[int] = []
        self.highest = self.refused = self.overlaps = self.lost = self.out_of_turn = 0

    async def work(self, member: Member) -> None:
        while True:
            try:
                lock = self._kind(
                    member,  # type: ignore[arg-type]
                    "job",
                    folder=self._folder,
                    ttl=TTL,
                    clock=member.clock,
                )
                async with lock:
                    self.entered.append(lock.token)
                    self.out_of_turn += await self.store.get(f"{self._folder}job/{lock.lease.id}") is None
                    items = (await self.store.list(f"{self._folder}job/")).items
                    self.out_of_turn += any(item.created < lock.token for item in items)
                    member.is_inside = True
                    await self._write(member, lock.token)
            except StoreError:
                self.lost += 1
            finally:
                member.is_inside = False

    async def _write(self, member: Member, token: int) -> None:
        for _ in range(self._chance.randrange(1, 6)):
            await pass_time(self._chance.random())
            await member.runs.wait()
            if token < self.highest:
                self.refused += 1
            self.highest = max(self.highest, token)

    async def disturb(self, members: list[Member]) -> None:
        for _ in range(25):
            await pass_time(self._chance.random() * 3)
            self.overlaps += sum(member.is_inside for member in members) > 1
            member = self._chance.choice(members)
            await self._chance.choice([member.pause, member.cut])(self._chance.random() * 3 * TTL)
            self.overlaps += sum(member.is_inside for member in members) > 1


async def ran(seed: int, kind: type[Lock] = Lock, folder: str = LOCKS, *, in_order: bool = False) -> Run:
    chance = random.Random(seed)
    async with LocalStore(clock=asyncio.get_running_loop().time) as store:
        run = Run(store, chance, kind, folder)
        members = [Member(store, chance, in_order=in_order) for _ in range(4)]
        workers = [asyncio.create_task(run.work(member)) for member in members]
        await run.disturb(members)
        for worker in workers:
            worker.cancel()
        await asyncio.wait(workers)
        assert all(worker.cancelled() for worker in workers)
    return run


@pytest.mark.virtual_time
@pytest.mark.parametrize("folder", [LOCKS, LEADERS])
@pytest.mark.parametrize("in_order", [False, True])
async def test_tokens_rise_with_each_hold_despite_any_fate_of_holders(
    folder: str, in_order: bool, scale: Scale
) -> None:
    runs = [await ran(seed, folder=folder, in_order=in_order) for seed in range(scale(3))]
    for run in runs:
        assert len(run.entered) > 5
        assert run.entered == sorted(set(run.entered))
        assert run.out_of_turn == 0
    # Two held at once, and without the table the late writes would have stood.
    assert sum(run.overlaps for run in runs) > 0
    assert sum(run.refused for run in runs) > 0
    assert sum(run.lost for run in runs) > 0


class NoSecondLook(Lock):
    """A mistake: after the wait nothing is read again."""

    async def _look_after_change(
        self, ahead: list[Item[bytes]], revision: int
    ) -> tuple[list[Item[bytes]], int]:
        await super()._look_after_change(ahead, revision)
        return [], revision


@pytest.mark.virtual_time
async def test_missing_second_look_is_found() -> None:
    for seed in range(100):
        if (await ran(seed, NoSecondLook)).out_of_turn:
            return
    pytest.fail("no run of 100 shows the mistake")
