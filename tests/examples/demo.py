"""The abilities of fastrpc, in less than a minute: `make demo`, or `python tests/examples/demo.py`.

A registry and two servers run as processes of their own; this program is their client and finds them by name. It ends
with 0 only if everything it shows has worked.
"""

import asyncio
import itertools
import logging
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from demo_console import show_console
from demo_grpc import show_grpc
from demo_http import show_http
from demo_locks import show_locks
from demo_messages import show_messages
from demo_mounts import show_mounts
from demo_process import Process, check, command, say
from demo_relay import show_relay
from demo_scopes import show_scopes
from demo_security import show_security
from demo_service import Demo, Order, Receipt
from demo_zones import show_zones

import fastrpc
from fastrpc.config import Pool, Retries
from fastrpc.limits import RateLimit

#: Longer than the whole demonstration takes, on a busy machine too.
LIMIT_SECONDS = 120

#: Calls under way at any time while servers are killed and restarted.
CALLERS = 40


class Cluster:
    """A registry, and servers of `Demo` that register with it, by their addresses."""

    def __init__(self) -> None:
        self._processes = [Process("registry", "--address", "tcp://127.0.0.1:0")]
        self.registry = self._processes[0].wait_started("urls")
        self.servers: dict[str, Process] = {}

    def start(self, *addresses: str) -> None:
        """Start servers; returns once they are registered. Port 0 takes a free one."""
        started = [
            Process("run", "demo_service:Demo", "--address", address, "--registry", self.registry)
            for address in addresses
        ]
        self._processes += started
        self.servers |= {process.wait_started("addresses"): process for process in started}

    def stop(self) -> list[int]:
        """Let the servers drain, then the registry; returns their exit codes."""
        return [process.stop() for process in (*self.servers.values(), self._processes[0])]

    def close(self) -> None:
        """End every process."""
        for process in self._processes:
            process.close()


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Run a registry; nothing that was started outlives the block."""
    running = Cluster()
    try:
        yield running
    finally:
        running.close()


async def show_cluster(running: Cluster) -> None:
    """Start two servers, and ask the registry for them."""
    say(
        "A registry and two servers: fastrpc registry; fastrpc run demo_service:Demo --registry registry://…, twice"
    )
    await asyncio.to_thread(running.start, "tcp://127.0.0.1:0", "tcp://127.0.0.1:0")
    check(await show_list(running) == ["SERVING"] * 2, "both are registered and healthy")
    async with fastrpc.Client(f"{running.registry}/demo") as client:
        called: set[str] = set()
        with fastrpc.timeout(20):
            # The first calls go to whichever server is connected first.
            while called != set(running.servers):
                called.add(str((await client.request(Demo.mul, 6, 7)).endpoint))
        check(True, 'Client("registry://…/demo") calls both of them in turn')


async def show_list(running: Cluster) -> list[str]:
    """Print the output of `fastrpc list` for a registry; return the health of each server."""
    say(f"      $ fastrpc list {running.registry}")
    said = await asyncio.to_thread(subprocess.check_output, command("list", running.registry), text=True)
    for line in said.splitlines():
        say(f"      {line.rstrip()}")
    return [line.split()[1] for line in said.splitlines() if "tcp://" in line]


async def show_typed_calls(client: fastrpc.Client) -> None:
    """Call by method, by name, and through a proxy."""
    say("Typed calls: the method is the first argument, editors and type checkers know the rest")
    check(await client.call(Demo.mul, 6, 7) == 42, "call(Demo.mul, 6, 7) is 42")
    receipt = await client.call(Demo.buy, Order("pear", 4), price=0.5)
    check(receipt == Receipt("4 x pear", 2.0), f"a dataclass goes, another comes: {receipt}")
    check(
        await client.call(Demo.blocking, ["in", "a", "thread"]) == "in a thread",
        "def handlers run in threads",
    )
    check(await client.call("demo.mul", 6, b=7) == 42, 'call("demo.mul", 6, b=7) needs no class')
    check(await client.bind(Demo).mul(6, 7) == 42, "bind(Demo).mul(6, 7) looks like a local call")
    batch = await client.call_many(Demo.mul, [(n, n) for n in range(100)])
    check(batch == [n * n for n in range(100)], "call_many sends 100 calls in one write")
    squares = await client.call_many(Demo.square, [(n,) for n in range(100)])
    runs = await client.call(Demo.count, "square")
    check(squares == batch and runs < 10, f"fastrpc.Batcher served 100 of them by {runs} runs of a function")


async def show_rejected_argument(client: fastrpc.Client) -> None:
    """Send an argument that the signature does not allow."""
    say("Arguments are checked on arrival; the handler does not run")
    before = await client.call(Demo.count, "mul")
    try:
        await client.call("demo.mul", 6, "seven")
    except fastrpc.CallError as error:
        named = error.status is fastrpc.Status.INVALID_ARGUMENT and "b: " in error.message
        check(named and error.processed == "no", f"{type(error).__name__}: {error}")
    else:
        check(False, "a wrong argument is refused")
    check(await client.call(Demo.count, "mul") == before, "the handler did not start")


async def show_streams(client: fastrpc.Client) -> None:
    say("A method streams, and is streamed to")
    async with client.stream(Demo.numbers, 10_000) as numbers:
        check([n async for n in numbers] == list(range(10_000)), "10,000 messages came in order")
    async with client.stream(Demo.numbers, 10_000) as numbers:
        check(await client.call(Demo.total, numbers) == 49_995_000, "10,000 messages were sent on")
    async with client.open(Demo.talk) as talk:
        for word in ("ready", "steady"):
            await talk.send(word)
            check(
                await talk.receive() == word.upper(), f"both ways: {word!r} was answered while both may go on"
            )
    async with client.stream(Demo.numbers, 0) as numbers:
        async for _ in numbers:
            break
    check(await client.call(Demo.see_cancelled), "a stream without end ended when its reader left")


async def show_deadline(client: fastrpc.Client) -> None:
    """Wait for a handler for less long than it takes."""
    say("A deadline travels with the call and ends it on both sides")
    started = time.perf_counter()
    try:
        await client.with_options(timeout=0.1).call(Demo.sleep)
    except fastrpc.DeadlineExceededError as error:
        seconds = time.perf_counter() - started
        check(0.09 < seconds < 5.0, f"{type(error).__name__} after {seconds * 1e3:.0f} ms: {error}")
    else:
        check(False, "the deadline ends the call")
    check(await client.call(Demo.see_cancelled), "the handler was cancelled")


async def show_limits() -> None:
    """Call a server more often than it allows."""
    say('A server limits its callers: Server(…, limits=[RateLimit(5, burst=2, per="peer")])')
    async with fastrpc.Server(Demo, limits=[RateLimit(5, burst=2, per="peer")]) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with fastrpc.Client(str(address)) as client:
            impatient = client.with_options(fail_mode="failfast")
            try:
                for number in range(3):
                    check(await impatient.call(Demo.mul, 6, number) == 6 * number, f"call {number + 1}")
            except fastrpc.OverloadedError as error:
                check(number == 2, error.message)
                check(0 < (error.retry_after or 0) <= 0.2, f"retry_after is {error.retry_after} s")
            check(
                await client.call(Demo.mul, 6, 7) == 42, "the usual fail mode waits for that, and tries again"
            )


async def show_cancellation(client: fastrpc.Client) -> None:
    """Cancel the task that awaits a call."""
    say("Cancelling the awaiting task cancels the handler")
    caller = asyncio.ensure_future(client.call(Demo.sleep))
    await client.call(Demo.see_sleeping)
    started = time.perf_counter()
    caller.cancel("no longer wanted")
    try:
        await caller
    except asyncio.CancelledError as error:
        check(error.args == ("no longer wanted",), "the caller sees its own CancelledError")
    else:
        check(False, "the caller sees its own CancelledError")
    seen = await client.call(Demo.see_cancelled)
    check(seen, f"the handler saw it within {(time.perf_counter() - started) * 1e3:.1f} ms")


class CountingRelay:
    """A wire that counts the bytes on it."""

    def __init__(self, address: str) -> None:
        host, _, port = address.removeprefix("tcp://").rpartition(":")
        self._target = (host, int(port))
        self.carried = 0

    async def listen(self) -> asyncio.Server:
        """Accept connections and carry each to the server."""
        return await asyncio.start_server(self._carry_both_ways, "127.0.0.1", 0)

    async def _carry_both_ways(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        await asyncio.gather(self._carry(reader, far_writer), self._carry(far_reader, writer))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            self.carried += len(data)
            writer.write(data)
            await writer.drain()
        writer.close()


async def show_compression(address: str) -> None:
    """Send a long text, plain and compressed, over a wire that counts."""
    say("Compression is one option of a call")
    text = "the quick brown fox jumps over the lazy dog " * 24_000
    relay = CountingRelay(address)
    listening = await relay.listen()
    port = listening.sockets[0].getsockname()[1]
    async with listening, fastrpc.Client(f"tcp://127.0.0.1:{port}") as client:
        sizes = []
        for compressor in (None, "gzip"):
            before = relay.carried
            answer = await client.with_options(compressor=compressor).call(Demo.shout, text)
            sizes.append(relay.carried - before)
            check(
                answer == text.upper(),
                f"{len(text):,} bytes there and back: {sizes[-1]:,} on the wire ({compressor})",
            )
        check(sizes[1] * 50 < sizes[0], "the compressed call needs less than a fiftieth")


def show_sync_client(registry: str, address: str) -> None:
    """Call without any event loop."""
    say("The same calls without asyncio: SyncClient has no loop and no thread")
    with fastrpc.SyncClient(f"{registry}/demo") as client:
        check(client.call(Demo.mul, 6, 7) == 42, 'SyncClient("registry://…/demo").call(Demo.mul, 6, 7) is 42')
    with fastrpc.SyncClient(address) as client:
        check(client.call(Demo.buy, Order("plum", 2)).total == 5.0, "dataclasses too")
        with client.stream(Demo.numbers, 10_000) as numbers:
            check(list(numbers) == list(range(10_000)), "a stream is an ordinary iterator")
        latencies = []
        for _ in range(2_000):
            started = time.perf_counter()
            client.call(Demo.mul, 6, 7)
            latencies.append(time.perf_counter() - started)
        say(f"      one after the other: {described(latencies, sum(latencies))}")


class Calling:
    """Calls of `work` that continue in the background, and their outcomes."""

    def __init__(self, client: fastrpc.Client, limit: int | None) -> None:
        self.replies: list[fastrpc.Reply[int]] = []
        self.places: Counter[str] = Counter()
        self.is_over = False
        self._client = client
        self.numbers = itertools.count() if limit is None else iter(range(limit))
        self._changed = asyncio.Event()

    async def call_on(self) -> None:
        """Call until it is over; an error, or a wrong answer, ends the program."""
        for number in self.numbers:
            reply = await self._client.request(Demo.work, number)
            if reply.value != number * 2:
                check(False, f"work({number}) gave {reply.value}")
            self.replies.append(reply)
            self.places[str(reply.endpoint)] += 1
            self._changed.set()
            if self.is_over:
                return

    async def until(self, fact: Callable[[], bool]) -> None:
        """Return once something is so."""
        while not fact():
            self._changed.clear()
            await self._changed.wait()


@asynccontextmanager
async def calling(client: fastrpc.Client, limit: int | None = None) -> AsyncIterator[Calling]:
    """Make the given number of calls, `CALLERS` at a time; without a limit as long as the block runs."""
    calls = Calling(client, limit)
    async with asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(calls.call_on())
        yield calls
        calls.is_over = limit is None


async def show_killed_server(running: Cluster, client: fastrpc.Client) -> str:
    """Kill one of two servers while it works on calls; returns its address."""
    say("One server is killed (-9) while 1,000 idempotent calls go on")
    doomed = next(iter(running.servers))
    async with calling(client, 1_000) as calls:
        await calls.until(lambda: len(calls.replies) >= 300)
        held = await client.with_options(endpoint=doomed).call(Demo.hold)
        say(f"      killing {doomed}: {held} calls are in flight on it, {len(calls.replies)} have ended")
        running.servers.pop(doomed).kill()
    moved = sum(reply.attempts > 1 for reply in calls.replies)
    check(len(calls.replies) == 1_000, "1,000 of 1,000 calls succeeded")
    check(min(held, moved) >= 20, f"{moved} of them were lost with the server and made again on the other")
    # Its record goes with its lease; clients know at once.
    check((await show_list(running)).count("SERVING") == 1, "the registry names one that serves")
    return doomed


async def show_restarts(running: Cluster, client: fastrpc.Client, killed: str) -> None:
    """Start the killed server again, then restart the other one, while calls continue."""
    say("The killed server is started again, then the other one restarted, while calls go on")
    (other,) = running.servers
    async with calling(client.with_options(idempotent=False)) as calls:
        await calls.until(lambda: calls.places[other] >= 100)
        await asyncio.to_thread(running.start, killed)
        await calls.until(lambda: calls.places[killed] >= 100)
        check(True, f"{killed} is back and takes calls again")
        check(
            await asyncio.to_thread(running.servers.pop(other).stop) == 0, f"{other} drains and ends with 0"
        )
        before = calls.places[other]
        await asyncio.to_thread(running.start, other)
        await calls.until(lambda: calls.places[other] >= before + 100)
        check(True, f"{other} is back and takes calls again")
    made = next(calls.numbers)
    check(len(calls.replies) == made, f"{made:,} of {made:,} calls succeeded, none of which might run twice")
    check(await show_list(running) == ["SERVING"] * 2, "both are registered and healthy again")


async def show_rates(client: fastrpc.Client) -> None:
    """Measure in a closed loop: each caller awaits one call after the other."""
    say("Rates and latencies, client and server on this machine")
    for text, callers in (("1 caller", 1), ("64 callers", 64)):
        for name, arguments in (
            ("typed mul", (Demo.mul, 6, 7)),
            ("raw 32-byte echo", (Demo.echo, bytes(32))),
        ):
            latencies: list[float] = []
            started = time.perf_counter()

            async def call_on(end: float, arguments: tuple[object, ...], latencies: list[float]) -> None:
                method, *values = arguments
                now = time.perf_counter()
                while now < end:
                    await client.call(method, *values)  # type: ignore[call-overload]
                    before, now = now, time.perf_counter()
                    latencies.append(now - before)

            await asyncio.gather(*(call_on(started + 0.5, arguments, latencies) for _ in range(callers)))
            seconds = time.perf_counter() - started
            check(len(latencies) > 0, f"{name}, {text}: {described(latencies, seconds)}")


def described(latencies: list[float], seconds: float) -> str:
    """Return rate and percentiles as text."""
    ordered = sorted(latencies)
    parts = [
        f"{name} {ordered[int(share * (len(ordered) - 1))] * 1e6:,.0f} us" for name, share in PERCENTILES
    ]
    return f"{len(ordered) / seconds:,.0f} calls/s, {', '.join(parts)}"


PERCENTILES = (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))


async def show_one_server(running: Cluster) -> None:
    """Show calls to one of the servers; facts that a handler saw are requested from its server."""
    address = next(iter(running.servers))
    async with fastrpc.Client(address) as client:
        await show_typed_calls(client)
        await show_rejected_argument(client)
        await show_streams(client)
        await show_deadline(client)
        await show_cancellation(client)
        await show_compression(address)
        await show_rates(client)
    await asyncio.to_thread(show_security)
    await asyncio.to_thread(show_relay)
    await show_limits()
    await asyncio.to_thread(show_sync_client, running.registry, address)


async def show_many_servers(running: Cluster) -> None:
    """Show calls while servers start and stop, with a client that knows no address."""
    # All connections lost with one server may be made again at once, even if this machine made few calls just before.
    config = fastrpc.ClientConfig(pool=Pool(retries=Retries(budget_per_second=CALLERS)))
    async with fastrpc.Client(f"{running.registry}/demo", config=config) as found:
        client = found.with_options(timeout=20)
        killed = await show_killed_server(running, client)
        await show_restarts(running, client, killed)


async def show_everything() -> None:
    """Run the demonstration."""
    async with asyncio.timeout(LIMIT_SECONDS):
        with cluster() as running:
            await show_cluster(running)
            await show_one_server(running)
            await show_http()
            await show_mounts()
            await show_scopes()
            await show_grpc()
            await show_locks()
            await show_messages()
            await show_many_servers(running)
            await show_zones(running.registry)
            await show_console(running.registry)
            ended = await asyncio.to_thread(running.stop)
            check(set(ended) == {0}, "servers and registry drain on SIGTERM and end with 0")


def main() -> None:
    """Show everything, on uvloop where it is installed."""
    started = time.perf_counter()
    # This demonstration prints by itself that a server is away.
    logging.getLogger("fastrpc.client").setLevel(logging.ERROR)
    say(f"fastrpc {fastrpc.__version__} on Python {sys.version.split()[0]}")
    try:
        import uvloop
    except ImportError:
        asyncio.run(show_everything())
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(show_everything())
    say(f"All of it worked, in {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()
