"""Three members of one cluster of etcd or Consul; their messages to each other pass through proxies.

The links of clients, to one server or to the members of a cluster, are proxies as well.
"""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.cluster import in_thread
from tests.support.proxy import FaultProxy
from tests.support.registry_servers import ConsulAgent, EtcdServer

__all__ = ["Quorum", "consul_quorum", "etcd_quorum", "linked"]

MEMBERS = 3

#: A member of Consul waits for a second, not five, before it elects, and drops no member that is away.
CONSUL = (
    "performance { raft_multiplier = 1 } autopilot { cleanup_dead_servers = false } ports { serf_wan = -1 }"
)


class Quorum:
    """Members that keep their items when they are killed; each fault hits one of them.

    Args:
        links: the proxy in front of each member, for the other members.
    """

    def __init__(self, members: Sequence[Any], links: Sequence[FaultProxy], chance: random.Random) -> None:
        self.members = members
        self.links = links
        self._chance = chance
        self._hit = members[0]

    def signal(self, number: int) -> None:
        """Stop a member, or let it continue."""
        if number == signal.SIGSTOP:
            self._hit = self._chance.choice(self.members)
        self._hit.signal(number)

    def kill(self) -> None:
        """End a member without a word."""
        self._hit = self._chance.choice(self.members)
        self._hit.kill()

    def start(self) -> None:
        """Start the member that was killed."""
        self._hit.start()


@asynccontextmanager
async def linked(server: Any, count: int) -> AsyncIterator[tuple[list[str], list[FaultProxy]]]:
    """Yield a URL for each of `count` clients of a server, or of the members of a quorum by turns, and all proxies."""
    members, links = (server.members, server.links) if isinstance(server, Quorum) else ([server], [])
    urls, proxies = [], []
    async with AsyncExitStack() as stack:
        for number in range(count):
            scheme, _, place = members[number % len(members)].url.partition("://")
            proxies.append(await stack.enter_async_context(FaultProxy(f"tcp://{place}")))
            urls.append(proxies[-1].address.replace("tcp", scheme))
        yield urls, [*proxies, *links]


@asynccontextmanager
async def etcd_quorum(program: str, folder: Path, chance: random.Random) -> AsyncIterator[Quorum]:
    """Run members of etcd that elect within less than a fault."""
    timing = ["--heartbeat-interval", "20", "--election-timeout", "200"]
    members = [EtcdServer(program, place, options=timing) for place in _places(folder)]
    async with AsyncExitStack() as stack:
        links = [
            await stack.enter_async_context(FaultProxy(f"tcp://127.0.0.1:{one.peer_port}")) for one in members
        ]
        for one, link in zip(members, links, strict=True):
            one.reached_port = int(link.address.rpartition(":")[2])
        for one in members:
            one.peer_ports = [other.reached_port for other in members]
        await _start(members, stack)
        yield Quorum(members, links, chance)


@asynccontextmanager
async def consul_quorum(program: str, folder: Path, chance: random.Random) -> AsyncIterator[Quorum]:
    """Run servers of Consul. They advertise a host at which their proxy listens, and gossip there without it."""
    members, links = [], []
    async with AsyncExitStack() as stack:
        for number, place in enumerate(_places(folder), start=1):
            own, advertised = f"127.0.1.{number}", f"127.0.2.{number}"
            member = ConsulAgent(program, place, configuration=CONSUL)
            member.kind = [
                *("-server", f"-bootstrap-expect={MEMBERS}", f"-node=member-{number}", f"-data-dir={place}"),
                *(f"-bind={own}", f"-advertise={advertised}", f"-serf-lan-bind={advertised}"),
            ]
            port = member.ports["server"]
            link = FaultProxy(f"tcp://{own}:{port}", place=(advertised, port))
            links.append(await stack.enter_async_context(link))
            members.append(member)
        joined = [
            f"-retry-join=127.0.2.{at}:{one.ports['serf-lan']}" for at, one in enumerate(members, start=1)
        ]
        for member in members:
            member.kind += ["-retry-interval=1s", *joined]
        await _start(members, stack)
        yield Quorum(members, links, chance)


def _places(folder: Path) -> list[Path]:
    places = [folder / f"member-{number}" for number in range(MEMBERS)]
    for place in places:
        place.mkdir()
    return places


async def _start(members: Sequence[Any], stack: AsyncExitStack) -> None:
    """Start members at the same time, as none is ready before a leader is elected."""
    for one in members:
        stack.callback(one.kill)
    await asyncio.gather(*(in_thread(one.start) for one in members))
