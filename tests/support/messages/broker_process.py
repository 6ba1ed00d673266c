"""`fastrpc broker` in a separate process."""

import sys
from pathlib import Path

from tests.support.kept_process import KeptProcess, accepts
from tests.support.ports import free_ports

__all__ = ["HostedBroker"]


class HostedBroker(KeptProcess):
    """`fastrpc broker`, which keeps its messages in a folder over kill and start."""

    IS_WARM = True

    def __init__(self, folder: Path, *options: str) -> None:
        super().__init__(folder / "broker.log")
        self.data = folder / "broker"
        self._options = options
        (self.port,) = free_ports(1)

    @property
    def url(self) -> str:
        return f"broker://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        address = f"tcp://127.0.0.1:{self.port}"
        return [
            *(sys.executable, "-m", "fastrpc", "broker", "-a", address),
            *("--data-dir", str(self.data), *self._options),
        ]

    def is_ready(self) -> bool:
        return accepts("127.0.0.1", self.port)
