"""Tests against real servers: they skip where one is missing, unless FASTRPC_SERVICES=required makes that a failure."""

import os
import shutil
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.registry_servers import ConsulAgent, EtcdServer, consul_program, etcd_program
from tests.support.source_tree import ROOT


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and os.environ.get("FASTRPC_SERVICES") == "required":
        report.outcome = "failed"
        report.longrepr = f"skipped where every server has to be there: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def consul_path() -> str:
    """The Consul program; skips the test where there is none."""
    found = consul_program()
    if found is None:
        pytest.skip("Consul is not installed; `make services` fetches it")
    return found


@pytest.fixture(scope="session")
def consul(consul_path: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsulAgent]:
    """An agent that all tests share; each uses services of its own."""
    with ConsulAgent(consul_path, tmp_path_factory.mktemp("consul")).running() as agent:
        yield agent


@pytest.fixture
def own_consul(consul_path: str, tmp_path: Path) -> Iterator[ConsulAgent]:
    """An agent that the test may kill."""
    with ConsulAgent(consul_path, tmp_path).running() as agent:
        yield agent


@pytest.fixture(scope="session")
def etcd_server_path() -> str:
    """The program of etcd 3.4; skips the test where there is none."""
    found = etcd_program()
    if found is None:
        pytest.skip("etcd is not installed; `make services` fetches it")
    return found


@pytest.fixture(scope="session")
def etcd(etcd_server_path: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """A member that all tests share; each uses services of its own."""
    with EtcdServer(etcd_server_path, tmp_path_factory.mktemp("etcd")).running() as server:
        yield server


@pytest.fixture
def own_etcd(etcd_server_path: str, tmp_path: Path) -> Iterator[EtcdServer]:
    """A member that the test may kill."""
    with EtcdServer(etcd_server_path, tmp_path).running() as server:
        yield server


@pytest.fixture(scope="session")
def go_rpcx(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program of `go_rpcx`; skips the test where there is no Go."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go is not installed")
    program = tmp_path_factory.mktemp("go") / "go_rpcx"
    subprocess.run(
        [go, "build", "-o", program, "."],
        cwd=Path(__file__).parent / "go_rpcx",
        check=True,
        env={**os.environ, "GOFLAGS": ""},
    )
    return str(program)


@pytest.fixture(scope="session")
def etcd_path() -> str:
    """The program of `etcd_server`, built once; skips the test where there is no Go."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go is not installed")
    folder = Path(__file__).parent / "etcd_server"
    program = ROOT / ".cache" / "etcd"
    if not program.exists() or program.stat().st_mtime < (folder / "go.mod").stat().st_mtime:
        subprocess.run(
            [go, "build", "-o", program, "."], cwd=folder, check=True, env={**os.environ, "CGO_ENABLED": "0"}
        )
    return str(program)


@pytest.fixture(scope="session")
def h2spec_folder() -> Path:
    """The folder of h2spec and h2specd, built once into `.cache`; skips the test where there is no Go."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go is not installed")
    folder = ROOT / ".cache" / "h2spec"
    folder.mkdir(parents=True, exist_ok=True)
    commands = [f"github.com/summerwind/h2spec/cmd/{name}" for name in ("h2spec", "h2specd")]
    subprocess.run(
        [go, "build", "-o", f"{folder}/", *commands],
        cwd=Path(__file__).parent / "h2spec",
        check=True,
        env={**os.environ, "GOFLAGS": "", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"},
    )
    return folder


@pytest.fixture(scope="session")
def grpc_go_path() -> str:
    """The program of `grpc_go`, built once; skips the test where there is no Go."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go is not installed")
    program = ROOT / ".cache" / "grpc_go"
    subprocess.run(
        [go, "build", "-o", program, "."],
        cwd=Path(__file__).parent / "grpc_go",
        check=True,
        env={**os.environ, "GOFLAGS": "", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"},
    )
    return str(program)


#: Programs that ask servers of gRPC, with their versions.
GRPC_PROGRAMS = (
    "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4",
    "github.com/grpc-ecosystem/grpc-health-probe@v0.4.61",
)

#: grpc-go's programs for tests between implementations, and a generator of load.
INTEROP_PROGRAMS = (
    "google.golang.org/grpc/interop/client@v1.85.0",
    "google.golang.org/grpc/interop/server@v1.85.0",
    "google.golang.org/grpc/interop/http2@v1.85.0",
    "github.com/bojand/ghz/cmd/ghz@v0.120.0",
)


@pytest.fixture(scope="session")
def grpc_programs() -> Path:
    """The folder of grpcurl and grpc-health-probe, built once into `.cache`; skips the test where there is no Go."""
    return installed(GRPC_PROGRAMS)


@pytest.fixture(scope="session")
def interop_programs() -> Path:
    """The folder of grpc-go's interop programs and ghz, built as those are."""
    return installed(INTEROP_PROGRAMS)


def installed(programs: tuple[str, ...]) -> Path:
    """Install programs in Go, each under its name and version, and return their folder."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go is not installed")
    folder = ROOT / ".cache" / "grpc_programs"
    folder.mkdir(parents=True, exist_ok=True)
    for program in programs:
        built = folder / program.rpartition("/")[2]
        if not built.exists():
            subprocess.run(
                [go, "install", program],
                check=True,
                env={
                    **os.environ,
                    "GOBIN": str(folder),
                    "GOFLAGS": "",
                    "GOTOOLCHAIN": "local",
                    "CGO_ENABLED": "0",
                },
            )
            # A program of another version is built anew.
            (folder / built.name.partition("@")[0]).rename(built)
    return folder


@pytest.fixture(scope="session")
def conformance() -> tuple[Path, Path]:
    """The program `connectconformance`, built once into `.cache`, and the folder of its .proto files."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go is not installed")
    folder = ROOT / ".cache" / "conformance"
    folder.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {
        "cwd": Path(__file__).parent / "conformance",
        "check": True,
        "env": {**os.environ, "GOFLAGS": "", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"},
    }
    module = "connectrpc.com/conformance"
    subprocess.run([go, "build", "-o", f"{folder}/", f"{module}/cmd/connectconformance"], **options)
    found = subprocess.run(
        [go, "list", "-m", "-f", "{{.Dir}}", module], **options, stdout=subprocess.PIPE, text=True
    )
    return folder / "connectconformance", Path(found.stdout.strip(), "proto")


@pytest.fixture(scope="module")
def haproxy() -> str:
    """The proxy; skips the test where there is none."""
    found = os.environ.get("FASTRPC_HAPROXY") or shutil.which("haproxy")
    if found is None:
        pytest.skip("HAProxy is not installed; `make services` fetches it")
    return found
