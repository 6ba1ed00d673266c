"""The effect of `with_options(priority=)`: the order of waiting calls, and of refusals."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

import fastrpc
from fastrpc import (
    Admission,
    CallError,
    Client,
    Limits,
    Memory,
    OverloadedError,
    ServerConfig,
    Status,
    SyncClient,
    current_call,
)
from fastrpc._core.server.memory_budget import bytes_held
from fastrpc.auth import Policy
from tests.support.guarded import TOKENS
from tests.support.held_calls import held_calls
from tests.support.served import served
from tests.support.threaded_server import ThreadedServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

KIB = 2**10
MIB = 2**20

FULL = Status.RESOURCE_EXHAUSTED.name

#: Seconds for which a handler keeps the loop: longer than the limit of a stall.
STALL = 0.06


@fastrpc.service("desk")
class Desk:
    """Notes in which order its handlers start."""

    def __init__(self, stall: float = 0.0) -> None:
        #: The seconds for which the loop stands still after `block_loop`, before it reads again.
        self.stall = stall
        self.started: list[str] = []
        self.priorities: list[int] = []
        self.go_on = threading.Event()
        self.is_taken = threading.Event()
        self.back: Client | None = None
        self.blocking = [threading.Event() for _ in range(2)]
        self.unblocked = [threading.Event() for _ in range(2)]

    def _note(self, name: str) -> None:
        self.started.append(name)
        self.priorities.append(current_call().priority)

    @fastrpc.method(inline=True)
    def hold_loop(self) -> str:
        time.sleep(STALL)
        return "held"

    @fastrpc.method(inline=True)
    def block_loop(self, number: int) -> int:
        self.blocking[number].set()
        assert self.unblocked[number].wait(20)
        asyncio.get_running_loop().call_soon(time.sleep, self.stall)
        return number

    @fastrpc.method
    async def note(self, name: str, _ballast: bytes = b"") -> str:
        self._note(name)
        return name

    @fastrpc.method
    def note_in_thread(self, name: str) -> str:
        self._note(name)
        return name

    @fastrpc.method
    async def list_notes(self, name: str) -> AsyncIterator[str]:
        self._note(name)
        yield name

    @fastrpc.method
    async def take(self, names: AsyncIterator[str]) -> str:
        found = [name async for name in names]
        self._note(found[0])
        return found[0]

    @fastrpc.method
    def hold_thread(self) -> None:
        self.is_taken.set()
        assert self.go_on.wait(20)

    @fastrpc.method
    async def hold(self) -> None:
        self.is_taken.set()
        while not self.go_on.is_set():
            await asyncio.sleep(0.001)

    @fastrpc.method
    async def keep(self, ballast: bytes) -> int:
        self._note("keep")
        while not self.go_on.is_set():
            await asyncio.sleep(0.001)
        return len(ballast)

    @fastrpc.method
    async def nested(self, name: str) -> int:
        self._note(f"outer {name}")
        assert self.back is not None
        await self.back.call(Desk.note, name)
        return current_call().priority


async def outcomes(calls: Sequence[Any]) -> list[str]:
    """Return the outcomes of calls: their value, or the name of their status."""
    found = await asyncio.gather(*calls, return_exceptions=True)
    names: list[str] = []
    for one in found:
        if isinstance(one, CallError | OverloadedError):
            assert one.processed == "no"
            names.append(one.status.name)
        else:
            assert isinstance(one, str), one
            names.append(one)
    return names


@pytest.mark.parametrize("kind", [Client, SyncClient])
def test_a_priority_has_three_values(kind: Any) -> None:
    for priority in (0, 1, 2):
        assert kind("tcp://127.0.0.1:1").with_options(priority=priority).priority == priority
    for wrong in (-1, 3, True, "high", 1.0):
        with pytest.raises(fastrpc.ConfigError, match="^priority is"):
            kind("tcp://127.0.0.1:1").with_options(priority=wrong)


@pytest.mark.parametrize("kind", [Client, SyncClient])
def test_a_missing_priority_is_normal(kind: Any) -> None:
    for priority in (0, None):
        assert kind("tcp://127.0.0.1:9").with_options(priority=priority).priority == 0


async def test_a_handler_sees_the_priority_and_high_counts_as_normal_there() -> None:
    desk = Desk()
    async with served(desk, scheme="tcp") as target, Client(target) as client:
        for priority in (0, 1, 2):
            view = client.with_options(priority=priority)
            await view.call(Desk.note, "async")
            await view.call("desk.note", "by name")
            await view.call_many(Desk.note, [("batch",)])
            await view.notify(Desk.note, "one-way")
            async with view.stream(Desk.list_notes, "stream") as notes:
                assert [note async for note in notes] == ["stream"]
            await view.call(Desk.take, ["streamed in"])
            await view.call(Desk.note_in_thread, "thread")
            await eventually(lambda wanted=7 * (priority + 1): len(desk.started) == wanted)  # type: ignore[misc]
    assert desk.priorities == [0] * 7 + [1] * 7 + [0] * 7


async def test_every_other_way_to_call_carries_the_priority() -> None:
    async def proceed_only(call: Any, proceed: Any) -> Any:
        return await proceed(call)

    desk = Desk()
    async with served(desk, scheme="tcp") as target:
        async with Client([target, target.replace("127.0.0.1", "localhost")]) as client:
            view = client.with_options(priority=1)
            await view.with_options(timeout=5).request(Desk.note, "request")
            await view.bind(Desk).note("bound")
            await view.broadcast(Desk.note, "broadcast")
            await view.fork(Desk.note, "fork")
            async with view.open(Desk.take) as stream:
                await stream.send("open")
                await stream.end()
                assert await stream.receive() == "open"
            await eventually(lambda: set(desk.started) == {"request", "bound", "broadcast", "fork", "open"})
        async with Client(target, interceptors=[proceed_only], selector="least_loaded") as client:
            await client.with_options(priority=1).call(Desk.note, "intercepted")
    assert set(desk.priorities) == {1}


async def test_a_server_states_the_priority_of_calls_to_its_clients() -> None:
    called = Desk()

    @fastrpc.service("caller")
    class Caller:
        @fastrpc.method
        async def call_back(self, name: str) -> int:
            peer = current_call().peer.client
            assert peer is not None
            await peer.with_options(priority=1).call(Desk.note, name)
            return current_call().priority

    async with served(Caller, scheme="tcp") as target, Client(target, services=[called]) as client:
        assert await client.call(Caller.call_back, "back") == 0
    assert called.priorities == [1]


def test_a_blocking_client_sends_the_priority_too() -> None:
    desk = Desk()
    with ThreadedServer(desk) as server, SyncClient(server.address) as client:
        view = client.with_options(priority=1)
        view.call(Desk.note, "call")
        view.call_many(Desk.note, [("batch",)])
        with view.stream(Desk.list_notes, "stream") as notes:
            assert list(notes) == ["stream"]
    assert desk.priorities == [1, 1, 1]


async def test_calls_of_a_handler_do_not_inherit_its_priority() -> None:
    desk = Desk()
    async with served(desk) as target, Client(target) as client, Client(target) as back:
        desk.back = back
        assert await client.with_options(priority=1).call(Desk.nested, "inner") == 1
    assert dict(zip(desk.started, desk.priorities, strict=True)) == {"outer inner": 1, "inner": 0}


@pytest.mark.parametrize("scheme", ["tcp", "unix", "memory"])
async def test_calls_wait_for_a_place_at_the_server_by_priority(scheme: str) -> None:
    desk = Desk()
    config = ServerConfig(limits=Limits(concurrent_calls=1, streams=1))
    async with served(desk, scheme=scheme, config=config) as target, Client(target) as client:
        await client.ready()
        holding = asyncio.ensure_future(client.call(Desk.hold))
        await eventually(desk.is_taken.is_set)
        calls = []
        for name, priority in (("a", 1), ("b", 0), ("c", 2), ("d", 1), ("e", 0), ("f", 2)):
            calls.append(asyncio.ensure_future(client.with_options(priority=priority).call(Desk.note, name)))
            await eventually(lambda: client.stats()["live"]["waiting"] == len(calls))
        desk.go_on.set()
        await asyncio.gather(holding, *calls)
    assert desk.started == ["c", "f", "b", "e", "a", "d"]


def test_threads_of_a_blocking_client_wait_for_a_place_by_priority() -> None:
    desk = Desk()
    config = ServerConfig(limits=Limits(concurrent_calls=1, streams=1))
    with ThreadedServer(desk, config=config) as server, SyncClient(server.address) as client:
        client.ready()
        threads = [threading.Thread(target=client.call, args=(Desk.hold,))]
        threads[0].start()
        assert desk.is_taken.wait(20)
        for name, priority in (("a", 1), ("b", 0), ("c", 2), ("d", 1), ("e", 0), ("f", 2)):
            view = client.with_options(priority=priority)
            threads.append(threading.Thread(target=view.call, args=(Desk.note, name)))
            threads[-1].start()
            while client.stats()["live"]["waiting"] < len(threads) - 1:
                time.sleep(0)
        desk.go_on.set()
        for thread in threads:
            thread.join(20)
    assert desk.started == ["c", "f", "b", "e", "a", "d"]


async def test_calls_that_wait_for_a_connection_continue_by_priority() -> None:
    desk = Desk()
    config = ServerConfig(limits=Limits(concurrent_calls=1, streams=1))
    async with served(desk, scheme="tcp", config=config) as target, Client(target) as client:
        calls = [
            asyncio.ensure_future(client.with_options(priority=priority).call(Desk.note, name))
            for name, priority in (("a", 1), ("b", 0), ("c", 2), ("d", 1), ("e", 0), ("f", 2))
        ]
        await asyncio.gather(*calls)
    assert desk.started == ["c", "f", "b", "e", "a", "d"]


async def test_calls_that_wait_for_their_start_go_by_priority() -> None:
    """A handler keeps the loop: later bytes wait until the socket was seen empty."""
    desk = Desk()
    with ThreadedServer(desk) as server:
        async with Client(server.address) as client:
            await client.ready()
            calls = [client.call(Desk.hold_loop)]
            for name, priority in (("a", 1), ("b", 0), ("c", 1), ("d", 2), ("e", 0)):
                calls.append(client.with_options(priority=priority).call(Desk.note, name))
            await asyncio.gather(*calls)
    assert desk.started == ["b", "d", "e", "a", "c"]


HIGH_NOTES: list[dict[str, Any]] = [
    {"who": ["ada"], "allow": ["desk.note"], "priority": 2},
    {"who": ["*"], "allow": ["desk.*"]},
]
ADA, BOB = "token-of-ada", "token-of-bob"


async def test_a_rule_can_allow_high_priority_at_the_server() -> None:
    desk = Desk()
    with ThreadedServer(desk, authenticate=TOKENS, authorize=Policy(HIGH_NOTES)) as server:
        async with (
            Client(server.address, credentials=ADA) as one,
            Client(server.address, credentials=ADA) as other,
        ):
            await asyncio.gather(one.ready(), other.ready())
            calls = [one.call(Desk.hold_loop)]
            for name, priority in (("a", 1), ("b", 0), ("c", 2), ("d", 1), ("e", 0)):
                calls.append(one.with_options(priority=priority).call(Desk.note, name))
            calls.append(other.with_options(priority=2).call(Desk.note, "f"))
            await asyncio.gather(*calls)
            assert set(desk.started[:2]) == {"c", "f"}
            assert desk.started[2:] == ["b", "e", "a", "d"]
            await one.with_options(priority=2).call(Desk.note_in_thread, "thread")
    assert desk.priorities == [2, 2, 0, 0, 1, 1, 0]


@pytest.mark.parametrize(
    ("authorize", "token"),
    [
        (Policy(HIGH_NOTES), BOB),
        (Policy([{"who": ["*"], "allow": ["desk.note"]}]), ADA),
        (Policy([{"who": ["ada"], "allow": ["desk.hold_loop"], "priority": 2}, *HIGH_NOTES[1:]]), ADA),
        (lambda identity, route: True, ADA),
        (None, ADA),
    ],
)
async def test_without_a_rule_that_allows_it_no_caller_has_high_priority(authorize: Any, token: str) -> None:
    desk = Desk()
    with ThreadedServer(desk, authenticate=TOKENS, authorize=authorize) as server:
        async with Client(server.address, credentials=token) as client:
            await client.with_options(priority=2).call(Desk.note, "a")
    assert desk.priorities == [0]


async def test_a_credential_of_a_call_decides_whether_it_is_high() -> None:
    desk = Desk()
    with ThreadedServer(desk, authenticate=TOKENS, authorize=Policy(HIGH_NOTES)) as server:
        for token, own in ((BOB, ADA), (ADA, BOB)):
            async with Client(server.address, credentials=token) as client:
                high = client.with_options(priority=2, metadata={"authorization": f"Bearer {own}"})
                await high.call(Desk.note, own)
    assert desk.priorities == [2, 0]


async def test_sheddable_calls_of_one_client_start_after_calls_of_another() -> None:
    desk = Desk()
    with ThreadedServer(desk) as server:
        async with Client(server.address) as one, Client(server.address) as other:
            await asyncio.gather(one.ready(), other.ready())
            calls = [one.call(Desk.hold_loop), one.with_options(priority=1).call(Desk.note, "sheddable")]
            calls.append(other.call(Desk.note, "normal"))
            await asyncio.gather(*calls)
    assert desk.started == ["normal", "sheddable"]


async def sent(*clients: Client) -> None:
    """Wait until the bytes of all calls and cancels have left."""
    await eventually(lambda: all(client.stats()["buffered"] == 0 for client in clients))


@pytest.mark.parametrize("stall", [0.0, 0.15])
@pytest.mark.parametrize("priority", [0, 1])
async def test_no_call_starts_after_its_cancel_arrived_while_another_connection_kept_the_loop(
    priority: int, stall: float
) -> None:
    desk = Desk(stall)
    with ThreadedServer(desk) as server:
        async with Client(server.address) as one, Client(server.address) as other:
            await asyncio.gather(one.ready(), other.ready())
            calls = [asyncio.ensure_future(one.call(Desk.block_loop, 0))]
            view = one.with_options(priority=1)
            waiting = [asyncio.ensure_future(view.call(Desk.note, str(number))) for number in range(20)]
            await asyncio.to_thread(desk.blocking[0].wait, 20)
            calls.append(
                asyncio.ensure_future(other.with_options(priority=priority).call(Desk.block_loop, 1))
            )
            await eventually(
                lambda: (one.stats()["live"]["calls"], other.stats()["live"]["calls"]) == (21, 1)
            )
            await sent(one, other)
            await asyncio.sleep(STALL)
            desk.unblocked[0].set()
            await asyncio.to_thread(desk.blocking[1].wait, 20)
            # Where the calls waited in front of the one that keeps the loop now, they have started before their cancel.
            before = list(desk.started)
            for call in waiting:
                call.cancel()
            await asyncio.wait(waiting)
            await sent(one, other)
            await asyncio.sleep(STALL)
            desk.unblocked[1].set()
            await asyncio.gather(*calls)
            assert await view.call(Desk.note, "last") == "last"
    assert desk.started == [*before, "last"]


async def test_a_full_queue_sheds_the_last_sheddable_call_first() -> None:
    desk = Desk()
    config = ServerConfig(admission=Admission(queue_length=3, queue_age=20))
    with ThreadedServer(desk, config=config) as server:
        async with Client(server.address) as client:
            await client.ready()
            names = (("a", 1), ("b", 0), ("c", 1), ("d", 0), ("e", 1), ("f", 0), ("g", 0))
            once = client.with_options(fail_mode="failfast")
            holding = asyncio.ensure_future(client.call(Desk.block_loop, 0))
            await asyncio.to_thread(desk.blocking[0].wait, 20)
            calls = [
                asyncio.ensure_future(once.with_options(priority=priority).call(Desk.note, name))
                for name, priority in names
            ]
            # They are sent, and the server reads them all at once.
            await asyncio.sleep(STALL)
            desk.unblocked[0].set()
            found = await outcomes(calls)
            await holding
    full = Status.RESOURCE_EXHAUSTED.name
    assert found == [full, "b", full, "d", full, "f", full]
    assert desk.started == ["b", "d", "f"]


async def test_threads_take_calls_by_priority_and_a_full_queue_sheds() -> None:
    desk = Desk()
    config = ServerConfig(admission=Admission(handler_threads=1, queue_length=3, queue_age=20))
    async with served(desk, config=config) as target, Client(target) as client:
        holding = asyncio.ensure_future(client.call(Desk.hold_thread))
        await asyncio.to_thread(desk.is_taken.wait, 20)
        names = (("a", 1), ("b", 0), ("c", 1), ("d", 0), ("e", 1))
        calls = [
            asyncio.ensure_future(
                client.with_options(priority=priority, fail_mode="failfast").call(Desk.note_in_thread, name)
            )
            for name, priority in names
        ]
        await eventually(lambda: calls[2].done() and calls[4].done())
        desk.go_on.set()
        found = await outcomes(calls)
        await holding
    full = Status.RESOURCE_EXHAUSTED.name
    assert found == ["a", "b", full, "d", full]
    assert desk.started == ["b", "d", "a"]


async def test_sheddable_calls_are_refused_before_the_memory_of_requests_is_used_up() -> None:
    desk = Desk()
    config = ServerConfig(
        limits=Limits(message_bytes=4 * MIB), memory=Memory(request_bytes=8 * MIB, process_bytes=2**30)
    )
    async with served(desk, config=config) as target, Client(target) as client:
        held = [asyncio.ensure_future(client.call(Desk.keep, bytes(3 * MIB))) for _ in range(2)]
        await eventually(lambda: len(desk.started) == 2)
        ballast = bytes(3 * MIB // 2)
        with pytest.raises(OverloadedError, match=r"75 % of Memory\.request_bytes"):
            await client.with_options(priority=1).call(Desk.note, "sheddable", ballast)
        assert await client.call(Desk.note, "normal", ballast) == "normal"
        desk.go_on.set()
        await asyncio.gather(*held)
        assert await client.with_options(priority=1).call(Desk.note, "alone", bytes(7 * MIB // 2)) == "alone"


THREE_SHEDDABLE = (("a", 1, 5 * KIB), ("b", 1, 5 * KIB), ("c", 1, 5 * KIB))
THREE_LARGE = (("a", 1, 80 * KIB), ("b", 1, 80 * KIB), ("c", 1, 80 * KIB))


@pytest.mark.parametrize(("size", "shed"), [(192, 1), (288, 2), (416, 0)])
async def test_sheddable_calls_make_room_in_the_memory_of_requests_if_that_is_enough(
    size: int, shed: int
) -> None:
    """Of 1,024 KiB, 240 are held by sheddable calls and 640 by another one."""
    config = ServerConfig(
        limits=Limits(message_bytes=MIB),
        memory=Memory(request_bytes=MIB, send_soft=64 * KIB),
        admission=Admission(queue_age=30),
    )
    async with held_calls(Desk(), config, (*THREE_LARGE, ("large", 0, 640 * KIB))) as found:
        found.add("new", 0, size * KIB)
        await eventually(lambda: found.refused() == (shed or 1))
        await eventually(lambda: found.waiting() == (5 - shed if shed else 4))
    kept = ["a", "b", "c"][: 3 - shed]
    assert await outcomes(found.calls) == [*kept, *[FULL] * shed, "large", "new" if shed else FULL]


@pytest.mark.parametrize(("surplus", "shed"), [(4, 1), (12, 2), (60, 0)])
async def test_sheddable_calls_make_room_in_the_memory_of_the_process_if_that_is_enough(
    surplus: int, shed: int
) -> None:
    """The connections hold more than 85 % of `process_bytes`; three sheddable calls hold 24 KiB of that."""
    config = ServerConfig(
        memory=Memory(process_bytes=16 * MIB, send_soft=64 * KIB),
        limits=Limits(message_bytes=16 * MIB),
        admission=Admission(queue_age=30),
    )
    desk = Desk()
    async with held_calls(desk, config, THREE_SHEDDABLE) as found, Client(found.target) as other:
        size = 16 * MIB * 85 // 100 + surplus * KIB - bytes_held() - 3 * KIB
        held = asyncio.ensure_future(other.call(Desk.keep, bytes(size)))
        await eventually(lambda: desk.started == ["keep"])
        new = asyncio.ensure_future(other.with_options(fail_mode="failfast").call(Desk.note, "new"))
        assert await outcomes([new]) == (["new"] if shed else [FULL])
        assert (found.refused(), found.waiting()) == (shed or 1, 3 - shed)
        desk.go_on.set()
        await held
    assert await outcomes(found.calls) == [*["a", "b", "c"][: 3 - shed], *[FULL] * shed]
