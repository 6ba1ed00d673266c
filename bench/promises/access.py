"""Identified callers: their cost, and that the time of a refusal reveals nothing about a token.

`python -m bench.promises.access serve plain|guarded` serves, `… ADDRESS` measures and prints JSON.
"""

import asyncio
import itertools
import json
import math
import random
import secrets
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import uvloop

import fastrpc
from bench.compare.peers.base import announce
from bench.compare.processes import choose_cores, run_client, running_server
from bench.promises.caller import measure_rate
from bench.promises.finding import Finding
from bench.promises.server import CONFIG, Promised, read_all_input
from fastrpc import Peer
from fastrpc.auth import Identity, Policy, StaticTokens
from fastrpc.endpoint import Address
from fastrpc.limits import RateLimit

__all__ = ["guarded_rate", "token_timings"]

TOKEN = "token-of-ada"
RULES = 100
PAIRS = 100_000
#: Tokens of each kind that are made before they are presented.
BATCH = 1_000
ADDRESS = Address("tcp", host="10.0.0.7", port=1)
#: Refusals above this part are left out: they were interrupted (Reparaz and others, "Dude, is my code constant time?").
KEPT = 0.9

_COMMAND = [sys.executable, "-m", "bench.promises.access"]


def guarded_rate(kind: str) -> float:
    """Return the calls per second of a client with a token."""
    with running_server([*_COMMAND, "serve", kind], choose_cores().server) as server:
        return float(run_client([*_COMMAND, server.address], choose_cores().client, 30)["calls_per_second"])


def token_timings() -> list[Finding]:
    """Wrong tokens that share all but one byte with a listed one, against tokens that share nothing with it."""
    listed = secrets.token_urlsafe(32)
    tokens = StaticTokens({listed: Identity("ada")})
    makers: list[Callable[[], str]] = [
        lambda: secrets.choice("-_.~".replace(listed[0], "")) + listed[1:],
        lambda: listed[:-1] + secrets.choice("-_.~"),
        lambda: secrets.token_urlsafe(32),
    ]
    times: list[list[int]] = [[] for _ in makers]
    for _ in range(PAIRS // BATCH):
        for kind, token in mixed(makers):
            peer = Peer(ADDRESS, "bearer", token)
            began = time.perf_counter_ns()
            tokens.verify(peer)
            times[kind].append(time.perf_counter_ns() - began)
    bound = sorted(itertools.chain(*times))[int(len(makers) * PAIRS * KEPT)]
    first, last, unknown = ([taken for taken in group if taken <= bound] for group in times)
    return [
        Finding(
            f"wrong tokens that differ in the {title}",
            abs(welch(some, others)),
            4.5,
            "Welch's t",
            f"{statistics.fmean(some):.1f} and {statistics.fmean(others):.1f} ns, {PAIRS:,} pairs",
        )
        for title, some, others in (
            ("first or in the last byte", first, last),
            ("last byte or in all", last, unknown),
        )
    ]


def mixed(makers: Sequence[Callable[[], str]]) -> list[tuple[int, str]]:
    """Return a batch of tokens of each kind, in random order.

    The tokens are made in that order and in one way: if the tokens of one kind had separate places in memory, they
    would be read faster or slower than others, by a nanosecond or two.
    """
    kinds = [kind for kind in range(len(makers)) for _ in range(BATCH)]
    random.shuffle(kinds)
    made = [(kind, list(makers[kind]())) for kind in kinds]
    return [(kind, "".join(characters)) for kind, characters in made]


def welch(some: Sequence[float], others: Sequence[float]) -> float:
    """Return Welch's t of two samples."""
    spread = statistics.variance(some) / len(some) + statistics.variance(others) / len(others)
    return (statistics.fmean(some) - statistics.fmean(others)) / math.sqrt(spread)


def options(kind: str) -> dict[str, Any]:
    """Return the options of a server: an authentication, 100 rules and a rate for each caller, or none."""
    if kind == "plain":
        return {}
    rules: list[dict[str, Any]] = [
        {"who": [f"caller-{number}", f"role:{number}"], "allow": [f"shop-{number}.*"]}
        for number in range(RULES - 1)
    ]
    return {
        "authenticate": StaticTokens({TOKEN: Identity("ada")}),
        "authorize": Policy([*rules, {"who": ["ada"], "allow": ["bench.*"]}]),
        "limits": [RateLimit(10_000_000, 1_000_000, per="identity")],
    }


async def serve(kind: str) -> None:
    """Serve until standard input closes."""
    async with fastrpc.Server(Promised(), config=CONFIG, **options(kind)) as server:
        announce(str(await server.listen("tcp://127.0.0.1:0")))
        await asyncio.to_thread(read_all_input)
        await server.drain(timeout=0.1)


async def load(address: str) -> dict[str, float]:
    """Measure the rate of a client that shows its token."""
    async with fastrpc.Client(address, credentials=TOKEN) as client:
        await client.ready(timeout=10)
        return await measure_rate(client, 1.5)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        uvloop.run(serve(sys.argv[2]))
    else:
        print(json.dumps(uvloop.run(load(sys.argv[1]))), flush=True)
