"""Tests against real servers: they skip where one is missing, unless FASTRPC_SERVICES=required makes that a failure."""

import contextlib
import fcntl
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.registry_servers import (
    ConsulAgent,
    EtcdServer,
    NatsServer,
    RedisServer,
    ZookeeperServer,
    registry_program,
)
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


def registry_fixtures(name: str, program: str, make: Callable[[str, Path], Any]) -> tuple[Any, Any, Any]:
    """Return the fixtures of a registry: the path of its program, a server that all tests share, one of a test's own.

    A test skips where the program is missing. Tests that share a server use services of their own.
    """

    @pytest.fixture(scope="session", name=f"{name}_path")
    def path() -> str:
        found = registry_program(program)
        if found is None:
            pytest.skip(f"{program} is not installed; `make services` fetches it")
        return found

    @pytest.fixture(scope="session", name=name)
    def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
        with make(request.getfixturevalue(f"{name}_path"), tmp_path_factory.mktemp(name)).running() as server:
            yield server

    @pytest.fixture(name=f"own_{name}")
    def own(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
        with make(request.getfixturevalue(f"{name}_path"), tmp_path).running() as server:
            yield server

    return path, shared, own


consul_path, consul, own_consul = registry_fixtures("consul", "consul", ConsulAgent)
etcd_path, etcd, own_etcd = registry_fixtures("etcd", "etcd", EtcdServer)
redis_path, redis, own_redis = registry_fixtures("redis", "redis-server", RedisServer)
nats_path, nats, own_nats = registry_fixtures("nats", "nats-server", NatsServer)
zookeeper_path, zookeeper, own_zookeeper = registry_fixtures("zookeeper", "zookeeper", ZookeeperServer)


#: Programs are built by the installed Go, without a C compiler, whatever the user's settings.
GO = {"GOFLAGS": "", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}

CACHE = ROOT / ".cache"


def tool(program: str, title: str) -> str:
    """Return the path of a program that builds; skips the test where there is none."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{title} is not installed")
    return found


@contextlib.contextmanager
def alone(name: str) -> Iterator[None]:
    """Hold back the other processes of a run that build the same in `.cache`."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def go_built(source: str, output: Path, *packages: str) -> Path:
    """Build a folder of this one, or packages that it names, unless the output is up to date."""
    go = tool("go", "Go")
    folder = Path(__file__).parent / source
    if packages:
        output.mkdir(parents=True, exist_ok=True)
    with alone(output.name):
        subprocess.run(
            [go, "build", "-o", output, *(packages or ["."])],
            cwd=folder,
            check=True,
            env={**os.environ, **GO},
        )
    return output


@pytest.fixture(scope="session")
def go_rpcx() -> str:
    """The program of `go_rpcx`."""
    return str(go_built("go_rpcx", CACHE / "go_rpcx"))


@pytest.fixture(scope="session")
def go_mdns() -> str:
    """The program of `go_mdns`."""
    return str(go_built("go_mdns", CACHE / "go_mdns"))


@pytest.fixture(scope="session")
def go_deimos() -> str:
    """The program of `go_deimos`."""
    return str(go_built("go_deimos", CACHE / "go_deimos"))


@pytest.fixture(scope="session")
def etcd_store_path() -> str:
    """The program of `etcd_server`."""
    return str(go_built("etcd_server", CACHE / "etcd"))


@pytest.fixture(scope="session")
def judge() -> Path:
    """The program of `porcupine`."""
    return go_built("porcupine", CACHE / "porcupine")


@pytest.fixture(scope="session")
def etcdctl() -> str:
    """The command line of etcd; skips the test where there is none."""
    found = os.environ.get("FASTRPC_ETCDCTL") or shutil.which("etcdctl")
    if found is None:
        pytest.skip("etcdctl is not installed; `make services` fetches it")
    return found


@pytest.fixture(scope="session")
def h2spec_folder() -> Path:
    """The folder of h2spec and h2specd."""
    commands = [f"github.com/summerwind/h2spec/cmd/{name}" for name in ("h2spec", "h2specd")]
    return go_built("h2spec", CACHE / "h2spec", *commands)


@pytest.fixture(scope="session")
def grpc_go_path() -> str:
    """The program of `grpc_go`."""
    return str(go_built("grpc_go", CACHE / "grpc_go"))


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
    go = tool("go", "Go")
    folder = CACHE / "grpc_programs"
    folder.mkdir(parents=True, exist_ok=True)
    for program in programs:
        built = folder / program.rpartition("/")[2]
        with alone(built.name):
            if not built.exists():
                environment = {**os.environ, **GO, "GOBIN": str(folder)}
                subprocess.run([go, "install", program], check=True, env=environment)
                # A program of another version is built anew.
                (folder / built.name.partition("@")[0]).rename(built)
    return folder


@pytest.fixture(scope="session")
def conformance() -> tuple[Path, Path]:
    """The program `connectconformance`, and the folder of its .proto files."""
    module = "connectrpc.com/conformance"
    folder = go_built("conformance", CACHE / "conformance", f"{module}/cmd/connectconformance")
    found = subprocess.run(
        [tool("go", "Go"), "list", "-m", "-f", "{{.Dir}}", module],
        cwd=Path(__file__).parent / "conformance",
        check=True,
        env={**os.environ, **GO},
        stdout=subprocess.PIPE,
        text=True,
    )
    return folder / "connectconformance", Path(found.stdout.strip(), "proto")


#: The programs of others that call and serve `tests.support.sums`, by language.
GRPC_PEERS = Path(__file__).parent / "grpc_peers"


@pytest.fixture(scope="session")
def connect_go_path() -> str:
    """The program of `grpc_peers/go`."""
    return str(go_built("grpc_peers/go", CACHE / "connect_go"))


@pytest.fixture(scope="session")
def tonic_path() -> str:
    """The program of `grpc_peers/rust`, built once; skips the test where there is no Rust."""
    cargo = tool("cargo", "Rust")
    folder = CACHE / "tonic"
    # Cargo has a lock of its own.
    subprocess.run(
        [cargo, "build", "--locked", "--quiet", "--target-dir", folder], cwd=GRPC_PEERS / "rust", check=True
    )
    return str(folder / "debug" / "tonic_peer")


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The packages of `grpc_peers/js`, installed once; skips the test where there is no Node."""
    npm = tool("npm", "Node")
    folder = CACHE / "grpc_js"
    folder.mkdir(parents=True, exist_ok=True)
    files = ("package.json", "package-lock.json")
    listed = [(GRPC_PEERS / "js" / name).read_bytes() for name in files]
    with alone("grpc_js"):
        known = [(folder / name).read_bytes() for name in files if (folder / name).exists()]
        if known != listed or not (folder / "node_modules").exists():
            for name, content in zip(files, listed, strict=True):
                (folder / name).write_bytes(content)
            command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
            subprocess.run(command, cwd=folder, check=True)
    return folder / "node_modules"


@pytest.fixture(scope="module")
def chromium() -> str:
    """The browser; skips the test where there is none."""
    names = ("chromium-headless-shell", "chromium")
    found = os.environ.get("FASTRPC_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("Chromium is not installed; `make services` fetches it")
    return found


@pytest.fixture(scope="module")
def haproxy() -> str:
    """The proxy; skips the test where there is none."""
    found = os.environ.get("FASTRPC_HAPROXY") or shutil.which("haproxy")
    if found is None:
        pytest.skip("HAProxy is not installed; `make services` fetches it")
    return found


@pytest.fixture(scope="module")
def envoy() -> str:
    """The proxy; skips the test where there is none."""
    if importlib.util.find_spec("envoy") is None:
        pytest.skip("Envoy is not installed; `make services` installs it")
    (folder,) = importlib.import_module("envoy._bin").__path__
    return str(Path(folder) / "envoy")


@pytest.fixture(scope="module")
def nginx() -> str:
    """The proxy; skips the test where there is none."""
    found = os.environ.get("FASTRPC_NGINX") or shutil.which("nginx")
    if found is None:
        pytest.skip("nginx is not installed; `make services` fetches it")
    return found
