"""What fastrpc does, in less than a minute: `make demo`, or `python tests/examples/demo.py`.

Servers run as processes of their own, by `fastrpc run demo:Demo`; this program is their client. It ends with 0
only if everything it shows has worked.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import fastrpc

#: Longer than all of it may take.
LIMIT_SECONDS = 55


# The service: a class under @service. Its signatures are the schema.


@dataclass
class Order:
    item: str
    pieces: int


@dataclass
class Receipt:
    text: str
    total: float


@fastrpc.service("demo")
class Demo:
    """Everything that the demonstration calls."""

    def __init__(self) -> None:
        self.started: Counter[str] = Counter()
        self.sleeping = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.release = asyncio.Event()
        self.release.set()
        self.working = 0
        self.enough = asyncio.Event()

    @fastrpc.method(idempotent=True)
    async def mul(self, a: int, b: int) -> int:
        """Multiply."""
        self.started["mul"] += 1
        return a * b

    @fastrpc.method
    async def buy(self, order: Order, *, price: float = 2.5) -> Receipt:
        """Take a dataclass, give another."""
        return Receipt(f"{order.pieces} x {order.item}", order.pieces * price)

    @fastrpc.method
    def blocking(self, words: list[str]) -> str:
        """Run in a thread, so it may block."""
        return " ".join(words)

    @fastrpc.method(codec="raw")
    async def echo(self, data: bytes) -> bytes:
        """Give back what came, untouched by any codec."""
        return data

    @fastrpc.method
    async def shout(self, text: str) -> str:
        """Give a long text back, larger."""
        return text.upper()

    @fastrpc.method
    async def sleep(self) -> None:
        """Go on until cancelled, and remember that."""
        self.sleeping.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        finally:
            self.sleeping.clear()

    @fastrpc.method
    async def see_sleeping(self) -> bool:
        """Return once `sleep` has started."""
        return await self.sleeping.wait()

    @fastrpc.method
    async def see_cancelled(self) -> bool:
        """Return once `sleep` was cancelled."""
        await self.cancelled.wait()
        self.cancelled.clear()
        return True

    @fastrpc.method
    async def count(self, method: str) -> int:
        """Return how often the handler of a method has started."""
        return self.started[method]

    @fastrpc.method(idempotent=True)
    async def work(self, number: int) -> int:
        """Take a moment, or as long as `hold` says."""
        self.working += 1
        if self.working >= 20 and not self.release.is_set():
            self.enough.set()
        try:
            await asyncio.sleep(0.005)
            await self.release.wait()
            return number * 2
        finally:
            self.working -= 1

    @fastrpc.method
    async def hold(self) -> int:
        """Let `work` wait; returns once 20 calls of it do."""
        self.release.clear()
        await self.enough.wait()
        return self.working


# The client


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


def check(fact: bool, text: str) -> None:
    """Say what was shown; end the program if it was not so."""
    if not fact:
        raise SystemExit(f"  FAILED  {text}")
    say(f"  ok  {text}")


class ServerProcess:
    """`fastrpc run demo:Demo` on a free port."""

    def __init__(self) -> None:
        folder = str(Path(__file__).parent)
        path = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))
        command = ["-m", "fastrpc", "run", "demo:Demo", "--address", "tcp://127.0.0.1:0", "--json"]
        self._process = subprocess.Popen(
            [sys.executable, *command], stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": path}
        )
        assert self._process.stdout is not None
        self.address: str = json.loads(self._process.stdout.readline())["addresses"][0]

    def kill(self) -> None:
        """End it as a crash would: no goodbye to anybody."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """Ask it to drain; returns its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(10)

    def close(self) -> None:
        """Leave nothing behind, whatever happened."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextmanager
def servers(count: int) -> Iterator[list[ServerProcess]]:
    """Run servers; none outlives the block."""
    running: list[ServerProcess] = []
    try:
        running.extend(ServerProcess() for _ in range(count))
        yield running
    finally:
        for server in running:
            server.close()


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


async def show_rejected_argument(client: fastrpc.Client) -> None:
    """Send what the signature does not allow."""
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


async def show_deadline(client: fastrpc.Client) -> None:
    """Wait for a handler for less long than it takes."""
    say("A deadline travels with the call and ends it on both sides")
    started = time.perf_counter()
    try:
        await client.with_options(timeout=0.1).call(Demo.sleep)
    except fastrpc.DeadlineExceededError as error:
        seconds = time.perf_counter() - started
        check(0.09 < seconds < 1.0, f"{type(error).__name__} after {seconds * 1e3:.0f} ms: {error}")
    else:
        check(False, "the deadline ends the call")
    check(await client.call(Demo.see_cancelled), "the handler was cancelled")


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


def show_sync_client(address: str) -> None:
    """Call without any event loop."""
    say("The same calls without asyncio: SyncClient has no loop and no thread")
    with fastrpc.SyncClient(address) as client:
        check(client.call(Demo.mul, 6, 7) == 42, "SyncClient.call(Demo.mul, 6, 7) is 42")
        check(client.call(Demo.buy, Order("plum", 2)).total == 5.0, "dataclasses too")
        latencies = []
        for _ in range(2_000):
            started = time.perf_counter()
            client.call(Demo.mul, 6, 7)
            latencies.append(time.perf_counter() - started)
        say(f"      one after the other: {described(latencies, sum(latencies))}")


async def show_killed_server() -> None:
    """Kill one of two servers while it works on calls."""
    say("Two servers; one is killed (-9) while 1,000 idempotent calls go on")
    with servers(2) as (doomed, other):
        async with (
            fastrpc.Client([doomed.address, other.address]) as client,
            fastrpc.Client(doomed.address) as boss,
        ):
            await client.call(Demo.mul, 1, 1)
            replies: list[fastrpc.Reply[int]] = []
            numbers = iter(range(1_000))
            under_way = asyncio.Event()

            async def call_on() -> None:
                for number in numbers:
                    reply = await client.request(Demo.work, number)
                    check_answer(reply.value, number)
                    replies.append(reply)
                    if len(replies) == 300:
                        under_way.set()

            callers = [asyncio.ensure_future(call_on()) for _ in range(64)]
            await under_way.wait()
            held = await boss.call(Demo.hold)
            say(
                f"      killing {doomed.address}: {held} calls are in flight on it, {len(replies)} have ended"
            )
            doomed.kill()
            await asyncio.gather(*callers)
        moved = sum(reply.attempts > 1 for reply in replies)
        places = Counter(str(reply.endpoint) for reply in replies)
        check(len(replies) == 1_000, f"1,000 of 1,000 calls succeeded: {dict(places)}")
        check(
            min(held, moved) >= 20, f"{moved} of them were lost with the server and made again on the other"
        )
        check(other.stop() == 0, "the other drains on SIGTERM and ends with 0")


def check_answer(value: int, number: int) -> None:
    """Every call has to get its own answer."""
    if value != number * 2:
        check(False, f"work({number}) gave {value}")


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

            await asyncio.gather(*(call_on(started + 1, arguments, latencies) for _ in range(callers)))
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


async def show_everything() -> None:
    """Run the demonstration."""
    async with asyncio.timeout(LIMIT_SECONDS):
        with servers(1) as (server,):
            async with fastrpc.Client(server.address) as client:
                await show_typed_calls(client)
                await show_rejected_argument(client)
                await show_deadline(client)
                await show_cancellation(client)
                await show_compression(server.address)
                await show_rates(client)
            show_sync_client(server.address)
            check(server.stop() == 0, "the server drains on SIGTERM and ends with 0")
        await show_killed_server()


def main() -> None:
    """Show everything, on uvloop where it is installed."""
    started = time.perf_counter()
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
