"""One tier of several that call each other, as a process: each passes calls on to the next, the last one answers."""

import asyncio
import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fastrpc
from fastrpc import Call, CallError, Client, ClientConfig, OverloadedError, Proceed, Server, Status
from fastrpc.config import Pool
from tests.support.kept_process import KeptProcess, accepts
from tests.support.ports import free_ports

__all__ = ["MODES", "Tier", "TierProcess"]

#: How a tier answers: correctly, with an error that asks for another attempt, or not at all, before any handler.
MODES = ("well", "unavailable", "refusing")


@fastrpc.service("tier")
class Tier:
    """Counts the arrived calls."""

    def __init__(self, following: Client | None) -> None:
        self._following = following
        self._mode = "well"
        self._arrived = 0

    @fastrpc.method(idempotent=True)
    async def work(self) -> None:
        """Pass the call on; errors of the next tier are returned unchanged."""
        if self._mode == "unavailable":
            raise CallError(Status.UNAVAILABLE, "it fails", retry_after=0.01)
        if self._following is not None:
            await self._following.call(Tier.work)

    @fastrpc.method
    async def behave(self, mode: str) -> None:
        self._mode = mode

    @fastrpc.method
    async def arrived(self) -> int:
        """Return how many calls of `work` came, refused ones included."""
        return self._arrived

    async def count(self, call: Call, proceed: Proceed) -> Any:
        """Stand before every handler."""
        if call.method == "tier.work":
            self._arrived += 1
            if self._mode == "refusing":
                raise OverloadedError("it is full")
        return await proceed(call)


class TierProcess(KeptProcess):
    """A tier with two addresses, so that whoever calls it has a choice.

    Args:
        following: the addresses of the next tier; empty for the last one.
        breaker: whether it stops calling failing endpoints.
    """

    def __init__(self, folder: Path, following: Sequence[str], *, breaker: bool) -> None:
        self._ports = free_ports(2)
        super().__init__(folder / f"tier-{self._ports[0]}.log")
        self._following = list(following)
        self._breaker = breaker

    @property
    def addresses(self) -> list[str]:
        return [f"tcp://127.0.0.1:{port}" for port in self._ports]

    def command(self) -> list[str]:
        options = {"addresses": self.addresses, "following": self._following, "breaker": self._breaker}
        return [sys.executable, "-m", "tests.support.tier", json.dumps(options)]

    def is_ready(self) -> bool:
        return all(accepts("127.0.0.1", port) for port in self._ports)


def client_config(*, breaker: bool) -> ClientConfig:
    """Return the configuration of whoever calls a tier."""
    return ClientConfig() if breaker else ClientConfig(pool=Pool(breaker=None))


async def main(options: dict[str, Any]) -> None:
    """Serve until killed."""
    async with contextlib.AsyncExitStack() as stack:
        following = None
        if options["following"]:
            config = client_config(breaker=options["breaker"])
            following = await stack.enter_async_context(Client(options["following"], config=config))
        tier = Tier(following)
        server = await stack.enter_async_context(Server(tier, interceptors=[tier.count]))
        for address in options["addresses"]:
            await server.listen(address)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
