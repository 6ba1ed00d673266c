"""The program whose instructions are counted: `python -m bench.guard.worker`, under callgrind.

Each path runs warm, then some number of times and twice that number, with a mark before, between and after, and its
name is printed: the difference of the two counts is exactly the cost of that number.
"""

import asyncio
import gc
import itertools
import os
from collections.abc import Callable

import uvloop

from bench.guard.paths import BATCH, CALL_PATHS, CORE_PATHS, CallPath, connected, listening, load
from bench.guard.tape import Line, RecordedTransport, Tape

#: Times that a path runs: warm, counted, counted again.
CALLS = (8 * BATCH, 8 * BATCH, 16 * BATCH)
ROUNDS = (1_024, 1_024, 2_048)

Mark = Callable[[], object]


async def count_client(path: CallPath, recording: Tape, mark: Mark) -> None:
    """Count a client to whom the recorded answers are given."""
    async with connected(path, RecordedTransport(recording)) as client:
        for calls in CALLS:
            mark()
            await load(path, client, calls)
        mark()


async def count_server(path: CallPath, recording: Tape, ends: list[int], mark: Mark) -> None:
    """Count a server that gets the recorded requests; `ends` has the end of each part of them."""
    transport = RecordedTransport(recording)
    written: list[int] = []
    async with listening(path, transport):
        line = transport.open_server(lambda data: written.append(len(data)))
        await feed(line, recording.requests[: ends[0]])
        for first, last in itertools.pairwise(ends):
            mark()
            await feed(line, recording.requests[first:last])
        mark()
        expected = sum(len(data) for answers in recording.answers for data in answers)
        assert sum(written) == expected, "the server answered something else than before"
        line.close()


async def count_requests(path: CallPath, mark: Mark) -> None:
    """Count a server that gets one hand-written request from each of `BATCH` connections in each round."""
    requests = itertools.cycle(path.requests)
    loop = asyncio.get_running_loop()
    transport = RecordedTransport()
    written: list[bytes] = []
    async with listening(path, transport):
        lines = [transport.open_server(written.append) for _ in range(BATCH)]
        if path.opening:
            for line in lines:
                loop.call_soon(line.feed, path.opening)
            await give_turns()
        for calls in CALLS:
            mark()
            for _ in range(calls // BATCH):
                request = next(requests)
                for line in lines:
                    loop.call_soon(line.feed, request)
                await give_turns()
        mark()
        for line in lines:
            line.close()
    answers = b"".join(written).count(path.expected)
    assert answers == sum(CALLS), f"{answers} of {sum(CALLS)} requests were answered"


async def feed(line: Line, writes: list[bytes]) -> None:
    loop = asyncio.get_running_loop()
    for data in writes:
        # As from a transport: handlers take their first step in it, which is impossible inside a task.
        loop.call_soon(line.feed, data)
        await give_turns()


async def give_turns() -> None:
    """Let fed requests be answered: a suspended handler continues in the next turn, its answer leaves in the third."""
    for _ in range(3):
        await asyncio.sleep(0)


async def record(path: CallPath) -> tuple[Tape, list[int]]:
    """Let a client and a server make the calls; return the recording and the end of each of its parts."""
    transport = RecordedTransport()
    async with listening(path, transport), connected(path, transport) as client:
        ends = [len(transport.tape.requests)]
        for calls in CALLS:
            await load(path, client, calls)
            ends.append(len(transport.tape.requests))
        recording = transport.tape.beginning(ends[-1])
        assert path.operation is not None
        answer = await path.operation(client)
        assert answer == path.expected, answer
    return recording, ends


async def count_calls(mark: Mark) -> None:
    for name, path in CALL_PATHS.items():
        if path.operation is None:
            await count_requests(path, mark)
            print(f"server: {name}\t{CALLS[1]}", flush=True)
            continue
        recording, ends = await record(path)
        if not path.has_pages:
            await count_client(path, recording, mark)
            print(f"client: {name}\t{CALLS[1]}", flush=True)
        await count_server(path, recording, ends, mark)
        print(f"server: {name}\t{CALLS[1]}", flush=True)


def main() -> None:
    """Run every path between marks."""
    # Any function of the C library would do that no other code calls: callgrind begins a new count when it is entered.
    mark = os.getloadavg
    gc.collect()
    gc.disable()
    for name, run in CORE_PATHS.items():
        for rounds in ROUNDS:
            mark()
            run(rounds)
        mark()
        print(f"{name}\t{ROUNDS[1]}", flush=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(count_calls(mark))


if __name__ == "__main__":
    main()
