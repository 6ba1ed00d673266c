"""The measurement: the growth of a server under attack, and the service of a good client meanwhile."""

import asyncio
import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import fastrpc
from fastrpc import Client, FastRPCError
from tests.support.held_memory.server import PROCESS_BYTES

__all__ = ["GROWN_BYTES", "SLOWEST_SECONDS", "Held", "Used", "measured", "used"]

ROOT = Path(__file__).parents[3]

#: The promises: resident memory above the memory of the same server idle, and seconds to an answer or a refusal.
GROWN_BYTES = PROCESS_BYTES * 3 // 2
SLOWEST_SECONDS = 1.5

#: How long an attack takes; calls of the good client a second, and its patience.
ATTACK_SECONDS = 6.0
CALLS_A_SECOND = 500
PATIENCE_SECONDS = 5.0

DESCRIPTORS = 12_000
END_SECONDS = 10.0


@dataclass(frozen=True)
class Held:
    """The results of an attack."""

    way: str
    connections: int
    grown: int
    #: Calls of the good client: answered, refused, failed otherwise, and the slowest in seconds.
    answered: int
    refused: int
    failed: int
    slowest: float

    def __str__(self) -> str:
        return (
            f"{self.way}: +{self.grown / 2**20:,.0f} MiB from {self.connections:,} connections; good client: "
            f"{self.answered:,} answered, {self.refused:,} refused, {self.failed:,} failed, "
            f"slowest {self.slowest * 1e3:,.0f} ms"
        )

    @property
    def is_kept(self) -> bool:
        return self.grown <= GROWN_BYTES and self.slowest <= SLOWEST_SECONDS and not self.failed


@dataclass(frozen=True)
class Used:
    """The results of an honest use: its calls, the seconds of all, and the server's seconds of processor time."""

    use: str
    answered: int
    failed: int
    seconds: float
    processor_seconds: float

    def __str__(self) -> str:
        return (
            f"{self.use}: {self.answered:,} answered, {self.failed:,} failed, {self.seconds:.3f} s; "
            f"{self.processor_seconds:.2f} s of processor time"
        )


def used(use: str) -> Used:
    """Use a server as honest clients do (`honest`)."""
    allow_descriptors()
    with _program("server") as server:
        address, before = _line(server), _processor_seconds(server.pid)
        with _program("honest", address, use) as clients:
            found = json.loads(_line(clients))
        return Used(use, **found, processor_seconds=_processor_seconds(server.pid) - before)


def measured(names: Sequence[str], share: float = 1.0, seconds: float = ATTACK_SECONDS) -> Held:
    """Attack a server in these ways at once, each from a share of its connections."""
    allow_descriptors()
    with _program("server") as server:
        address = _line(server)
        with _program("attack", address, str(share), *names) as attack:
            connections = int(_line(attack))
            # The temporary memory of the opening is freed by then.
            time.sleep(0.5)
            idle = resident_bytes(server.pid)
            with _program("measure", address, str(seconds)) as good:
                _line(good)
                assert attack.stdin is not None
                attack.stdin.write("go\n")
                attack.stdin.flush()
                peak = 0
                while good.poll() is None:
                    peak = max(peak, resident_bytes(server.pid))
                    time.sleep(0.01)
                found = json.loads(_line(good))
            assert attack.poll() is None, f"the attackers ended with {attack.returncode}"
        assert server.poll() is None, f"the server ended with {server.returncode}"
    return Held(" + ".join(names) if len(names) < 4 else "all at once", connections, peak - idle, **found)


@contextlib.contextmanager
def _program(name: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """Run a module of this folder until the block ends; it ends with its input."""
    command = [sys.executable, "-m", f"{__package__}.{name}", *arguments]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            assert process.stdin is not None
            with contextlib.suppress(OSError):
                process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_SECONDS)
            process.kill()


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert line, f"a process ended with {process.wait(END_SECONDS)}"
    return line


def _processor_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(process: int) -> int:
    """Return the resident memory of a process."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def allow_descriptors() -> None:
    """Raise the limit of open files for this process and those it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < DESCRIPTORS:
        wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def call_well(address: str, seconds: float) -> dict[str, float]:
    """Call at a fixed rate, and return the outcomes of the calls."""
    found = {"answered": 0, "refused": 0, "failed": 0, "slowest": 0.0}

    async def one(client: Client) -> None:
        began = time.perf_counter()
        try:
            await client.with_options(timeout=PATIENCE_SECONDS).call("bench.echo", b"x" * 32)
            found["answered"] += 1
        except FastRPCError as error:
            is_refusal = error.status is fastrpc.Status.RESOURCE_EXHAUSTED
            found["refused" if is_refusal else "failed"] += 1
        found["slowest"] = max(found["slowest"], time.perf_counter() - began)

    async with Client(address, fail_mode="failfast") as client:
        await client.call("bench.echo", b"x")
        print("connected", flush=True)
        began = time.perf_counter()
        async with asyncio.TaskGroup() as calls:
            for number in range(round(seconds * CALLS_A_SECOND)):
                late = began + number / CALLS_A_SECOND - time.perf_counter()
                if late > 0:
                    await asyncio.sleep(late)
                calls.create_task(one(client))
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(call_well(sys.argv[1], float(sys.argv[2])))), flush=True)
