"""The contexts of handlers: each has the variables of the connection that its call came by."""

import asyncio
import weakref
from contextvars import ContextVar, copy_context
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, Server
from tests.support.kept_connection import KeptConnection, gate_for
from tests.support.waiting import eventually

#: More output than `Memory.send_soft` has by default.
MUCH = 64 << 20

user: ContextVar[str] = ContextVar("user", default="nobody")


@fastrpc.service("who")
class Who:
    @fastrpc.method
    async def task(self) -> str:
        return user.get()

    @fastrpc.method
    async def suspended(self) -> str:
        await asyncio.sleep(0)
        return user.get()

    @fastrpc.method(inline=True)
    def inline(self) -> str:
        return user.get()

    @fastrpc.method(inline=True)
    def change_inline(self) -> str:
        user.set("changed")
        return user.get()

    @fastrpc.method
    def thread(self) -> str:
        return user.get()

    @fastrpc.method
    async def change(self) -> str:
        user.set("changed")
        return user.get()


def in_context_of(name: str, act: Any, *arguments: Any) -> None:
    context = copy_context()
    context.run(user.set, name)
    context.run(act, *arguments)


@pytest.mark.parametrize("method", ["task", "suspended", "inline", "thread"])
async def test_a_handler_sees_the_variables_of_its_own_connection(method: str) -> None:
    async with gate_for(Who()) as gate:
        connection = KeptConnection(gate)
        names = ["alice", "bob", "alice", "alice", "carol"]
        for name in names:
            in_context_of(name, connection.call, f"who.{method}")
            await eventually(lambda: len(connection.answers) == 1)
            assert connection.answers.pop() == name


async def test_a_variable_that_a_handler_sets_is_gone_for_the_next_call() -> None:
    async with gate_for(Who()) as gate:
        connection = KeptConnection(gate)
        for method in ("task", "change", "task"):
            in_context_of("alice", connection.call, f"who.{method}")
        assert connection.answers == ["alice", "changed", "alice"]


async def test_engines_in_tasks_of_their_own_do_not_mix_their_variables() -> None:
    async with gate_for(Who()) as gate:

        async def served_connection(name: str) -> list[str]:
            user.set(name)
            connection = KeptConnection(gate)
            for _ in range(3):
                connection.call("who.task")
                await asyncio.sleep(0)
            return connection.answers

        dave, eve = await asyncio.gather(served_connection("dave"), served_connection("eve"))
        assert dave == ["dave"] * 3
        assert eve == ["eve"] * 3


async def test_a_call_that_waited_sees_the_variables_of_its_connection() -> None:
    async with gate_for(Who()) as gate:
        first, second = KeptConnection(gate), KeptConnection(gate)
        for connection, name in ((first, "alice"), (second, "bob")):
            gate.weigh_output(connection, MUCH)
            in_context_of(name, connection.call, "who.task")
            in_context_of(name, connection.call, "who.inline")
        assert gate.admission.waiting == 4
        gate.weigh_output(first, 0)
        gate.weigh_output(second, 0)
        await eventually(lambda: gate.admission.waiting == 0)
        assert (first.answers, second.answers) == (["alice"] * 2, ["bob"] * 2)


async def test_a_variable_that_a_handler_sets_is_not_seen_by_a_call_that_waited_with_it() -> None:
    async with gate_for(Who()) as gate:
        connection = KeptConnection(gate)
        gate.weigh_output(connection, MUCH)
        for method in ("change", "change_inline", "task", "inline"):
            connection.call(f"who.{method}")
        assert gate.admission.waiting == 4
        gate.weigh_output(connection, 0)
        await eventually(lambda: gate.admission.waiting == 0)
        assert connection.answers == ["changed", "changed", "nobody", "nobody"]


async def test_calls_that_wait_keep_no_variables_alive_once_they_ended() -> None:
    class Value:
        pass

    value = Value()
    kept, held = weakref.ref(value), ContextVar[Value]("held")
    async with gate_for(Who()) as gate:
        connection = KeptConnection(gate)
        gate.weigh_output(connection, MUCH)
        context = copy_context()
        context.run(held.set, value)
        # A handler that ends at once leaves its context to the next call.
        context.run(connection.call, "who.suspended")
        del context, value
        assert kept() is not None
        gate.weigh_output(connection, 0)
        await eventually(lambda: gate.admission.waiting == 0)
        await eventually(lambda: connection.answers == ["nobody"])
        await eventually(lambda: kept() is None)


async def test_native_connections_of_two_listeners_do_not_mix_their_variables() -> None:
    async with Server(Who()) as server:
        for name in ("alice", "bob"):
            context = copy_context()
            context.run(user.set, name)
            listening = asyncio.get_running_loop().create_task(
                server.listen("tcp://127.0.0.1:0"), context=context
            )
            async with Client(str(await listening)) as client:
                assert await client.call(Who.task) == name
