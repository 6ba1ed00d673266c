"""A relay on loopback, with servers behind it and certificates for their names."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from fastrpc import TLS, Client, ClientConfig, Identity, Server, ServerConfig, Timeouts
from fastrpc.auth import Policy, StaticTokens
from fastrpc.relay.front import RelayLimits
from fastrpc.relay.server import RelayServer
from fastrpc.relay.service import RelayService
from fastrpc.relay.wire import ClaimTicket
from tests.support.certificates import Authority, Certificate

__all__ = ["EDGE_RULES", "RelayFiles", "Relaying", "claiming", "relaying"]

#: The rights of two owners of names.
EDGE_RULES = [
    {"who": ["edge"], "relay": ["edge-*"]},
    {"who": ["other"], "relay": ["edge-*", "shop"]},
    {"who": ["reader"], "allow": ["arith.*"]},
]

OWNERS = ("edge", "other", "reader")


@dataclass(frozen=True)
class RelayFiles:
    """Certificates and tokens."""

    folder: Path
    authority: Authority
    relay: Certificate
    edge: Certificate
    other: Certificate

    @classmethod
    def made(cls, folder: Path) -> "RelayFiles":
        """Make them in a folder."""
        authority = Authority(folder)
        for name in OWNERS:
            (folder / f"{name}.token").write_text(f"token-of-{name}")
        tokens = "".join(f'[[token]]\ntoken = "token-of-{name}"\nname = "{name}"\n' for name in OWNERS)
        (folder / "tokens.toml").write_text(tokens)
        return cls(
            folder,
            authority,
            authority.certificate("DNS:localhost"),
            authority.certificate("DNS:edge-7.localhost"),
            authority.certificate("DNS:edge-8.localhost"),
        )

    @property
    def client(self) -> ClientConfig:
        """The settings of a client that trusts the authority, and waits for a busy machine."""
        return ClientConfig(tls=TLS(ca_file=self.authority.cert_file), timeouts=Timeouts(connect=10.0))

    @property
    def tokens(self) -> StaticTokens:
        """The tokens of the owners."""
        return StaticTokens({f"token-of-{name}": Identity(name) for name in OWNERS})

    @property
    def tokens_file(self) -> Path:
        """The same as a file."""
        return self.folder / "tokens.toml"

    def options(self, owner: str = "edge") -> str:
        """Return the options of an address at which an owner listens."""
        return f"?token_file={self.folder / owner}.token&ca_file={self.authority.cert_file}"


class Relaying:
    """A relay that runs, and its servers."""

    def __init__(self, files: RelayFiles, relay: RelayServer, stack: AsyncExitStack) -> None:
        self.files = files
        self.relay = relay
        self.front = relay.front
        self._stack = stack

    @property
    def port(self) -> int:
        """The port of the relay."""
        return self.relay.address.port

    def target(self, name: str = "edge-7") -> str:
        """Return the address of a server for clients."""
        return f"{self.relay.url}/{name}"

    async def serve(
        self,
        *sources: Any,
        name: str = "edge-7",
        owner: str = "edge",
        certificate: Certificate | None = None,
        config: ServerConfig | None = None,
        **options: Any,
    ) -> Server:
        """Serve behind the relay until the end of the test."""
        shown = certificate or (self.files.other if name == "edge-8" else self.files.edge)
        settings = replace(config or ServerConfig(), tls=shown.tls())
        server = await self._stack.enter_async_context(Server(*sources, config=settings, **options))
        await server.listen(self.target(name) + self.files.options(owner))
        return server


@asynccontextmanager
async def relaying(
    files: RelayFiles, *, address: str = "tls://127.0.0.1:0", rules: Any = EDGE_RULES, **limits: Any
) -> AsyncIterator[Relaying]:
    """Run a relay."""
    relay = RelayServer(
        address,
        name="localhost",
        tls=files.relay.tls(),
        authenticate=files.tokens,
        policy=Policy(rules),
        limits=RelayLimits(**limits),
    )
    async with relay, AsyncExitStack() as stack:
        yield Relaying(files, relay, stack)


class Reached(Protocol):
    """A relay in this process or in another one."""

    @property
    def files(self) -> RelayFiles: ...

    @property
    def port(self) -> int: ...


@asynccontextmanager
async def claiming(
    relay: Reached,
    token: str | None = "token-of-edge",
    name: str = "edge-7",
    *,
    instance: str = "a",
    takes_over: bool = True,
    started: int = 0,
) -> AsyncIterator[AsyncIterator[ClaimTicket]]:
    """Yield the tickets of a claim; the test opens the data connections."""
    async with (
        Client(f"tls://localhost:{relay.port}", credentials=token, config=relay.files.client) as client,
        client.stream(RelayService.claim, name, instance, takes_over, started) as tickets,
    ):
        yield tickets
