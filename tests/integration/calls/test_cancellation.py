"""Cancelling a call, from outside and from inside."""

import asyncio
import random
from typing import Any

import anyio
import pytest

import fastrpc
from fastrpc import CallError, Client, Status, current_call
from fastrpc.testing import connected
from tests.support.served import SCHEMES, served
from tests.support.waiting import eventually, overdue_inside


@fastrpc.service("patient")
class Patient:
    def __init__(self) -> None:
        self.inside = asyncio.Event()
        self.told = asyncio.Event()
        self.started = self.cancelled = self.finished = 0
        self.release = asyncio.Event()
        self.flags: list[bool] = []

    @fastrpc.method
    async def wait(self) -> str:
        self.started += 1
        self.inside.set()
        call = current_call()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            self.flags.append(call.cancelled)
            self.told.set()
            raise
        self.finished += 1
        return "done"

    @fastrpc.method
    async def cleans_up(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.told.set()

    @fastrpc.method
    async def in_group(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.wait())
            group.create_task(asyncio.Event().wait())

    @fastrpc.method
    async def echo(self, number: int, turns: int) -> int:
        for _ in range(turns):
            await asyncio.sleep(0)
        return number

    @fastrpc.method
    async def cancels_itself(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel("myself")
        await asyncio.sleep(0)


async def started(client: Client, patient: Patient, call: Any) -> asyncio.Future[Any]:
    """Return a task that awaits a call, once its handler runs."""
    task: asyncio.Future[Any] = asyncio.ensure_future(call)
    await patient.inside.wait()
    return task


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("verb", ["call", "request"])
async def test_a_cancelled_caller_gets_its_message_and_the_handler_is_cancelled(
    scheme: str, verb: str
) -> None:
    patient = Patient()
    async with served(patient, scheme=scheme) as target, Client(target) as client:
        for is_ready in (False, True):
            patient.told.clear()
            patient.inside.clear()
            task = await started(client, patient, getattr(client, verb)(Patient.wait))
            assert task.cancel("x")
            with pytest.raises(asyncio.CancelledError) as cancelled:
                await task
            assert cancelled.value.args == ("x",)
            await patient.told.wait()
            assert patient.flags[-1] is True
            assert client._pool.connections[0].is_ready, is_ready
        await eventually(lambda: client.stats()["live"]["calls"] == 0)
        await eventually(lambda: target.server.stats()["live"]["calls"] == 0)


async def test_asyncio_timeout_around_a_call_cancels_the_handler() -> None:
    patient = Patient()
    async with connected(patient) as client:
        await client.ready()

        async def call() -> None:
            async with asyncio.timeout(0.01):
                await client.call(Patient.wait)

        error = await overdue_inside(call, patient.inside.is_set)
        assert not isinstance(error, fastrpc.FastRPCError)
        await patient.told.wait()
        assert patient.flags == [True]


async def test_wait_for_around_a_call_cancels_the_handler() -> None:
    patient = Patient()
    async with connected(patient) as client:
        await client.ready()
        await overdue_inside(
            lambda: asyncio.wait_for(client.call(Patient.wait), 0.01),  # noqa: TID251
            patient.inside.is_set,
        )
        await patient.told.wait()


async def test_anyio_scopes_around_a_call_cancel_the_handler() -> None:
    patient = Patient()
    async with connected(patient) as client:
        while not patient.inside.is_set():
            with anyio.move_on_after(0.01) as scope:
                await client.call(Patient.wait)
            assert scope.cancelled_caught
        await patient.told.wait()


async def test_a_failing_sibling_in_a_group_cancels_the_handler() -> None:
    patient = Patient()
    async with connected(patient) as client:

        async def fail() -> None:
            await patient.inside.wait()
            raise KeyError("sibling")

        with pytest.raises(ExceptionGroup) as failed:
            async with asyncio.TaskGroup() as group:
                group.create_task(client.call(Patient.wait))
                group.create_task(fail())
        assert [type(error) for error in failed.value.exceptions] == [KeyError]
        await patient.told.wait()


async def test_cancelling_before_the_connection_stands_starts_nothing() -> None:
    patient = Patient()
    async with served(patient, scheme="tcp") as target, Client(target) as client:
        task = asyncio.ensure_future(client.call(Patient.wait))
        await asyncio.sleep(0)
        task.cancel("early")
        with pytest.raises(asyncio.CancelledError, match="early"):
            await task
        assert await client.call(Patient.echo, 1, 0) == 1
        assert patient.started == 0


async def test_cancelling_before_the_first_step_starts_nothing() -> None:
    patient = Patient()
    async with connected(patient) as client:
        await client.ready()
        task = asyncio.ensure_future(client.call(Patient.wait))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await client.call(Patient.echo, 1, 0) == 1
        assert patient.started == 0


async def test_a_handler_may_clean_up_before_its_answer_is_sent() -> None:
    patient = Patient()
    async with connected(patient) as client:
        await client.ready()
        task = asyncio.ensure_future(client.call(Patient.cleans_up))
        await client.call(Patient.echo, 1, 0)
        task.cancel()
        await asyncio.wait([task])
        await patient.told.wait()
        await eventually(lambda: client.stats()["live"]["calls"] == 0)


async def test_child_tasks_of_a_handler_are_cancelled_with_it() -> None:
    patient = Patient()
    async with connected(patient) as client:
        task = await started(client, patient, client.call(Patient.in_group))
        task.cancel()
        await asyncio.wait([task])
        await patient.told.wait()
        assert patient.cancelled == 1


async def test_a_handler_that_cancels_itself_gives_a_status() -> None:
    async with connected(Patient) as client:
        with pytest.raises(CallError) as failed:
            await client.call(Patient.cancels_itself)
        assert failed.value.status is Status.CANCELLED


async def test_a_lost_client_cancels_its_handlers() -> None:
    patient = Patient()
    async with served(patient, scheme="tcp") as target:
        async with Client(target) as client:
            task = await started(client, patient, client.call(Patient.wait))
            client._pool.connections[0].abort()
            await patient.told.wait()
            with pytest.raises(fastrpc.ConnectionLostError):
                await task
        await eventually(lambda: not any(target.server.stats()["live"].values()))


async def test_a_closing_client_cancels_its_handlers() -> None:
    patient = Patient()
    async with served(patient, scheme="tcp") as target:
        async with Client(target) as client:
            task = await started(client, patient, client.call(Patient.wait))
        with pytest.raises(fastrpc.UnavailableError):
            await task
        await patient.told.wait()


async def test_cancelled_calls_free_their_slots_for_other_calls() -> None:
    patient = Patient()
    config = fastrpc.ServerConfig(limits=fastrpc.Limits(concurrent_calls=1, streams=1))
    async with connected(patient, config=config) as client:
        for number in range(50):
            patient.inside.clear()
            task = await started(client, patient, client.call(Patient.wait))
            waiting = asyncio.ensure_future(client.call(Patient.echo, number, 1))
            task.cancel()
            assert await waiting == number
            assert task.cancelled()
        assert patient.cancelled == 50


async def test_cancelling_a_call_that_waits_for_a_slot_frees_its_place() -> None:
    patient = Patient()
    config = fastrpc.ServerConfig(limits=fastrpc.Limits(concurrent_calls=1, streams=1))
    async with connected(patient, config=config) as client:
        first = await started(client, patient, client.call(Patient.wait))
        waiting = [asyncio.ensure_future(client.call(Patient.wait)) for _ in range(10)]
        await eventually(lambda: client.stats()["live"]["waiting"] == 10)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        assert client.stats()["live"]["waiting"] == 0
        patient.release.set()
        assert await first == "done"
        assert await client.call(Patient.echo, 1, 0) == 1
        assert patient.started == 1


@pytest.mark.parametrize("scheme", ["memory", "tcp"])
async def test_thousands_of_cancelled_handlers_are_notified(scheme: str, scale: Any) -> None:
    patient = Patient()
    count = min(scale(4_000), fastrpc.Limits().concurrent_calls)
    async with served(patient, scheme=scheme) as target, Client(target) as client:
        await client.ready()
        tasks = [asyncio.ensure_future(client.call(Patient.wait)) for _ in range(count)]
        await eventually(lambda: patient.started == count)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await eventually(lambda: patient.cancelled == count)
        await eventually(lambda: client.stats()["live"]["calls"] == 0)
        assert target.server.stats()["live"]["calls"] == 0
        assert client.stats()["buffered"] == 0


async def test_cancels_at_random_moments_never_cross_answers(scale: Any) -> None:
    chance = random.Random(1)
    wrong: list[Any] = []

    async def one(number: int) -> None:
        task = asyncio.ensure_future(client.call(Patient.echo, number, number % 5))
        for _ in range(chance.randrange(8)):
            await asyncio.sleep(0)
        if chance.random() < 0.5:
            task.cancel(number)
        try:
            if await task != number:
                wrong.append(number)
        except asyncio.CancelledError as error:
            if error.args != (number,):
                wrong.append(error)

    async with served(Patient, scheme="tcp") as target, Client(target) as client:
        for start in range(0, scale(3_000), 100):
            await asyncio.gather(*(one(start + n) for n in range(100)))
        assert wrong == []
        await eventually(lambda: client.stats()["live"]["calls"] == 0)
        assert target.server.stats()["live"]["calls"] == 0
