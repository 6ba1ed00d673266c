"""The parts of the tables of access: callers by their credentials, a server of every service, and its methods."""

import asyncio
import importlib
import re
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from fastrpc import Call, Proceed, Server, ServerConfig
from fastrpc.auth import Identity, Policy
from fastrpc.auth.verdict import Answer, Presented, Refusal, Verdict
from fastrpc.brokers.remote.service import BrokerService
from fastrpc.coordination.registry.service import RegistryService
from fastrpc.coordination.remote.service import StoreService
from fastrpc.files import FileService
from fastrpc.files.rpcx import RpcxFiles
from fastrpc.relay.service import RelayService
from fastrpc.rpc.service import SERVICE_MARK
from tests.support.guarded import Shop
from tests.support.source_tree import PACKAGE

__all__ = ["SHORT_LIFE", "Counted", "Credentials", "rows", "services_of_the_package"]

#: Seconds for which a credential that expires is valid.
SHORT_LIFE = 0.1


class Credentials:
    """Accepts tokens and certificates by their content."""

    version = 0

    def look(self) -> None:
        pass

    def handles(self, peer: Presented) -> bool:
        return True

    def verify(self, peer: Presented) -> Answer | Awaitable[Answer]:
        said = peer.credentials or ""
        if peer.credentials is None and peer.certificate is not None:
            said = peer.certificate["uris"][0].rpartition("/")[2]
        if said.startswith("later-"):
            return self._later(said.removeprefix("later-"))
        return self._at_once(said)

    def _at_once(self, said: str) -> Answer:
        known = {
            "allowed": Verdict(Identity("allowed")),
            "forbidden": Verdict(Identity("forbidden")),
            "expired": Verdict(Identity("allowed"), time.time() + SHORT_LIFE),
            "past": Verdict(Identity("allowed"), time.time() - 60),
        }
        return known.get(said, Refusal("unknown"))

    async def _later(self, said: str) -> Answer:
        await asyncio.sleep(0)
        return self._at_once(said)


class Counted:
    """A server of every service that comes with fastrpc, and one of a user, and how many handlers it started."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.started = 0
        policy = Policy([{"who": ["allowed", "anonymous"], "allow": ["**", "fastrpc.**"]}])
        self.server = Server(
            Shop(),
            FileService(folder, writable=True),
            RpcxFiles(folder, writable=True),
            RegistryService(),
            StoreService(),
            BrokerService(),
            RelayService("localhost"),
            authenticate=Credentials(),
            authorize=policy,
            interceptors=[self.count],
            config=ServerConfig(**settings),
        )

    async def count(self, call: Call, proceed: Proceed) -> Any:
        self.started += 1
        return await proceed(call)


def rows(server: Server, *, with_public: bool = False) -> dict[str, str]:
    """Return the methods that the table has, by their full names, with their kinds: all that are served."""
    return {
        method.full_name: method.kind
        for service in server._services
        for method in service.methods.values()
        if with_public or not method.public
    }


def services_of_the_package() -> set[str]:
    """Return the names of all services that the package defines; private classes are contracts of other servers."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        module = ".".join(("fastrpc", *path.relative_to(PACKAGE).with_suffix("").parts))
        if re.search(r"^@service\(", path.read_text(encoding="utf-8"), re.MULTILINE):
            for value in vars(importlib.import_module(module)).values():
                mark = getattr(value, SERVICE_MARK, None)
                if mark is not None and value.__module__ == module and not value.__name__.startswith("_"):
                    found.add(mark.name)
    return found
