"""Calls that wait for their start."""

import asyncio
from collections.abc import AsyncIterator

import pytest

import fastrpc
from fastrpc import Admission, Limits, Memory, OverloadedError, ServerConfig
from fastrpc._core.server.served_call import WaitingCalls
from tests.conftest import Scale
from tests.support.frame_factory import opening, request
from tests.support.held_calls import Bulk, held_calls
from tests.support.peer_writing import write_to
from tests.support.served import served
from tests.support.waiting import eventually
from tests.support.wire_frames import Data
from tests.support.wire_layout import FLAG_STREAM_IN

NAMES = (("a", 1, 0), ("b", 0, 0), ("c", 1, 0), ("d", 0, 0), ("e", 2, 0), ("f", 1, 0))


@fastrpc.service("desk")
class Desk:
    def __init__(self) -> None:
        self.started: list[str] = []

    @fastrpc.method
    async def note(self, name: str, _ballast: bytes) -> str:
        self.started.append(name)
        return name

    @fastrpc.method
    async def count(self, name: str, given: AsyncIterator[bytes]) -> int:
        self.started.append(name)
        return len([each async for each in given])


def config(*, queue_age: float = 30, queue_length: int = 100) -> ServerConfig:
    return ServerConfig(
        memory=Memory(send_soft=65_536), admission=Admission(queue_age=queue_age, queue_length=queue_length)
    )


def test_nothing_waits_at_first() -> None:
    waiting = WaitingCalls(0)
    assert (len(waiting), list(waiting)) == (0, [])
    assert (waiting.sheddable_bytes, waiting.sheddable_records) == (0, 0)


async def test_calls_leave_by_priority_and_then_by_arrival_also_after_some_were_dropped() -> None:
    desk = Desk()
    async with held_calls(desk, config(), NAMES) as held:
        for index in (2, 3):
            held.calls[index].cancel()
        await eventually(lambda: held.waiting() == 4)
    # A server counts priority 2 as 0.
    assert desk.started == ["b", "e", "a", "f"]


@pytest.mark.parametrize("share", [0.1, 0.6, 0.95])
async def test_calls_leave_in_order_after_many_of_each_priority_were_dropped(
    share: float, scale: Scale
) -> None:
    random, desk = scale.random(1), Desk()
    left: dict[int, tuple[str, int]] = {}
    async with held_calls(desk, config(queue_length=1_000), ()) as held:
        for count in (300, 60, 240):
            # Later calls take places after gaps, or the places of the last calls that left.
            for _ in range(count):
                left[len(held.calls)] = (f"call {len(held.calls)}", random.choice((0, 1)))
                held.add(*left[len(held.calls)], 0)
            await eventually(lambda: held.waiting() == len(left))
            for index in random.sample(sorted(left), int(share * len(left))):
                held.calls[index].cancel()
                del left[index]
            await eventually(lambda: held.waiting() == len(left))
    kept = sorted(left.values(), key=lambda entry: entry[1])
    assert desk.started == [name for name, _ in kept]


async def test_a_stream_that_is_refused_while_it_waits_is_no_room_that_others_could_have() -> None:
    most = 70_000
    memory = ServerConfig(memory=Memory(send_soft=65_536), limits=Limits(message_bytes=most))
    async with served(Desk, Bulk, scheme="unix", config=memory) as target:
        _, writer = await asyncio.open_unix_connection(target.removeprefix("unix://"), limit=1)
        gate = target.server._gate
        assert gate is not None
        write_to(writer, opening(False))
        # More than the sockets take.
        for number in range(1, 80, 2):
            write_to(
                writer, request(number, b"\x91\xce" + (60_000).to_bytes(4), method=b"bulk.answer", codec=1)
            )
        await eventually(lambda: gate.admission.waiting > 0)
        stream = {"method": b"desk.count", "codec": 1, "flags": FLAG_STREAM_IN, "priority": 1}
        write_to(writer, request(101, b"\x91\xa3abc", **stream))
        await eventually(lambda: gate.admission.prioritised.sheddable.count == 1)
        assert gate.admission.prioritised.sheddable_bytes == 5
        write_to(writer, Data(101, b"first piece", more=True, total=most + 1).encode())
        await eventually(lambda: gate.admission.prioritised.sheddable.count == 0)
        assert gate.admission.prioritised.sheddable_bytes == 0
        writer.close()


async def test_the_sheddable_call_that_came_last_and_still_waits_makes_room() -> None:
    desk = Desk()
    async with held_calls(desk, config(queue_length=6), NAMES) as held:
        held.calls[5].cancel()
        await eventually(lambda: held.waiting() == 5)
        held.add("g", 0, 0)
        await eventually(lambda: held.waiting() == 6)
        held.add("h", 0, 0)
        await eventually(lambda: held.refused() == 2)
    assert desk.started == ["b", "d", "e", "g", "h", "a"]


async def test_calls_of_every_priority_wait_as_long_as_they_may_and_no_longer() -> None:
    desk = Desk()
    async with held_calls(desk, config(queue_age=1), NAMES) as held:
        await eventually(lambda: held.refused() == len(NAMES))
        assert held.waiting() == 0
    assert desk.started == []
    for error in await asyncio.gather(*held.calls, return_exceptions=True):
        assert isinstance(error, OverloadedError)
        assert "Admission.queue_age" in str(error)
