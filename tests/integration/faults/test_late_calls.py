"""Calls that wait unread while handlers hold the loop: their time runs, and most of it over they do not start."""

import asyncio
from collections import Counter

import pytest

import fastrpc
from fastrpc import HTTP, Address, Admission, ClientConfig, ServerConfig
from tests.support.blocking import keep_the_loop
from tests.support.overload import LINES, Line
from tests.support.served import Served, served
from tests.support.waiting import eventually

PROTOCOLS = ("native", "http", "rpcx", "grpc")

HELD_SECONDS = 1.2

#: The first is over after that time; of the second less than half is left, with a second to spare; of the third most is
#: left.
EXPIRED, HALF_OVER, LONG = 0.5, 2.3, 60.0

OFFERED = HTTP(jsonrpc=True, websocket=True, mcp=True)

#: No call is refused by its age alone.
PATIENT = Admission(queue_age=60)


@fastrpc.service("held")
class Held:
    """Lets calls of other connections arrive, and then holds the loop."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.began: list[float] = []

    @fastrpc.method(inline=True)
    def hold(self) -> None:
        for line in self.lines:
            line.unsent += line.frame(1)
            line.write()
        keep_the_loop(HELD_SECONDS)

    @fastrpc.method(inline=True, tool=True)
    def kept(self, milliseconds: float) -> float:
        self.began.append(milliseconds)
        return milliseconds

    @fastrpc.method(inline=True)
    def echo(self, value: int) -> int:
        self.began.append(value)
        return value


async def told(held: Held, target: Served, protocol: str, timeouts: list[float]) -> list[int]:
    """Return the statuses of calls with these timeouts, each on its connection, that came while the loop was held."""
    port = Address.parse(target).port
    assert port is not None
    method = "held.echo" if protocol in ("native", "rpcx", "grpc") else "held.kept"
    lines = [LINES[protocol](port, method, LONG) for _ in timeouts]
    for line in lines:
        await opened(line, protocol)
    for line, timeout in zip(lines, timeouts, strict=True):
        line.timeout = timeout
    held.began.clear()
    held.lines = lines
    async with fastrpc.Client(target) as client:
        await client.call(Held.hold)
    statuses = [await answered(line) for line in lines]
    for line in lines:
        line.socket.close()
    return statuses


async def opened(line: Line, protocol: str) -> None:
    """Wait until the server reads a connection."""
    if protocol == "websocket":
        line.write()
        await eventually(lambda: line.read() or line.is_open)
    else:
        line.unsent += line.frame(0)
        line.write()
        assert await answered(line) == fastrpc.Status.OK


async def answered(line: Line) -> int:
    """Return the status of the call that comes next."""
    found: list[tuple[int, int]] = []
    await eventually(lambda: found.extend(line.read()) or found)
    ((_, status),) = found
    return status


@fastrpc.service("turning")
class Turning:
    """Counts the turns of a loop, each of which takes long, before handlers begin."""

    def __init__(self) -> None:
        self.turn = 0
        self.turns_waited: Counter[int] = Counter()

    @fastrpc.method
    async def note(self, turn: int) -> None:
        self.turns_waited[self.turn - turn] += 1

    async def turn_slowly(self) -> None:
        """Let each turn of the loop take longer than a hold."""
        while True:
            self.turn += 1
            keep_the_loop(0.11)
            await asyncio.sleep(0)


@pytest.mark.parametrize("protocol", ["native", "rpcx", "grpc"])
async def test_calls_wait_for_few_turns_of_a_loop_that_stalls_in_each(protocol: str) -> None:
    turning = Turning()
    config = ServerConfig(protocols=PROTOCOLS, admission=PATIENT)
    async with (
        served(turning, scheme="tcp", config=config) as target,
        fastrpc.Client(target, config=ClientConfig(wire_protocol=protocol)) as client,
    ):
        await client.ready()
        slowly = asyncio.ensure_future(turning.turn_slowly())

        async def caller() -> None:
            for _ in range(3):
                await client.call(Turning.note, turning.turn)

        await asyncio.gather(*(caller() for _ in range(16)))
        slowly.cancel()
    # Turns for bytes in the socket, for the reads of the turn before, and for the bytes of the stall.
    assert max(turning.turns_waited) <= 5


@pytest.mark.parametrize("protocol", LINES)
async def test_calls_with_less_than_half_of_their_time_are_refused_next_to_expired_ones(
    protocol: str,
) -> None:
    held = Held()
    config = ServerConfig(admission=PATIENT, protocols=PROTOCOLS, http=OFFERED)
    async with served(held, scheme="tcp", config=config) as target:
        found = await told(held, target, protocol, [EXPIRED, HALF_OVER, LONG])
    assert found == [fastrpc.Status.DEADLINE_EXCEEDED, fastrpc.Status.RESOURCE_EXHAUSTED, fastrpc.Status.OK]
    assert len(held.began) == 1


@pytest.mark.measures  # Two percent of its time decide.
@pytest.mark.parametrize("protocol", LINES)
async def test_a_call_with_hardly_any_time_left_counts_as_expired(protocol: str) -> None:
    held = Held()
    config = ServerConfig(admission=PATIENT, protocols=PROTOCOLS, http=OFFERED)
    async with served(held, scheme="tcp", config=config) as target:
        first, *others = await told(held, target, protocol, [HELD_SECONDS * 1.02, HALF_OVER, LONG])
    # On a busy machine it has expired.
    assert first in (fastrpc.Status.RESOURCE_EXHAUSTED, fastrpc.Status.DEADLINE_EXCEEDED)
    assert others == [fastrpc.Status.RESOURCE_EXHAUSTED, fastrpc.Status.OK]


@pytest.mark.parametrize("protocol", LINES)
async def test_where_nothing_expires_nothing_is_refused(protocol: str) -> None:
    held = Held()
    config = ServerConfig(admission=PATIENT, protocols=PROTOCOLS, http=OFFERED)
    async with served(held, scheme="tcp", config=config) as target:
        assert await told(held, target, protocol, [LONG, 3 * HELD_SECONDS]) == [fastrpc.Status.OK] * 2
    assert len(held.began) == 2


@pytest.mark.parametrize("protocol", LINES)
async def test_a_call_is_refused_by_its_age_although_it_waited_in_its_socket(protocol: str) -> None:
    held = Held()
    config = ServerConfig(admission=Admission(queue_age=0.5), protocols=PROTOCOLS, http=OFFERED)
    async with served(held, scheme="tcp", config=config) as target:
        assert await told(held, target, protocol, [LONG]) == [fastrpc.Status.RESOURCE_EXHAUSTED]
    assert held.began == []
