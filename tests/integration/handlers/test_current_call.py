"""`current_call()` and context variables: visible where they should be, and nowhere else."""

import asyncio
import contextvars
import gc
import threading
import weakref
from dataclasses import dataclass
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, Identity, current_call
from fastrpc.testing import connected, handling, serving
from tests.support.served import SCHEMES, served

pytestmark = pytest.mark.one_loop

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@fastrpc.service("context")
class Context:
    @fastrpc.method
    async def call(self) -> list[Any]:
        call = current_call()
        before = [call.method, call.kind, call.side, call.attempt]
        await asyncio.sleep(0)
        return [*before, current_call() is call]

    @fastrpc.method
    def in_thread(self) -> list[Any]:
        call = current_call()
        return [call.method, call.kind, call.side, call.attempt, current_call() is call]

    @fastrpc.method(inline=True)
    def inline(self) -> list[Any]:
        call = current_call()
        return [call.method, call.kind, call.side, call.attempt, current_call() is call]

    @fastrpc.method
    async def everywhere(self) -> dict[str, bool]:
        call = current_call()
        loop = asyncio.get_running_loop()

        async def child() -> bool:
            await asyncio.sleep(0)
            return current_call() is call

        def callback(future: asyncio.Future[bool]) -> None:
            future.set_result(current_call() is call)

        called: asyncio.Future[bool] = loop.create_future()
        loop.call_soon(callback, called)
        async with fastrpc.timeout(1):
            inside_timeout = current_call() is call
        with fastrpc.detached():
            detached = raises_lookup_error()
        return {
            "task": await asyncio.create_task(child()),
            "gather": all(await asyncio.gather(child(), child())),
            "callback": await called,
            "to_thread": await asyncio.to_thread(lambda: current_call() is call),
            "plain thread": await plain_thread(),
            "timeout": inside_timeout,
            "detached": detached,
            "after": current_call() is call,
        }

    @fastrpc.method
    async def variables(self, value: str) -> str:
        seen = variable.get()
        variable.set(value)
        await asyncio.sleep(0)
        return f"{seen} {variable.get()}"

    @fastrpc.method
    async def variables_at_once(self, value: str) -> str:
        seen = variable.get()
        variable.set(value)
        return f"{seen} {variable.get()}"

    @fastrpc.method
    def variables_in_thread(self, value: str) -> str:
        seen = variable.get()
        variable.set(value)
        return f"{seen} {variable.get()}"

    @fastrpc.method(inline=True)
    def variables_inline(self) -> str:
        return variable.get()

    @fastrpc.method
    async def peer(self) -> list[str]:
        peer = current_call().peer
        return [peer.address.scheme, str(peer)]

    @fastrpc.method
    async def identity(self) -> str:
        identity = current_call().identity
        assert identity is not None
        return identity.name

    @fastrpc.method
    async def state(self, value: int | None = None) -> int | None:
        state: dict[str, int | None] = current_call().state
        state.setdefault("value", value)
        return state["value"]

    @fastrpc.method
    async def arguments(self, a: int, b: int = 2, *, c: int = 3) -> list[Any]:
        return list(current_call().arguments)

    @fastrpc.method(codec="raw")
    async def raw_argument(self, payload: bytes) -> bytes:
        (argument,) = current_call().arguments
        assert argument is payload
        await asyncio.sleep(0)
        (argument,) = current_call().arguments
        return b"the same" if argument is payload else b"another"

    @fastrpc.method(codec="raw")
    def raw_argument_in_thread(self, payload: bytes) -> bytes:
        (argument,) = current_call().arguments
        return b"the same" if argument is payload else b"another"


def raises_lookup_error() -> bool:
    try:
        current_call()
    except LookupError:
        return True
    return False


async def plain_thread() -> bool:
    """Return whether a thread that nobody gave a context finds no call."""
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(raises_lookup_error()))
    thread.start()
    await asyncio.to_thread(thread.join)
    return found == [True]


def test_outside_a_handler_there_is_no_call() -> None:
    with pytest.raises(LookupError, match="handler or an interceptor; none is running here"):
        current_call()
    with (
        fastrpc.detached(),
        pytest.raises(LookupError, match=r"under detached\(\) none is: read what you need before"),
    ):
        current_call()


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_handlers_of_every_kind_have_their_call(scheme: str) -> None:
    async with served(Context, scheme=scheme) as target, Client(target) as client:
        for name in ("call", "in_thread", "inline"):
            answer = await client.call(f"context.{name}")
            assert answer == [f"context.{name}", "unary", "server", 0, True]
        assert raises_lookup_error()


async def test_the_call_is_found_in_child_tasks_callbacks_and_to_thread() -> None:
    async with connected(Context) as client:
        assert await client.call(Context.everywhere) == dict.fromkeys(
            ("task", "gather", "callback", "to_thread", "plain thread", "timeout", "detached", "after"), True
        )


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_the_peer_is_named_by_its_transport(scheme: str) -> None:
    async with served(Context, scheme=scheme) as target, Client(target) as client:
        assert (await client.call(Context.peer))[0] == scheme


async def test_the_testing_identity_is_the_callers() -> None:
    async with connected(Context, identity=Identity("ada")) as client:
        assert await client.call(Context.identity) == "ada"


async def test_arguments_and_state_belong_to_one_call() -> None:
    async with connected(Context) as client:
        assert await client.call(Context.arguments, 1) == [1]
        assert await client.call(Context.arguments, 1, c=4) == [1, 4]
        assert await client.call(Context.raw_argument, b"payload") == b"the same"
        assert await client.call(Context.raw_argument_in_thread, b"payload") == b"the same"
        assert [await client.call(Context.state, n) for n in range(3)] == [0, 1, 2]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["variables", "variables_at_once", "variables_in_thread"])
async def test_variables_of_a_handler_do_not_leak_to_other_handlers(scheme: str, name: str) -> None:
    async with served(Context, scheme=scheme) as target, Client(target) as client:
        for value in ("a", "b"):
            assert await client.call(f"context.{name}", value) == f"unset {value}"
        many = await client.call_many(f"context.{name}", [(str(n),) for n in range(50)])
        assert many == [f"unset {n}" for n in range(50)]
        assert variable.get() == "unset"


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_the_callers_variables_do_not_reach_the_handler(scheme: str) -> None:
    async with served(Context, scheme=scheme) as target, Client(target) as client:
        # Before the connection is made, and over it.
        variable.set("the caller's")
        assert await client.call(Context.variables, "x") == "unset x"
        assert await client.call(Context.variables_inline) == "unset"


@pytest.mark.parametrize("name", ["variables", "variables_in_thread", "variables_inline"])
async def test_variables_of_an_interceptor_are_seen_by_the_handler_alone(name: str) -> None:
    async def setting(call: fastrpc.Call, proceed: fastrpc.Proceed) -> Any:
        assert variable.get() == "unset"
        variable.set("the interceptor's")
        return await proceed(call)

    async with connected(Context, interceptors=[setting]) as client:
        arguments = () if name == "variables_inline" else ("x",)
        for _ in range(3):
            assert (await client.call(f"context.{name}", *arguments)).startswith("the interceptor's")


async def test_interleaved_calls_keep_separate_variables() -> None:
    @fastrpc.service("turns")
    class Turns:
        @fastrpc.method
        async def turns(self, number: int) -> bool:
            variable.set(str(number))
            for _ in range(number % 7):
                await asyncio.sleep(0)
                if variable.get() != str(number) or current_call().arguments != (number,):
                    return False
            return True

    async with connected(Turns) as client:
        assert all(await client.call_many(Turns.turns, [(n,) for n in range(1_000)]))


async def test_the_first_callers_variables_are_not_kept_by_the_connection() -> None:
    class Big:
        pass

    holder: contextvars.ContextVar[Big] = contextvars.ContextVar("holder")

    # The server has a separate loop: asyncio keeps cancelled timers of the client for a while.
    with serving(Context) as target:
        async with Client(target) as client:

            async def first() -> weakref.ref[Big]:
                holder.set(Big())
                await client.call(Context.call)
                return weakref.ref(holder.get())

            reference = await asyncio.create_task(first())
            await client.call(Context.call)
            gc.collect()
            assert reference() is None


@pytest.mark.parametrize("name", ["call", "in_thread", "inline"])
async def test_an_ended_call_leaves_nothing_for_the_garbage_collector(name: str) -> None:
    async with served(Context, scheme="tcp") as target, Client(target) as client:
        await client.call(f"context.{name}")
        gc.collect()
        gc.disable()
        try:
            before = len(gc.get_objects())
            for _ in range(50):
                await client.call(f"context.{name}")
            assert len(gc.get_objects()) - before < 25
        finally:
            gc.enable()


async def test_arguments_are_freed_when_the_call_is_over() -> None:
    kept: list[fastrpc.Call] = []

    @fastrpc.service("keeper")
    class LeaseKeeper:
        @fastrpc.method
        async def keep(self, data: bytes) -> int:
            kept.append(current_call())
            return len(current_call().arguments[0])

    async with connected(LeaseKeeper) as client:
        assert await client.call(LeaseKeeper.keep, bytes(5_000)) == 5_000
        assert kept[0].arguments == ()


async def test_handling_makes_current_call_work_around_a_direct_call() -> None:
    with handling(metadata={"key": "value", "key-bin": b"\x00"}, identity=Identity("ada"), timeout=2) as call:
        assert current_call() is call
        assert call.metadata["key"] == "value"
        assert call.metadata.binary["key-bin"] == b"\x00"
        assert call.identity == Identity("ada")
        assert 1.9 < (call.remaining() or 0) <= 2
        assert await Context().state(5) == 5
        assert not call.cancelled
    assert raises_lookup_error()


async def test_handling_has_a_method_and_a_peer_as_every_call_has() -> None:
    with handling(method="shop.orders.place") as call:
        assert call.method.rpartition(".") == ("shop.orders", ".", "place")
        assert str(call.peer) == str(call.peer.address) == "memory://test"
    with handling() as call:
        assert call.method == "test.handling"


@dataclass
class Weighed:
    grams: int

    def __post_init__(self) -> None:
        try:
            call = current_call().method
        except LookupError:
            call = "no call"
        looks.append((call, variable.get()))


looks: list[tuple[str, str]] = []


async def test_code_of_payload_types_runs_in_no_call() -> None:
    @fastrpc.service("scales")
    class Scales:
        @fastrpc.method
        async def weigh(self, thing: Weighed) -> int:
            variable.set("the handler's")
            return thing.grams

    async with connected(Scales) as client:
        things = [Weighed(grams) for grams in range(3)]
        looks.clear()
        assert await asyncio.gather(*(client.call(Scales.weigh, thing) for thing in things)) == [0, 1, 2]
    assert looks == [("no call", "unset")] * 3


async def test_work_started_by_a_handler_can_outlive_it_detached() -> None:
    results: list[Any] = []
    done = asyncio.Event()

    @fastrpc.service("starter")
    class Starter:
        @fastrpc.method
        async def start(self) -> None:
            async def work() -> None:
                results.append(raises_lookup_error())
                results.append(await client.call(Remaining.remaining))
                done.set()

            with fastrpc.detached():
                results.append(asyncio.create_task(work()))

    @fastrpc.service("remaining")
    class Remaining:
        @fastrpc.method
        async def remaining(self) -> float | None:
            return current_call().remaining()

    async with connected(Starter, Remaining) as client:
        await client.with_options(timeout=0.5).call(Starter.start)
        await done.wait()
        assert results[1] is True
        assert 4.5 < results[2] <= 5


async def test_draining_costs_nothing_until_a_handler_awaits_it() -> None:
    @fastrpc.service("endless")
    class Endless:
        @fastrpc.method
        async def look(self) -> bool:
            # A coroutine that nobody awaits warns, and warnings are errors here.
            return all(current_call().draining is not None for _ in range(3))

        @fastrpc.method
        async def run(self) -> list[bool]:
            draining = current_call().draining
            entered.set()
            return [await draining, await asyncio.create_task(current_call().draining), await draining]

    entered = asyncio.Event()
    async with served(Endless) as target, Client(target) as client:
        assert await client.call(Endless.look)
        gc.collect()
        running = asyncio.create_task(client.call(Endless.run))
        await entered.wait()
        assert await target.server.drain()
        assert await running == [True, True, True]


async def test_a_wait_for_draining_can_be_cancelled() -> None:
    with handling() as call:
        waiting = asyncio.create_task(call.draining)
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        unused = call.draining
        unused.close()
        with pytest.raises(ZeroDivisionError):
            call.draining.throw(ZeroDivisionError())


class Token:
    """Something a handler leaves in the state of its call."""


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("method", ["quick", "slow", "inline", "threaded"])
async def test_an_idle_connection_keeps_no_call_alive(scheme: str, method: str) -> None:
    tokens: list[weakref.ref[Token]] = []

    def leave() -> None:
        token = Token()
        tokens.append(weakref.ref(token))
        current_call().state["token"] = token

    @fastrpc.service("leaver")
    class Leaver:
        @fastrpc.method
        async def quick(self) -> None:
            leave()

        @fastrpc.method
        async def slow(self) -> None:
            leave()
            await asyncio.sleep(0)

        @fastrpc.method(inline=True)
        def inline(self) -> None:
            leave()

        @fastrpc.method
        def threaded(self) -> None:
            leave()

    async with served(Leaver, scheme=scheme) as target, Client(target) as client:
        await client.call(f"leaver.{method}")
        gc.collect()
        assert [token() for token in tokens] == [None]
