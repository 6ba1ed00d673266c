"""Programs of Go for the tests with real servers, built once into `.cache`.

Run as a program, it builds those that `make services` needs: a first build takes minutes of all cores, and no test
waits so long.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.cache_folder import CACHE, alone
from tests.support.source_tree import ROOT

__all__ = ["ACTIONLINT", "FIRST", "GHZ", "GO", "GRPC_PROGRAMS", "INTEROP", "PROGRAMS"]

#: Programs are built by the installed Go, without a C compiler, with any settings of the user.
GO = {"GOFLAGS": "", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}


@dataclass(frozen=True)
class Built:
    """A folder of `tests/services` as a program, or packages that its go.mod names as a folder of programs."""

    source: str
    output: str
    packages: tuple[str, ...] = ()

    def path(self) -> Path:
        """Return the path, built anew unless it is up to date."""
        output = CACHE / self.output
        if self.packages:
            output.mkdir(parents=True, exist_ok=True)
        command = ["go", "build", "-o", str(output), *(self.packages or ["."])]
        with alone(output.name):
            folder = ROOT / "tests" / "services" / self.source
            subprocess.run(command, cwd=folder, check=True, env={**os.environ, **GO})
        return output


@dataclass(frozen=True)
class Installed:
    """Published programs, each under its name and version in one folder."""

    programs: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the programs in the folder."""
        return tuple(program.rpartition("/")[2] for program in self.programs)

    def path(self) -> Path:
        """Return the folder; a program that is not there yet is built."""
        folder = CACHE / "grpc_programs"
        folder.mkdir(parents=True, exist_ok=True)
        for program, name in zip(self.programs, self.names, strict=True):
            built = folder / name
            with alone(built.name):
                if not built.exists():
                    environment = {**os.environ, **GO, "GOBIN": str(folder)}
                    subprocess.run(["go", "install", program], check=True, env=environment)
                    # A program of another version is built anew.
                    (folder / built.name.partition("@")[0]).rename(built)
        return folder


#: grpc-go's programs for tests between implementations.
INTEROP = Installed(
    (
        "google.golang.org/grpc/interop/client@v1.85.0",
        "google.golang.org/grpc/interop/server@v1.85.0",
        "google.golang.org/grpc/interop/http2@v1.85.0",
    )
)

#: Programs that ask servers of gRPC, and a generator of load by grpc-go.
GRPC_PROGRAMS = Installed(
    (
        "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4",
        "github.com/grpc-ecosystem/grpc-health-probe@v0.4.61",
    )
)
GHZ = Installed(("github.com/bojand/ghz/cmd/ghz@v0.120.0",))

#: The checker of `.github/workflows`. Its package for Python fetches a program from GitHub when it is installed.
ACTIONLINT = Installed(("github.com/rhysd/actionlint/cmd/actionlint@v1.7.12",))

H2SPEC = tuple(f"github.com/summerwind/h2spec/cmd/{name}" for name in ("h2spec", "h2specd"))

#: The programs by the names of their fixtures.
PROGRAMS = {
    "actionlint_folder": ACTIONLINT,
    "connect_go_path": Built("grpc_peers/go", "connect_go"),
    "conformance_folder": Built(
        "conformance", "conformance", ("connectrpc.com/conformance/cmd/connectconformance",)
    ),
    "etcd_new_path": Built("etcd_server", "etcd"),
    "ghz_folder": GHZ,
    "go_deimos": Built("go_deimos", "go_deimos"),
    "go_mdns": Built("go_mdns", "go_mdns"),
    "go_rpcx": Built("go_rpcx", "go_rpcx"),
    "grpc_go_path": Built("grpc_go", "grpc_go"),
    "grpc_programs": GRPC_PROGRAMS,
    "h2spec_folder": Built("h2spec", "h2spec", H2SPEC),
    "interop_programs": INTEROP,
    "kube_apiserver_path": Built("kube_apiserver", "kube_apiserver"),
    "judge": Built("porcupine", "porcupine"),
}

#: The programs that tests without the mark `conformance` need.
FIRST = ("actionlint_folder", "go_mdns", "go_rpcx", "grpc_go_path", "h2spec_folder", "interop_programs")

if __name__ == "__main__":
    if shutil.which("go") is None:
        sys.exit("Go is not installed; `make services` builds clients and servers in it")
    for name in FIRST:
        PROGRAMS[name].path()
