"""A server of a cluster, as the process that a user would write: `serve` with a registry."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fastrpc
from fastrpc import ServerConfig, Timeouts
from fastrpc.endpoint import Address
from tests.support.kept_process import KeptProcess, accepts
from tests.support.ledger import Journal
from tests.support.noted import Noted
from tests.support.ports import free_ports

__all__ = ["Member"]


class Member(KeptProcess):
    """A server of `Noted` that keeps its address over restarts.

    Args:
        journal: where its handlers record their work.
        registry: the registry or registries for itself; None for no registration.
        address: a free port when it is left out.
        announce: seconds for which it still serves once it has left the registry.
    """

    def __init__(
        self,
        folder: Path,
        journal: Path,
        *,
        registry: str | Sequence[str] | None = None,
        address: str | None = None,
        workers: int = 1,
        announce: float = 0.0,
    ) -> None:
        self.address = address or f"tcp://127.0.0.1:{free_ports(1)[0]}"
        place = Address.parse(self.address)
        super().__init__(folder / f"member-{place.host}-{place.port}.log")
        self._place = place.host, place.port
        self._options: dict[str, Any] = {
            "address": self.address,
            "registry": registry,
            "journal": str(journal),
            "workers": workers,
            "announce": announce,
        }

    def move_to(self, *registries: str) -> None:
        """Register in these when it is started next."""
        self._options["registry"] = registries

    def command(self) -> list[str]:
        return [sys.executable, "-m", "tests.support.member", json.dumps(self._options)]

    def is_ready(self) -> bool:
        return accepts(*self._place)


def main(options: dict[str, Any]) -> None:
    """Serve until SIGTERM."""
    fastrpc.serve(
        lambda: Noted(Journal(Path(options["journal"]))),
        address=options["address"],
        registry=options["registry"],
        workers=options["workers"],
        config=ServerConfig(timeouts=Timeouts(announce=options["announce"])),
    )


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
