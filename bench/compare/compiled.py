"""Peers in Go and Rust: programs built from `go/` and `rust/` that load as `load.py` does.

Each program takes `serve`, or `serve CERT KEY` for TLS, or `load ORDER`; the order is one JSON object with all
parameters of the workload, so that no value is repeated. The toolchains fetch the packages in `go.sum` and
`Cargo.lock`; all built and generated files are in the build directory.
"""

import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar

from bench.compare.certificates import AUTHORITY, CERTIFICATE, KEY, make_certificates
from bench.compare.measurement import LoadOrder
from bench.compare.paths import BUILD, SOURCES
from bench.compare.peers.base import PeerUnavailableError, find_peers
from bench.compare.protobuf import PROTO
from bench.compare.workloads import (
    RECORD_ID,
    RECORD_NAME,
    RECORD_SCORE,
    RECORD_TAGS,
    WORKLOADS,
    Operation,
    Workload,
)

#: The longest time for downloading and compiling everything the first time.
BUILD_SECONDS = 900.0

#: The folders of the toolchains' installers, which not every PATH contains.
USUAL_PLACES = ("/usr/local/go/bin", str(Path.home() / ".cargo" / "bin"))

#: The Go module, and its package that is generated.
GO_MODULE = "fastrpc.test/compare"
GO_PACKAGE = "benchpb"

#: The types that the peers of Thrift exchange.
THRIFT = SOURCES / "bench.thrift"

CALLS: tuple[Operation, ...] = ("echo", "mul", "record")
#: For stacks whose every message is a protobuf message.
TYPED_CALLS: tuple[Operation, ...] = ("mul", "record")
STREAMS: tuple[Operation, ...] = ("server_stream", "client_stream", "both_ways")


class CompiledPeer:
    """A peer whose server and client are one program, built when its sources are newer."""

    #: The folder of the program's sources, apart from `bench.proto` and `bench.thrift`.
    sources: ClassVar[Path]

    def __init__(
        self,
        name: str,
        title: str,
        *,
        library: str,
        calls: Sequence[Operation] = CALLS,
        has_streams: bool = False,
        further: Sequence[Operation] = (),
    ) -> None:
        self.name = name
        self.title = title
        self.family = title
        self.by_default = True
        self._library = library
        self._operations = (*calls, *(STREAMS if has_streams else ()), *further)

    @property
    def stack(self) -> str:
        """The name of the measured stack: the title up to the configuration."""
        return self.title.partition(",")[0]

    @property
    def program(self) -> Path:
        """The path of the built program."""
        raise NotImplementedError

    @property
    def version(self) -> str:
        """The version of the measured library that the program is built with."""
        raise NotImplementedError

    def build(self) -> None:
        """Build the program; raise PeerUnavailableError where that cannot be."""
        raise NotImplementedError

    def offers(self, workload: Workload) -> bool:
        return workload.operation in self._operations

    def prepare(self) -> None:
        if is_newer(self.program, [PROTO, THRIFT, *self.sources.rglob("*")]):
            return
        print(f"building {self.name}, which takes minutes the first time", file=sys.stderr, flush=True)
        self.build()

    def server_command(self, directory: Path, workload: Workload | None = None) -> list[str]:
        return [str(self.program), "serve"]

    def client_command(self, order: LoadOrder) -> list[str]:
        return [str(self.program), "load", json.dumps(full_order(order))]


class GoPeer(CompiledPeer):
    """A peer that is a package of the Go module in `go/`, or a separate module beneath it."""

    sources = SOURCES / "go"

    #: Whether it imports the package that is generated.
    needs_protobuf: ClassVar[bool] = True

    @property
    def package(self) -> str:
        """The folder of its program."""
        return self.name

    def generate(self, go: str) -> Path | None:
        """Generate the program's imports; return the overlay that puts them into the module, if any."""
        return _generate_go(go) if self.needs_protobuf else None

    @property
    def program(self) -> Path:
        return BUILD / "go" / self.package

    @property
    def version(self) -> str:
        folder = self.sources / self.package
        modules = (each / "go.mod" for each in (folder, *folder.parents))
        module = next(module for module in modules if module.exists())
        lines = (line.split() for line in module.read_text().splitlines())
        return next(words[1].removeprefix("v") for words in lines if words[:1] == [self._library])

    def build(self) -> None:
        go = toolchain("go")
        overlay = self.generate(go)
        options = [f"-overlay={overlay}"] if overlay else []
        run_tool([go, "build", *options, "-o", str(self.program), "."], self.sources / self.package)
        self.program.touch()


class EncryptedGoPeer(GoPeer):
    """A Go peer over TLS 1.3, with the program of its plain peer."""

    def __init__(self, plain: GoPeer, *, library: str, has_streams: bool = False) -> None:
        title = f"{plain.title}, TLS 1.3"
        super().__init__(f"{plain.name}_tls", title, library=library, has_streams=has_streams)
        self.by_default = False
        self._plain = plain

    @property
    def package(self) -> str:
        return self._plain.package

    def prepare(self) -> None:
        super().prepare()
        make_certificates()

    def server_command(self, directory: Path, workload: Workload | None = None) -> list[str]:
        return [*super().server_command(directory, workload), str(CERTIFICATE), str(KEY)]

    def client_command(self, order: LoadOrder) -> list[str]:
        return [str(self.program), "load", json.dumps({**full_order(order), "authority": str(AUTHORITY)})]


class RustPeer(CompiledPeer):
    """A peer that is a package of the cargo workspace in `rust/`."""

    sources = SOURCES / "rust"

    @property
    def package(self) -> str:
        """The name of its package and program."""
        return f"{self.name}_peer"

    @property
    def program(self) -> Path:
        return BUILD / "rust" / "release" / self.package

    @property
    def version(self) -> str:
        packages = tomllib.loads((self.sources / "Cargo.lock").read_text())["package"]
        version: str = next(package["version"] for package in packages if package["name"] == self._library)
        return version

    def build(self) -> None:
        cargo = toolchain("cargo")
        command = [cargo, "build", "--release", "--locked", f"--package={self.package}"]
        command.append(f"--target-dir={BUILD / 'rust'}")
        run_tool(command, self.sources, {"PROTOC": str(_protoc_program())})
        self.program.touch()


def built_versions() -> dict[str, str]:
    """Return the versions of the libraries that the programs built so far measure, by name."""
    peers = find_peers()[0].values()
    return {
        peer.stack: peer.version for peer in peers if isinstance(peer, CompiledPeer) and peer.program.exists()
    }


def full_order(order: LoadOrder) -> dict[str, object]:
    """Return an order with the workload spelled out, as a program without `workloads.py` needs it."""
    workload = WORKLOADS[order.workload]
    return {
        **asdict(order),
        "operation": workload.operation,
        "payload_bytes": workload.payload_bytes,
        "in_flight": workload.in_flight,
        "rate": workload.rate,
        "sample_every": workload.sample_every,
        "record": {"id": RECORD_ID, "name": RECORD_NAME, "score": RECORD_SCORE, "tags": RECORD_TAGS},
    }


def is_newer(program: Path, sources: Sequence[Path]) -> bool:
    """Tell whether a program exists and is newer than every file it is built from."""
    if not program.exists():
        return False
    built = program.stat().st_mtime
    return all(source.stat().st_mtime < built for source in sources if source.is_file())


def toolchain(name: str) -> str:
    """Return the path of a compiler; raise PeerUnavailableError if it is not installed."""
    path = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *USUAL_PLACES]))
    if path is None:
        raise PeerUnavailableError(f"no {name} found")
    return path


def _generate_go(go: str) -> Path:
    """Generate the Go package of `bench.proto`; return the overlay that puts it into the module."""
    tools, generated = BUILD / "go" / "tools", BUILD / "go" / GO_PACKAGE
    for folder in (tools, generated):
        folder.mkdir(parents=True, exist_ok=True)
    # The plugins, at the versions that go.mod names.
    run_tool([go, "build", "-o", f"{tools}{os.sep}", "tool"], GoPeer.sources)
    options = f"M{PROTO.name}={GO_MODULE}/{GO_PACKAGE},paths=source_relative"
    plugins = [
        argument
        for plugin in ("go", "go-grpc")
        for argument in (
            f"--plugin=protoc-gen-{plugin}={tools / f'protoc-gen-{plugin}'}",
            f"--{plugin}_out={generated}",
            f"--{plugin}_opt={options}",
        )
    ]
    run_tool([str(_protoc_program()), f"-I{PROTO.parent}", *plugins, PROTO.name], BUILD)
    return overlay_of(generated, GoPeer.sources / GO_PACKAGE)


def overlay_of(generated: Path, inside: Path) -> Path:
    """Return a file next to the generated ones that lets Go find them inside a module."""
    overlay = generated.with_suffix(".json")
    files = {str(inside / file.relative_to(generated)): str(file) for file in generated.rglob("*.go")}
    overlay.write_text(json.dumps({"Replace": files}))
    return overlay


def _protoc_program() -> Path:
    """Return a program that runs grpcio-tools' protoc as the usual one is run."""
    if importlib.util.find_spec("grpc_tools") is None:
        raise PeerUnavailableError("no grpc_tools found (pip install grpcio-tools)")
    program = BUILD / "protoc"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m grpc_tools.protoc "$@"\n')
    program.chmod(0o755)
    return program


def run_tool(command: Sequence[str], directory: Path, environment: Mapping[str, str] = {}) -> None:
    """Run a compiler or generator; raise PeerUnavailableError with its output if it fails."""
    try:
        outcome = subprocess.run(
            command,
            cwd=directory,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PeerUnavailableError(f"{command[0]} took more than {BUILD_SECONDS:g} s") from error
    if outcome.returncode:
        raise PeerUnavailableError(f"{Path(command[0]).name} failed: {outcome.stderr.strip()[-1000:]}")
