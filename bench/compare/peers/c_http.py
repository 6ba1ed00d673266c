"""An HTTP server in C that answers every request with the same bytes: faster than the load generator can measure."""

from pathlib import Path

from bench.compare.http_load import GENERATOR, answer_to, build_generator, load_command
from bench.compare.measurement import LoadOrder
from bench.compare.peers.base import Peer
from bench.compare.workloads import HTTP, Workload
from bench.compare.yardsticks import yardstick_program


class CHttp:
    """`bench/compare/c_http.c` on both sides."""

    name = GENERATOR
    title = "C, one fixed answer"
    family = title
    by_default = False

    def offers(self, workload: Workload) -> bool:
        return workload.name in HTTP

    def prepare(self) -> None:
        build_generator()

    def server_command(self, directory: Path, workload: Workload) -> list[str]:
        answer = f"--answer={answer_to(workload.name)}"
        return [str(yardstick_program(GENERATOR)), "serve", "tcp://127.0.0.1:0", answer]

    def client_command(self, order: LoadOrder) -> list[str]:
        return load_command(order)


PEERS: tuple[Peer, ...] = (CHttp(),)
