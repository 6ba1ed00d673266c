"""The bare C echo over epoll: what the machine gives to a perfect engine (`bench/compare/c_echo.c`)."""

from pathlib import Path
from typing import Literal

from bench.compare.measurement import LoadOrder
from bench.compare.peers.base import Peer
from bench.compare.workloads import WORKLOADS, Workload
from bench.compare.yardsticks import build_yardstick, yardstick_program

PROGRAM = yardstick_program("c_echo")


class CEcho:
    """The yardstick, over tcp or unix sockets, sleeping or spinning."""

    def __init__(
        self,
        name: str,
        title: str,
        *,
        scheme: Literal["tcp", "unix"] = "tcp",
        spins: bool = False,
        by_default: bool = False,
    ) -> None:
        self.name = name
        self.title = title
        self.family = title
        self.by_default = by_default
        self._scheme = scheme
        self._flags = ["--spin"] if spins else []

    def offers(self, workload: Workload) -> bool:
        return workload.operation in {"echo", "echo_connections"}

    def prepare(self) -> None:
        build_yardstick("c_echo")

    def server_command(self, directory: Path, workload: Workload) -> list[str]:
        address = "tcp://127.0.0.1:0" if self._scheme == "tcp" else f"unix://{directory}/socket"
        return [str(PROGRAM), "serve", address, *self._flags]

    def client_command(self, order: LoadOrder) -> list[str]:
        workload = WORKLOADS[order.workload]
        settings = {
            "size": workload.payload_bytes,
            "in-flight": workload.in_flight,
            "connections": workload.connections,
            "sample": workload.sample_every,
            "warm": order.warm_seconds,
            "seconds": order.seconds,
            "server": order.server_processes[0],
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [str(PROGRAM), "load", order.address, *options, *self._flags]


PEERS: tuple[Peer, ...] = (
    CEcho("c_echo", "C echo", by_default=True),
    CEcho("c_echo_unix", "C echo, unix socket", scheme="unix"),
    CEcho("c_echo_spin", "C echo, spinning", spins=True),
    CEcho("c_echo_unix_spin", "C echo, unix socket, spinning", scheme="unix", spins=True),
)
