"""kitex, CloudWeGo's stack in Go, with multiplexed Thrift and with gRPC (`bench/compare/go/kitex`).

The Go module is separate: kitex needs forty others.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from bench.compare.compiled import CALLS, THRIFT, TYPED_CALLS, GoPeer, overlay_of, run_tool
from bench.compare.paths import BUILD
from bench.compare.peers.base import Peer
from bench.compare.protobuf import PROTO
from bench.compare.workloads import Operation

#: The package that kitex's generator makes in its folder.
GENERATED = "kitex_gen"


class Kitex(GoPeer):
    """One of the two protocols, each with a program."""

    def __init__(self, name: str, title: str, package: str, calls: Sequence[Operation]) -> None:
        super().__init__(name, title, library="github.com/cloudwego/kitex", calls=calls)
        self._package = package

    @property
    def package(self) -> str:
        return f"kitex/{self._package}"

    def generate(self, go: str) -> Path:
        module = self.sources / "kitex"
        folder = BUILD / "go" / "kitex_generated"
        tool = folder / "kitex"
        folder.mkdir(parents=True, exist_ok=True)
        run_tool([go, "build", "-o", str(tool), "github.com/cloudwego/kitex/tool/cmd/kitex"], module)
        # The generator reads the name of the module there and writes beneath it.
        shutil.copy(module / "go.mod", folder)
        for source in (THRIFT, PROTO):
            options = ["-module", "fastrpc.test/compare/kitex", "-no-dependency-check"]
            run_tool([str(tool), *options, str(source)], folder)
        return overlay_of(folder / GENERATED, module / GENERATED)


PEERS: tuple[Peer, ...] = (
    Kitex("kitex", "kitex, Thrift, multiplexed", "thrift", CALLS),
    Kitex("kitex_grpc", "kitex, gRPC", "grpc", TYPED_CALLS),
)
