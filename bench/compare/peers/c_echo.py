"""The bare C echo over epoll: the rate that the machine allows a perfect engine (`bench/compare/c_echo.c`)."""

from pathlib import Path
from typing import Literal

from bench.compare.certificates import AUTHORITY, CERTIFICATE, KEY, make_certificates
from bench.compare.measurement import LoadOrder
from bench.compare.peers.base import Peer
from bench.compare.workloads import WORKLOADS, Workload
from bench.compare.yardsticks import build_yardstick, yardstick_program


class CEcho:
    """The yardstick, over tcp, TLS or unix sockets, sleeping or spinning."""

    def __init__(
        self,
        name: str,
        title: str,
        *,
        scheme: Literal["tcp", "tls", "unix"] = "tcp",
        spins: bool = False,
        by_default: bool = False,
    ) -> None:
        self.name = name
        self.title = title
        self.family = title
        self.by_default = by_default
        self._scheme = scheme
        self._yardstick = "c_echo_tls" if scheme == "tls" else "c_echo"
        self._flags = ["--spin"] if spins else []

    def offers(self, workload: Workload) -> bool:
        if workload.operation == "echo":
            # The client waits for an answer before it calls again.
            return workload.rate == 0
        return workload.operation == "echo_connections" and self._scheme != "tls"

    def prepare(self) -> None:
        build_yardstick(self._yardstick)
        if self._scheme == "tls":
            make_certificates()

    def server_command(self, directory: Path, workload: Workload) -> list[str]:
        address = f"unix://{directory}/socket" if self._scheme == "unix" else "tcp://127.0.0.1:0"
        shown = [f"--cert={CERTIFICATE}", f"--key={KEY}"] if self._scheme == "tls" else []
        return [str(yardstick_program(self._yardstick)), "serve", address, *self._flags, *shown]

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
        trusted = [f"--ca={AUTHORITY}"] if self._scheme == "tls" else []
        return [
            str(yardstick_program(self._yardstick)),
            "load",
            order.address,
            *options,
            *self._flags,
            *trusted,
        ]


PEERS: tuple[Peer, ...] = (
    CEcho("c_echo", "C echo", by_default=True),
    CEcho("c_echo_unix", "C echo, unix socket", scheme="unix"),
    CEcho("c_echo_tls", "C echo, OpenSSL", scheme="tls"),
    CEcho("c_echo_spin", "C echo, spinning", spins=True),
    CEcho("c_echo_unix_spin", "C echo, unix socket, spinning", scheme="unix", spins=True),
)
