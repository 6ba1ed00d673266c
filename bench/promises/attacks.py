"""Promises about attacks: the cost of strangers and heavy load for other callers."""

import statistics
import sys

from bench.compare.processes import choose_cores, run_client, running_server
from bench.promises.finding import Finding, call, serving
from bench.promises.flooder import flooding
from bench.promises.payloads import (
    BOMB_BYTES,
    CROWDED_KEYS,
    FLOOD_KEYS,
    HONEST_KEYS,
    crowded_seconds,
    flood_ratios,
    honest_ratios,
    protobuf_bomb,
)
from bench.promises.stalls import busy_connections, longest_turn, many_bombs, one_read, unknown_names

__all__ = [
    "given_up_answers",
    "idle_work",
    "payloads",
    "registry_snapshot",
    "silent_openings",
    "stalls",
]

MIB = 1024 * 1024


def idle_work() -> list[Finding]:
    """A good client during calls of another client that are opened only to be cancelled or refused."""
    return [_beside_flood(kind) for kind in ("cancelled", "unknown", "malformed", "undecodable")]


def _beside_flood(kind: str, *, seconds: float = 4.0) -> Finding:
    """Compare the rate of a good client during a flood with its rate alone."""
    with serving("usual") as server:
        alone = call(server, "rate", seconds / 4, 0)["calls_per_second"]
        with flooding(server.address, kind, 1) as found:
            beside = call(server, "rate", seconds, 0)["calls_per_second"]
    return Finding(
        f"a good client beside calls that are {kind}",
        max(0.0, 1 - beside / alone) * 100,
        10,
        "% slower",
        f"{beside:,.0f} and {alone:,.0f} calls/s; the flood made {found['calls_per_second']:,.0f} calls/s "
        f"and was thrown out {found['thrown_out']:.0f} times",
    )


def stalls() -> list[Finding]:
    """The longest turn of the loop while a server is attacked."""
    attacks = {
        "200 decompression bombs on as many connections": (many_bombs, 50),
        "200 connections with 60 KB of small calls each": (busy_connections, 25),
        "15,000 calls opened and cancelled, as fast as they are read": (one_read, 25),
        "200 calls of unknown methods beside 200 methods of similar names": (unknown_names, 25),
    }
    return [
        Finding(
            title, statistics.median(longest_turn(attack) for _ in range(3)) * 1e3, limit, "ms", "median of 3"
        )
        for title, (attack, limit) in attacks.items()
    ]


def given_up_answers() -> Finding:
    """Answers of 16 MiB, two at a time, given up 10 ms after they were asked for."""
    answers = 60
    with serving() as server:
        command = [sys.executable, "-m", "bench.promises.given_up", server.address, str(answers)]
        found = run_client(command, choose_cores().client, 60)
    return Finding(
        "an answer of 16 MiB that is given up after 10 ms",
        found["bytes"] / answers / MIB,
        4,
        "MiB after that",
        f"{answers} answers, two at a time; the connection was lost {found['connections'] - 1:.0f} times",
    )


def silent_openings() -> Finding:
    """A new client's first call during 400 silent connections."""
    command = [sys.executable, "-m", "bench.promises.openings"]
    with running_server([*command, "serve"], choose_cores().server) as server:
        found = run_client([*command, server.address, "400", "10"], choose_cores().client, 120)
    seconds = sorted(found["seconds"])
    return Finding(
        "a new client beside 400 silent openings",
        seconds[-1] * 1e3,
        250,
        "ms to its first answer",
        f"the slowest of {len(seconds)}; median {statistics.median(seconds) * 1e3:.1f} ms",
    )


def registry_snapshot() -> Finding:
    """A snapshot of 100 MB of records, written while the loop of the embedded registry runs."""
    command = [sys.executable, "-m", "bench.promises.snapshot", "100000000"]
    found = run_client(command, choose_cores().server, 60)
    details = f"{found['records']:.0f} records of 8 KiB, median of the longest stalls of 3 snapshots"
    return Finding(
        "snapshot of 100 MB: the registry's loop stands",
        found["stall_ms"],
        20,
        "ms",
        f"{details}, {found['quiet_ms']:.1f} ms beside none; each is there after {found['seconds']:.1f} s",
    )


def payloads() -> list[Finding]:
    """Payloads made to be expensive, and honest ones for comparison."""
    floods, crowded, honest, bomb = flood_ratios(), crowded_seconds(), honest_ratios(), protobuf_bomb()
    title = f"protobuf: {BOMB_BYTES / 1e6:.0f} MB of empty messages"
    return [
        Finding(
            f"{FLOOD_KEYS:,} keys made to collide",
            max(floods.values()),
            3,
            "times honest ones",
            _each(floods),
        ),
        Finding(
            f"{HONEST_KEYS:,} honest keys", max(honest.values()), 5, "times msgspec alone", _each(honest)
        ),
        Finding(
            f"{CROWDED_KEYS:,} keys, 64 of each hash, that pass",
            max(crowded.values()) * 1e3,
            250,
            "ms the loop stands still",
            _each({name: seconds * 1e3 for name, seconds in crowded.items()}),
        ),
        Finding(title, bomb[0] * 1e3, 50, "ms the loop stands still", "decoded in a process of its own"),
        Finding(title, bomb[1], 16, "MiB", "decoded in a process of its own"),
    ]


def _each(figures: dict[str, float]) -> str:
    return "; ".join(f"{name} {figure:.1f}" for name, figure in figures.items())
