"""Go's `net/http` with `encoding/json` (`bench/compare/go/net_http`)."""

import subprocess

from bench.compare.compiled import GoPeer
from bench.compare.http_load import build_generator, load_command
from bench.compare.measurement import LoadOrder
from bench.compare.peers.base import Peer
from bench.compare.workloads import HTTP, Workload


class NetHttp(GoPeer):
    """A server of Go's standard library, whose version is that of Go."""

    needs_protobuf = False

    @property
    def version(self) -> str:
        if not self.program.exists():
            return super().version
        output = subprocess.run([self.program, "version"], capture_output=True, text=True, check=True)
        return output.stdout.strip().removeprefix("go")

    def offers(self, workload: Workload) -> bool:
        return workload.name in HTTP

    def prepare(self) -> None:
        super().prepare()
        build_generator()

    def client_command(self, order: LoadOrder) -> list[str]:
        return load_command(order)


# In go.mod the line `go` names the oldest sufficient version of Go.
PEERS: tuple[Peer, ...] = (NetHttp("net_http", "net/http", library="go"),)
