"""A relay as a process that is killed and comes back at its port, and a server behind it as another process."""

import sys
from collections.abc import Sequence
from pathlib import Path

import fastrpc
from tests.support.kept_process import KeptProcess, accepts
from tests.support.ports import free_ports
from tests.support.relayed import RelayFiles

__all__ = ["Place", "RelayProcess", "RelayedProcess"]


@fastrpc.service("place")
class Place:
    """A service for `RelayedProcess`."""

    @fastrpc.method(idempotent=True)
    async def here(self) -> str:
        return "here"


class RelayProcess(KeptProcess):
    """`fastrpc relay` with the tokens of `RelayFiles`: each of them claims each name.

    Args:
        beneath: a command that runs it.
    """

    IS_WARM = True

    def __init__(self, files: RelayFiles, folder: Path, *, beneath: Sequence[str] = ()) -> None:
        (self.port,) = free_ports(1)
        super().__init__(folder / f"relay-{self.port}.log")
        self.files = files
        self._beneath = beneath

    def target(self, name: str = "edge-7") -> str:
        """Return the address of a server for clients."""
        return f"relay://localhost:{self.port}/{name}"

    def command(self) -> list[str]:
        shown = ["--tls-cert", str(self.files.relay.cert_file), "--tls-key", str(self.files.relay.key_file)]
        access = ["--tokens", str(self.files.tokens_file)]
        place = ["--address", f"tls://127.0.0.1:{self.port}", "--name", "localhost"]
        return [*self._beneath, sys.executable, "-m", "fastrpc", "relay", *place, *shown, *access]

    def is_ready(self) -> bool:
        return accepts("127.0.0.1", self.port)


class RelayedProcess(KeptProcess):
    """`fastrpc run` behind a relay.

    Args:
        app: the application argument of `fastrpc run`.
    """

    IS_WARM = True

    def __init__(self, app: str, address: str, files: RelayFiles, folder: Path) -> None:
        super().__init__(folder / "relayed.log")
        self._app = app
        self._address = address
        self._files = files

    def command(self) -> list[str]:
        shown = ["--tls-cert", str(self._files.edge.cert_file), "--tls-key", str(self._files.edge.key_file)]
        place = ["--address", self._address + self._files.options()]
        return [sys.executable, "-m", "fastrpc", "run", self._app, *place, *shown]

    def is_ready(self) -> bool:
        return "serving at" in self.written()
