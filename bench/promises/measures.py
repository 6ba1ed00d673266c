"""The promises: their measurement, and their limits."""

import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.compare.processes import choose_cores, run_client, running_server
from bench.compare.yardsticks import build_yardstick
from bench.promises.access import guarded_rate, token_timings
from bench.promises.arrays import array_seconds
from bench.promises.attacks import (
    given_up_answers,
    idle_work,
    payloads,
    registry_snapshot,
    silent_openings,
    stalls,
)
from bench.promises.console import console
from bench.promises.crowd import crowd
from bench.promises.encryption import handshakes, rotations
from bench.promises.fairness import BESIDE
from bench.promises.files import SIZE as FILE_BYTES
from bench.promises.files import folder_in_memory, make_file
from bench.promises.finding import PAIRS, PROCESSES, Finding, call, serving, slowdown
from bench.promises.guessed import guessed_tokens
from bench.promises.imports import imports
from bench.promises.invented import invented_names
from bench.promises.limits import greedy_caller, kept_rates, many_keys, overload
from bench.promises.notified import tell_many
from bench.promises.observing import access_log, every_protocol, open_telemetry
from bench.promises.pages import page_readers
from bench.promises.picks import pick_nanoseconds
from bench.promises.polled import polled_figures
from bench.promises.relayed import relayed
from bench.promises.spread import SERVICES_CALL, SERVICES_VIEW

__all__ = ["MEASURES", "idle_connection_kib"]

KIB = 1024


def idle_connection_kib(few: int, many: int) -> float:
    """Return the server's growth by one more connection, after one call on each."""
    with serving() as server, crowd(server.address) as connections:
        connections.grow(few)
        before = server.peak_bytes()
        connections.grow(many)
        return (server.peak_bytes() - before) / (many - few) / KIB


def idle_memory() -> Finding:
    """One more idle connection."""
    slopes = [idle_connection_kib(2_000, 9_000) for _ in range(3)]
    details = "from 2,000 to 9,000 connections, one call each, median of 3"
    return Finding("one more idle connection", statistics.median(slopes), 6, "KiB", details)


def idle_connections() -> Finding:
    """10,000 idle connections during 1,000 calls per second."""
    with serving() as server, crowd(server.address) as connections:
        alone = [call(server, "latency", 2, 1_000, 0)["p99"] for _ in range(5)]
        connections.grow(10_000)
        # Together longer than the interval of keepalive: pings are in it.
        beside = [call(server, "latency", 2, 1_000, 0)["p99"] for _ in range(5)]
    without, with_idle = statistics.median(alone), statistics.median(beside)
    return Finding(
        "10,000 idle connections beside 1,000 calls/s",
        with_idle / without,
        1.5,
        "times the p99 without them",
        f"{with_idle * 1e6:.0f} and {without * 1e6:.0f} µs, medians of 5",
    )


def large_beside_small() -> Finding:
    """1 MiB calls and 32-byte calls on one connection."""
    with serving() as server:
        alone = statistics.median(call(server, "latency", 2, 500, 0)["p99"] for _ in range(3))
        beside = statistics.median(call(server, "latency", 2, 500, 1)["p99"] for _ in range(3))
    return Finding(
        "32 B calls beside 1 MiB calls on one connection",
        beside * 1e6,
        max(1_000.0, 5 * alone * 1e6),
        "µs at p99",
        f"{alone * 1e6:.0f} µs without them; 500 calls/s, medians of 3",
    )


def live_deadlines() -> Finding:
    """100,000 live deadlines during the headline workload."""
    return slowdown(
        "100,000 live deadlines on both sides",
        lambda: _rate(0),
        lambda: _rate(100_000),
        pairs=5,
        limit=3,
    )


def _rate(waiting: int) -> float:
    with serving() as server:
        return call(server, "rate", 1.5, waiting)["calls_per_second"]


def counters() -> Finding:
    """Counters and histograms against a build without them."""
    library = os.environ.get("FASTRPC_UNCOUNTED", "build/uncounted/lib")
    if not Path(library, "fastrpc").exists():
        raise FileNotFoundError(f"{library} holds no build without counters; `ci/promises` makes one")

    def uncounted() -> float:
        with _library(library):
            return _rate(0)

    return slowdown("counters and histograms", uncounted, lambda: _rate(0), pairs=9, limit=3)


@contextmanager
def _library(path: str) -> Iterator[None]:
    """Let processes started in the block import the package from `path`."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(Path(path).absolute()), before)))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def access() -> list[Finding]:
    """Identified callers, allowed by a policy and counted one by one."""
    title = "authentication, a policy of 100 rules and a rate for each caller"
    # 80 % of the rate without them.
    slower = slowdown(
        title, lambda: guarded_rate("plain"), lambda: guarded_rate("guarded"), pairs=3, limit=25
    )
    return [slower, *token_timings()]


def selectors() -> list[Finding]:
    """Registry and selector between client and server, against fixed addresses."""
    fixed = {1: "a fixed address", 3: "three fixed addresses in turn by hand"}
    findings = [_spread(kind, count, fixed[count]) for kind in ("tasks", "threads") for count in fixed]
    nanoseconds = pick_nanoseconds("consistent_hash", 1_000)
    details = "the result taken back included, another key each, median of 5 × 100,000"
    return [*findings, Finding("consistent hash, 1,000 endpoints: one pick", nanoseconds, 150, "ns", details)]


def streams() -> list[Finding]:
    """Small messages of one stream, and unread streams."""
    command = [sys.executable, "-m", "bench.promises.streams"]
    with running_server([*command, "serve"], choose_cores().server) as server:
        rates = run_client([*command, server.address, "read", "0"], choose_cores().client, 10)
        before = server.peak_bytes()
        grown = run_client([*command, server.address, "leave", "100"], choose_cores().client, 10)["kib"]
        server_grown = (server.peak_bytes() - before) / KIB
    windows = 100 * 64 + 8 * KIB
    return [
        *(
            Finding(f"a message of 32 B through {way}", 1e9 / rates[way], limit, "ns", f"{rates[way]:,.0f}/s")
            for way, limit in (("async_for", 1_000), ("receive_many", 500))
        ),
        Finding(
            "100 endless streams that nobody reads: the client",
            grown,
            windows,
            "KiB",
            "their windows + 8 MiB",
        ),
        Finding("the same: the server", server_grown, windows, "KiB", "their windows + 8 MiB"),
    ]


def windows() -> list[Finding]:
    """Windows of streams: they grow for a fast reader, and not for a slow one."""
    command = [sys.executable, "-m", "bench.promises.windows"]
    with running_server([*command, "serve"], choose_cores().server) as server:
        fast, stop, slow = (
            run_client([*command, server.address, way], choose_cores().client, 10)
            for way in ("fast", "stop", "slow")
        )
    grown = f"its window had grown to {fast['window']:,.0f} KiB"
    return [
        Finding(
            "a message of 64 KiB",
            65.536 / fast["rate"] * 1e3,
            50,
            "µs",
            f"{fast['rate']:,.0f} MB/s; {grown}",
        ),
        Finding(
            "the window of a fast reader", fast["window"], 8 * KIB, "KiB", "a quarter of Memory.stream_pool"
        ),
        Finding(
            "a reader that stops after it was fast", stop["grown"], 16 * KIB, "KiB", "its window + 8 MiB"
        ),
        Finding("the window of a slow reader", slow["window"], 128, "KiB", "64 KiB, doubled at most once"),
        Finding("a slow reader", slow["grown"], 8 * KIB, "KiB", "8 MiB"),
    ]


def resting_streams() -> list[Finding]:
    """Open, idle streams, and one unread stream next to 99 used ones."""
    command = [sys.executable, "-m", "bench.promises.resting"]
    peaks = []
    with running_server([*command, "serve"], choose_cores().server) as server:
        for count in (1_000, 9_000):
            found = run_client([*command, server.address, "idle", str(count)], choose_cores().client, 30)
            peaks.append((found["peak_kib"], server.peak_bytes() / KIB))
    with running_server([*command, "serve"], choose_cores().server) as server:
        before = server.peak_bytes()
        unread = run_client([*command, server.address, "unread", "99"], choose_cores().client, 20)
        server_grown = (server.peak_bytes() - before) / KIB
    sides = zip(("client", "server"), *peaks, strict=True)
    allowed = 64 + 8 * KIB
    return [
        *(
            Finding(
                f"one more idle stream: the {side}",
                (many - few) / 8_000,
                4,
                "KiB",
                "from 1,000 to 9,000 streams",
            )
            for side, few, many in sides
        ),
        Finding(
            "99 streams beside one that nobody reads",
            unread["beside"] / unread["alone"],
            2,
            "times the p99 without it",
            f"{unread['beside'] * 1e6:.0f} and {unread['alone'] * 1e6:.0f} µs for round trips; 1 GiB is offered",
        ),
        Finding("1 GiB offered on it: the client", unread["kib"], allowed, "KiB", "its window + 8 MiB"),
        Finding(
            "the same: the server", server_grown, allowed, "KiB", "its window + 8 MiB, round trips included"
        ),
    ]


def fairness() -> list[Finding]:
    """Small calls during transfers on their connection."""
    command = [sys.executable, "-m", "bench.promises.fairness"]
    with tempfile.TemporaryDirectory(dir=folder_in_memory()) as folder:
        make_file(Path(folder))
        with running_server([*command, "serve", folder], choose_cores().server) as server:

            def p99(beside: str) -> dict[str, float]:
                arguments = [*command, server.address, beside]
                runs = [run_client(arguments, choose_cores().client, 60) for _ in range(3)]
                return {key: statistics.median(run[key] for run in runs) * 1e6 for key in ("p99", "handler")}

            alone = p99("nothing")["p99"]
            found = {title: p99(beside) for beside, title in BESIDE.items()}
    details = f"{alone:.0f} µs without it; 2,000 calls one after the other, medians of 3"
    limit = max(1_000.0, 5 * alone)
    return [
        Finding(f"1 KiB calls beside {title}{part}", run[key], limit, "µs at p99", details)
        for title, run in found.items()
        for key, part in (("p99", ""), ("handler", ", until their handler runs"))
    ]


#: How many times as long as a plain copy a transfer may take: calls run concurrently, and it can be resumed.
OF_A_PLAIN_COPY = 1.3


def files() -> list[Finding]:
    """256 MiB by a FileService, against the SHA-256 of one core or the stream in C, whichever is slower.

    If a plain copy, which does the minimum to each byte, takes longer than that, the copy is the measure: on a
    processor that hashes in hardware, the other work counts.
    """
    command = [sys.executable, "-m", "bench.promises.files"]
    with tempfile.TemporaryDirectory(dir=folder_in_memory()) as folder:
        there = Path(folder, "there")
        there.mkdir()
        make_file(there)
        with running_server([*command, "serve", str(there)], choose_cores().server) as server:
            found = run_client([*command, server.address, folder], choose_cores().client, 60)
            server_grown = server.peak_bytes() / KIB
        plain_command = [sys.executable, "-m", "bench.promises.plain_copy"]
        with running_server([*plain_command, "serve", str(there)], choose_cores().server) as server:
            plain = run_client([*plain_command, server.address, folder], choose_cores().client, 30)
    sink = _sink_seconds(FILE_BYTES)
    slower = max(found["hash"], sink)
    rates = ", ".join(
        f"{title} {FILE_BYTES / seconds / 1e6:,.0f} MB/s"
        for title, seconds in (("SHA-256", found["hash"]), ("c_sink", sink))
    )
    ways = {
        "first": ("a download", plain["both"]),
        "again": ("the same again, its digest known", plain["one"]),
        "upload": ("an upload", plain["hash_first"]),
    }
    return [
        *(
            Finding(
                f"256 MiB by a FileService: {title}",
                found[way] / slower,
                max(2, OF_A_PLAIN_COPY * copied / slower),
                "times the slower of SHA-256 and c_sink",
                f"{FILE_BYTES / found[way] / 1e6:,.0f} MB/s; {rates}, "
                f"a plain copy {FILE_BYTES / copied / 1e6:,.0f} MB/s; medians of 5",
            )
            for way, (title, copied) in ways.items()
        ),
        Finding("the same: the client", found["kib"], 32 * KIB, "KiB", "grown by 15 transfers of 256 MiB"),
        Finding("the same: the server", server_grown, 96 * KIB, "KiB", "the whole process"),
    ]


def _sink_seconds(size: int) -> float:
    """Return the seconds that the stream in C takes for as many bytes in pieces of 256 KiB."""
    program = str(build_yardstick("c_sink"))
    with running_server([program, "serve", "tcp://127.0.0.1:0"], choose_cores().server) as server:
        options = [
            "--size=262144",
            "--warm=0.2",
            "--seconds=1",
            f"--server={server.processes[0]}",
            "--receive",
        ]
        found = run_client([program, "load", server.address, *options], choose_cores().client, 2)
    return float(size / 262_144 * found["seconds"] / found["calls"])


def _spread(kind: str, count: int, against: str, *, processes: int = 3, pairs: int = 11) -> Finding:
    """Compare the rates through registry and selector with those by hand; the figure is the worst way's."""
    medians = _slowdowns(kind, count, processes, pairs)
    return Finding(
        f"registry and selector, {count} endpoint{'s' if count > 1 else ''}, 64 {kind}, against {against}",
        max(medians.values()),
        10,
        "% slower",
        f"{'; '.join(f'{way} {percent:.1f}' for way, percent in medians.items())}; 32 B, 64 in flight, "
        f"medians of {processes * pairs} alternating pairs, of {processes} clients",
    )


def _slowdowns(kind: str, count: int, processes: int, pairs: int) -> dict[str, float]:
    """Return the percent by which each way of calling so many endpoints is slower: medians of alternating pairs."""
    command = [sys.executable, "-m", "bench.promises.spread", kind]
    slowdowns: dict[str, list[float]] = {}
    with serving(str(count)) as server:
        for _ in range(processes):
            arguments = [server.address, "0.04", str(pairs)]
            rates = run_client([*command, *arguments], choose_cores().client, 60)
            for way, sides in rates.items():
                percents = [(by_hand / chosen - 1) * 100 for by_hand, chosen in zip(*sides, strict=True)]
                slowdowns.setdefault(way, []).extend(percents)
    return {way: statistics.median(found) for way, found in slowdowns.items()}


def services() -> list[Finding]:
    """A service of a Services against a Client of it."""
    medians = _slowdowns("services", 1, PROCESSES, PAIRS)
    details = f"32 B, 64 in flight, medians of {PROCESSES * PAIRS} alternating pairs, of {PROCESSES} clients"
    # 98 and 90 % of the rate.
    return [
        Finding(f"{way}, against Client", medians[way], limit, "% slower", details)
        for way, limit in ((SERVICES_VIEW, 2.04), (SERVICES_CALL, 11.1))
    ]


def arrays() -> Finding:
    """1 MiB in a numpy array against 1 MiB of bytes."""
    found = array_seconds()
    return Finding(
        "an echo of 1 MiB in a numpy array",
        found["array"] / found["bytes"],
        1.2,
        "times that of 1 MiB of bytes in msgpack",
        f"{found['array'] * 1e6:.0f} and {found['bytes'] * 1e6:.0f} µs, medians of 41 × 10 in turn",
    )


def notified_clients() -> list[Finding]:
    """10,000 connected clients that serve are notified in a loop, after 100 of them have died."""
    told = tell_many(9_900, 100)
    details = f"{told['kept']:.0f} kept, {told['told']:.0f} told, {told['lost']:.0f} lost"
    wrong = abs(told["lost"] - 100) + abs(told["told"] - 9_900)
    return [
        Finding("10,000 clients notified in a loop", told["seconds"], 2, "s", details),
        Finding("of 100 dead clients among them, not told apart", wrong, 0, "clients", details),
    ]


#: The keys are names that the command line takes.
MEASURES: dict[str, Callable[[], Finding | list[Finding]]] = {
    measure.__name__: measure
    for measure in (
        idle_memory,
        idle_connections,
        large_beside_small,
        live_deadlines,
        counters,
        selectors,
        services,
        access,
        guessed_tokens,
        idle_work,
        stalls,
        given_up_answers,
        silent_openings,
        registry_snapshot,
        payloads,
        arrays,
        streams,
        windows,
        resting_streams,
        notified_clients,
        fairness,
        files,
        imports,
        kept_rates,
        overload,
        greedy_caller,
        many_keys,
        page_readers,
        console,
        polled_figures,
        invented_names,
        handshakes,
        rotations,
        relayed,
        access_log,
        every_protocol,
        open_telemetry,
    )
}
