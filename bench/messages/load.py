"""One client in a separate process; prints the seconds of one operation as JSON.

python -m bench.messages.load CLIENT KIND URL SECONDS [BEHIND]
    CLIENT   ours, nats-py, redis-py, faststream or bare
    KIND     call: a call of the same record, 64 in flight, of ours alone
             publish: a publication, 64 in flight
             handled: a message from its publication to its ack, 64 under way
             backlog: a message to its ack, with BEHIND (200,000) messages waiting at the start, of ours alone
             start: from a publication to the start of its handler, 1,000 a second, the median
"""

import importlib
import json
import sys

import uvloop

import fastrpc
from bench.beside.in_flight import together
from bench.messages.flow import KINDS
from bench.messages.our_client import BEHIND, backlog
from bench.messages.record import Shop, order

__all__ = ["run"]

#: The modules of clients.
CLIENTS = {
    "ours": "bench.messages.our_client",
    "nats-py": "bench.messages.nats_client",
    "redis-py": "bench.messages.redis_client",
    "faststream": "bench.messages.faststream_client",
    "bare": "bench.messages.bare",
}


async def run(client: str, kind: str, url: str, seconds: float, behind: int = BEHIND) -> float:
    """Return the seconds of one operation."""
    if kind == "call":
        async with fastrpc.Client(url) as caller:
            return await together(lambda number: caller.call(Shop.keep, order(number)), seconds)
    if kind == "backlog":
        return await backlog(url, seconds, behind)
    async with importlib.import_module(CLIENTS[client]).connected(url) as broker:
        return await KINDS[kind](broker, seconds)


if __name__ == "__main__":
    client, kind, url, seconds, *behind = sys.argv[1:]
    found = uvloop.run(run(client, kind, url, float(seconds), *map(int, behind)))
    print(json.dumps({"seconds": found}), flush=True)
