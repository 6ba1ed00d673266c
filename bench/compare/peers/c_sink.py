"""Frames sent one way by C over epoll: the machine's limit for a stream (`bench/compare/c_sink.c`)."""

from pathlib import Path

from bench.compare.measurement import LoadOrder
from bench.compare.peers.base import Peer
from bench.compare.workloads import WORKLOADS, Workload
from bench.compare.yardsticks import build_yardstick, yardstick_program

PROGRAM = yardstick_program("c_sink")


class CSink:
    """The yardstick of streams, sent by either side."""

    name = "c_sink"
    title = "C, one way"
    family = title
    by_default = True

    def offers(self, workload: Workload) -> bool:
        return workload.operation in {"server_stream", "client_stream"}

    def prepare(self) -> None:
        build_yardstick("c_sink")

    def server_command(self, directory: Path, workload: Workload) -> list[str]:
        return [str(PROGRAM), "serve", "tcp://127.0.0.1:0"]

    def client_command(self, order: LoadOrder) -> list[str]:
        workload = WORKLOADS[order.workload]
        settings = {
            "size": workload.payload_bytes,
            "warm": order.warm_seconds,
            "seconds": order.seconds,
            "server": order.server_processes[0],
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        if workload.operation == "server_stream":
            options.append("--receive")
        return [str(PROGRAM), "load", order.address, *options]


PEERS: tuple[Peer, ...] = (CSink(),)
