"""Tests against real servers: they skip where one is missing, unless FASTRPC_SERVICES=required makes that a failure."""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from fastrpc.brokers.base import BrokerBackend
from fastrpc.brokers.broker_urls import open_backend
from tests.support.cache_folder import CACHE, alone
from tests.support.go_programs import FIRST, GO, PROGRAMS
from tests.support.kept_redis import kept_server
from tests.support.registry_servers import (
    ConsulAgent,
    EtcdServer,
    NatsServer,
    RedisServer,
    ZookeeperServer,
    registry_program,
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    # A contract leaves out the parts that a backend refuses; no server is missing there.
    is_of_contract = isinstance(report.longrepr, tuple) and report.longrepr[0].endswith("_contract.py")
    if report.skipped and os.environ.get("FASTRPC_SERVICES") == "required" and not is_of_contract:
        report.outcome = "failed"
        report.longrepr = f"skipped where every server has to be there: {report.longrepr}"
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a test of every day whose program of Go would be built while it runs."""
    for item in items:
        late = set(getattr(item, "fixturenames", ())) & PROGRAMS.keys() - set(FIRST)
        if late and item.get_closest_marker("conformance") is None:
            raise pytest.UsageError(
                f"{item.nodeid}: add {', '.join(late)} to FIRST of go_programs, or mark it conformance"
            )


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


def tool(program: str, title: str) -> str:
    """Return the path of a build tool; skip the test if it is missing."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{title} is not installed")
    return found


def go_fixture(name: str, kind: type[str] | type[Path]) -> Any:
    """Return the fixture of a program of Go: its path, or the folder of several; a test skips where there is no Go."""

    @pytest.fixture(scope="session", name=name)
    def path() -> str | Path:
        tool("go", "Go")
        return kind(PROGRAMS[name].path())

    return path


go_rpcx = go_fixture("go_rpcx", str)
go_mdns = go_fixture("go_mdns", str)
go_deimos = go_fixture("go_deimos", str)
judge = go_fixture("judge", Path)
grpc_go_path = go_fixture("grpc_go_path", str)
connect_go_path = go_fixture("connect_go_path", str)
h2spec_folder = go_fixture("h2spec_folder", Path)
conformance_folder = go_fixture("conformance_folder", Path)
interop_programs = go_fixture("interop_programs", Path)
grpc_programs = go_fixture("grpc_programs", Path)
actionlint_folder = go_fixture("actionlint_folder", Path)
ghz_folder = go_fixture("ghz_folder", Path)
etcd_new_path = go_fixture("etcd_new_path", str)
kube_apiserver_path = go_fixture("kube_apiserver_path", str)


@pytest.fixture(scope="session")
def etcd_new(etcd_new_path: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """The newest etcd, which all tests share."""
    with EtcdServer(etcd_new_path, tmp_path_factory.mktemp("etcd_new")).running() as server:
        yield server


@pytest.fixture(scope="session")
def etcdctl() -> str:
    """The command line of etcd; skip the test if it is missing."""
    found = os.environ.get("FASTRPC_ETCDCTL") or shutil.which("etcdctl")
    if found is None:
        pytest.skip("etcdctl is not installed; `make services` fetches it")
    return found


@pytest.fixture(scope="session")
def conformance(conformance_folder: Path) -> tuple[Path, Path]:
    """The program `connectconformance`, and the folder of its .proto files."""
    found = subprocess.run(
        ["go", "list", "-m", "-f", "{{.Dir}}", "connectrpc.com/conformance"],
        cwd=Path(__file__).parent / "conformance",
        check=True,
        env={**os.environ, **GO},
        stdout=subprocess.PIPE,
        text=True,
    )
    return conformance_folder / "connectconformance", Path(found.stdout.strip(), "proto")


#: The programs in other languages that call and serve `tests.support.sums`, by language.
GRPC_PEERS = Path(__file__).parent / "grpc_peers"


@pytest.fixture(scope="session")
def tonic_path() -> str:
    """The program of `grpc_peers/rust`, built once; skips the test where there is no Rust."""
    cargo = tool("cargo", "Rust")
    folder = CACHE / "tonic"
    # Cargo has a separate lock.
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
    """The browser; skip the test if it is missing."""
    names = ("chromium-headless-shell", "chromium")
    found = os.environ.get("FASTRPC_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("Chromium is not installed; `make services` fetches it")
    return found


@pytest.fixture(scope="module")
def haproxy() -> str:
    """The proxy; skip the test if it is missing."""
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


@pytest.fixture(scope="session")
def strace() -> str:
    """The program; skips the test where it is missing."""
    found = os.environ.get("FASTRPC_STRACE") or shutil.which("strace")
    if found is None:
        pytest.skip("strace is not installed; `make services` fetches it")
    return found


@pytest.fixture(scope="session")
def kept_redis(redis_path: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that keeps its data over kill and start, which all tests share."""
    with kept_server(redis_path, tmp_path_factory.mktemp("kept_redis")).running() as server:
        yield server


_nats_bases = count(1)


@pytest.fixture
def nats_base() -> str:
    """Names of a test, on the server that all share."""
    return f"broker-{next(_nats_bases)}"


@pytest.fixture
async def nats_url(nats: NatsServer, nats_base: str) -> AsyncIterator[str]:
    """The URL of a broker with the names of a test."""
    from tests.support.nats_streams import remove_streams

    yield f"{nats.url}?base={nats_base}"
    await remove_streams(nats, nats_base)


@pytest.fixture
async def nats_broker(nats_url: str) -> AsyncIterator[BrokerBackend]:
    """A broker with the names of a test, entered."""
    async with open_backend(nats_url) as broker:
        yield broker
