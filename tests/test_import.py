"""The cost of `import fastrpc`, and the modules that it does not load."""

import ast
import importlib
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from tests.support.source_tree import PACKAGE, tree

REPORT = """
import json, os, sys, threading, time
{before}
descriptors, started = len(os.listdir("/proc/self/fd")), time.process_time()
{statement}
seconds = time.process_time() - started  # What other processes use meanwhile is not the import's.
print(json.dumps({{
    "seconds": seconds,
    "modules": {{name: getattr(module, "__file__", None) for name, module in sys.modules.items()}},
    "threads": threading.active_count(),
    "descriptors": len(os.listdir("/proc/self/fd")) - descriptors,
}}))
"""

#: The modules that the package imports before a program asks for a name of it.
FRONT_DOOR = {"fastrpc", "fastrpc._version", "fastrpc.escaping", "fastrpc.first_use"}


def report_of_an_import(statement: str = "import fastrpc", before: str = "") -> dict[str, Any]:
    """Import the package in a separate interpreter and return its report."""
    # The environment of users: compiled modules, once the first import has written them.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", REPORT.format(statement=statement, before=before)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert done.stderr == ""
    report: dict[str, Any] = json.loads(done.stdout)
    return report


#: Modules that no program needs before it uses their feature.
OPTIONAL = {
    "aiohttp",
    "google.protobuf",
    "grpc",
    "lz4",
    "msgpack",
    "opentelemetry",
    "prometheus_client",
    "rich",
    "typer",
    "uvloop",
}
#: Parts of the package that few programs need.
SELDOM = {
    f"fastrpc.{part}"
    for part in ("cli", "console", "coordination", "files", "gateway", "hosted", "metrics", "testing")
}


def ours(report: dict[str, Any]) -> set[str]:
    """Return the modules of the package among those that an import loaded."""
    return {name for name in report["modules"] if name.partition(".")[0] == "fastrpc"}


def test_import_loads_the_front_door_alone() -> None:
    report = report_of_an_import()
    assert ours(report) == FRONT_DOOR
    assert {"asyncio", "msgspec", *OPTIONAL} & set(report["modules"]) == set()


def test_all_names_together_leave_optional_modules_unloaded() -> None:
    report = report_of_an_import("from fastrpc import *")
    assert (OPTIONAL | SELDOM) & set(report["modules"]) == set()


def test_a_gateway_loads_no_command_line() -> None:
    # Parts of a command; only its options may need typer: a console is a gateway as well.
    parts = ("addresses", "catalogue", "contract_files", "grpc_servers.described")
    report = report_of_an_import("\n".join(f"import fastrpc.gateway.{part}" for part in parts))
    assert {"fastrpc.cli", "google.protobuf", "rich", "typer"} & set(report["modules"]) == set()


def test_a_console_loads_no_command_line() -> None:
    report = report_of_an_import("import fastrpc.console.service")
    assert {"fastrpc.cli", "google.protobuf", "rich", "typer"} & set(report["modules"]) == set()


def test_contract_of_a_service_loads_neither_client_nor_server() -> None:
    report = report_of_an_import("from fastrpc import FastRPCError, method, service")
    assert {name for name in ours(report) if name.startswith(("fastrpc.client", "fastrpc.server"))} == set()


def test_client_loads_no_server() -> None:
    made = "Client('tcp://127.0.0.1:1'), SyncClient('tcp://127.0.0.1:1')"
    report = report_of_an_import(f"from fastrpc import Client, SyncClient\nmade = {made}")
    loaded = {name for name in ours(report) if name.startswith(("fastrpc.server", "fastrpc.workers"))}
    assert loaded == set()


def test_client_loads_no_blocking_one() -> None:
    report = report_of_an_import("from fastrpc import Client\nclient = Client('tcp://127.0.0.1:1')")
    assert {name for name in ours(report) if name.startswith("fastrpc.client.blocking")} == set()


#: The modules, in addition to modules of compiled rooms, that the name of a client or a server may load. The first
#: object loads the remaining modules, by the module of its parts.
LOADED_BY_NAMES = {
    "Client": FRONT_DOOR
    | {
        "fastrpc._core",
        "fastrpc.assigned_numbers",
        "fastrpc.client",
        "fastrpc.client.client",
        "fastrpc.client.fan_out",
        "fastrpc.client.refused_options",
        "fastrpc.config",
        "fastrpc.config.unknown_names",
        "fastrpc.config_errors",
        "fastrpc.endpoint",
        "fastrpc.errors",
        "fastrpc.first_use",
        "fastrpc.peers",
        "fastrpc.peers.outcomes",
        "fastrpc.peers.stream_verbs",
        "fastrpc.rpc",
        "fastrpc.rpc.options",
        "fastrpc.rpc.reply",
        "fastrpc.rpc.upload",
        "fastrpc.status",
        "fastrpc.time_limit",
        "fastrpc.tracebacks",
        "fastrpc.user_code",
    },
    "Server": FRONT_DOOR
    | {
        "fastrpc.config",
        "fastrpc.config.bounds",
        "fastrpc.config.certificates",
        "fastrpc.config.client",
        "fastrpc.config.delays",
        "fastrpc.config.resilience",
        "fastrpc.config.timing",
        "fastrpc.config.unknown_names",
        "fastrpc.config.validation",
        "fastrpc.config_errors",
        "fastrpc.endpoint",
        "fastrpc.errors",
        "fastrpc.first_use",
        "fastrpc.rpc",
        "fastrpc.rpc.refused_arguments",
        "fastrpc.server",
        "fastrpc.server.server",
        "fastrpc.status",
        "fastrpc.tls",
        "fastrpc.tracebacks",
        "fastrpc.transports",
        "fastrpc.transports.base",
        "fastrpc.value_class",
    },
}
#: The compiled rooms of a client: calls, and the connections that carry them.
COMPILED_ROOMS = {
    "Client": {
        "_shared",
        "balancing",
        "base",
        "calls",
        "client",
        "io",
        "loop",
        "native",
        "payload",
        "streams",
        "wire",
    },
    "Server": set(),
}


@pytest.mark.parametrize("name", ["Client", "Server"])
def test_names_of_clients_and_servers_load_few_modules(name: str) -> None:
    loaded = ours(report_of_an_import(f"from fastrpc import {name}"))
    compiled = {each for each in loaded if each.startswith("fastrpc._core.")}
    assert loaded - compiled == LOADED_BY_NAMES[name]
    assert {each.split(".")[2] for each in compiled} == COMPILED_ROOMS[name]


FORKED_MEANWHILE = """
import importlib.abc, os, signal, sys, threading
from fastrpc import SyncClient

class LongImport(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "fastrpc.client.target":
            importing.set()
            threading.Event().wait(0.3)

def make():
    SyncClient("tcp://127.0.0.1:1").close()

importing = threading.Event()
sys.meta_path.insert(0, LongImport())
thread = threading.Thread(target=make)
thread.start()
importing.wait()
child = os.fork()
if child == 0:
    signal.alarm(60)
    make()
    os._exit(0)
thread.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_child_of_a_fork_that_meets_the_first_client_of_a_thread_makes_its_own() -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED_MEANWHILE]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0"], done.stderr


def test_parts_of_imported_classes_come_before_a_fork() -> None:
    statement = "from fastrpc import Client\nfrom fastrpc.first_use import import_parts\nimport_parts()"
    loaded = ours(report_of_an_import(statement))
    assert "fastrpc.client.parts" in loaded
    assert not {"fastrpc.client.blocking.parts", "fastrpc.server.parts"} & loaded


#: Modules, and folders of them, that a client with one address loads for the calls that need them.
LEFT_BY_CLIENTS = (
    "fastrpc._core.exchange",
    "fastrpc._core.http",
    "fastrpc._core.http1",
    "fastrpc._core.limiting",
    "fastrpc._core.rpcx",
    "fastrpc._core.server",
    "fastrpc._core.websocket",
    "fastrpc.auth",
    "fastrpc.bounded_http",
    "fastrpc.peers.peer",
    "fastrpc.peers.stream",
    "fastrpc.client.serving",
    "fastrpc.codecs.msgpack",
    "fastrpc.config.http",
    "fastrpc.config.server",
    "fastrpc.files",
    "fastrpc.interceptors",
    "fastrpc.limits",
    "fastrpc.registries",
    "fastrpc.rpc.definition",
    "fastrpc.rpc.schema",
    "fastrpc.rpc.service",
    "fastrpc.server",
    "fastrpc.handlers",
    "fastrpc.tls.contexts",
    "fastrpc.types",
)
#: Libraries that the first call loads, or nothing.
LIBRARIES_LEFT_BY_CLIENTS = {"decimal", "msgspec", "platform", "typing_extensions", "uuid"}

LEFT_BY_SERVERS = (
    "fastrpc._core.grpc",
    "fastrpc._core.exchange",
    "fastrpc._core.http",
    "fastrpc._core.http1",
    "fastrpc._core.http2",
    "fastrpc._core.rpcx",
    "fastrpc._core.websocket",
    "fastrpc.auth.json_web_tokens",
    "fastrpc.auth.static_tokens",
    "fastrpc.client",
    "fastrpc.files",
    "fastrpc.registries",
    "fastrpc.rpc.description",
    "fastrpc.rpc.go",
    "fastrpc.rpc.protobuf",
    "fastrpc.server.grpc_reflection",
)
#: Libraries of authentication and of policies in files.
LIBRARIES_LEFT_BY_SERVERS = {"hashlib", "tomllib"}

#: Modules, and folders of them, for mounted applications and services in other servers, batches, forms, and the callers
#: who make mistakes.
LEFT_UNTIL_USED = (
    "fastrpc.batcher",
    "fastrpc.hosting",
    "fastrpc.rpc.schema.mistakes",
    "fastrpc.server.http.forms",
)

SERVED = """
import asyncio
from fastrpc import Client, Server, ServerConfig, method, service

@service("arith")
class Arith:
    @method
    async def mul(self, a: int, b: int) -> int:
        return a * b

async def serve():
    async with Server(Arith(), config=ServerConfig(protocols=("native", "http"))) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with Client(str(address)) as client:
            assert await client.call(Arith.mul, 6, 7) == 42
        reader, writer = await asyncio.open_connection(address.host, address.port)
        body = b'{"a": 6, "b": 7}'
        head = b"Host: 127.0.0.1\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body)
        writer.write(b"POST /arith/mul HTTP/1.1\\r\\n" + head + body)
        assert (await reader.readuntil(b"\\r\\n\\r\\n")).startswith(b"HTTP/1.1 200")
        assert await reader.readexactly(2) == b"42"
        writer.close()
        await writer.wait_closed()

asyncio.run(serve())
"""


def below(names: set[str], folders: tuple[str, ...]) -> set[str]:
    """Return the names of modules that are one of these, or in one of these."""
    return {
        name for name in names if name.startswith(tuple(f"{each}." for each in folders)) or name in folders
    }


@pytest.mark.parametrize("folder", sorted({*LEFT_BY_CLIENTS, *LEFT_BY_SERVERS, *LEFT_UNTIL_USED}))
def test_modules_that_clients_and_servers_leave_unloaded_exist(folder: str) -> None:
    assert importlib.import_module(folder).__name__ == folder


@pytest.mark.parametrize("client", ["Client", "SyncClient"])
def test_client_of_one_address_loads_the_parts_that_every_call_needs(client: str) -> None:
    report = report_of_an_import(f"from fastrpc import {client}\nclient = {client}('tcp://127.0.0.1:1')")
    assert below(ours(report), LEFT_BY_CLIENTS) == set()
    assert LIBRARIES_LEFT_BY_CLIENTS & report["modules"].keys() == set()


def test_server_loads_no_protocol_but_the_native_one_and_no_authentication() -> None:
    report = report_of_an_import("from fastrpc import Server\nserver = Server()")
    assert below(ours(report), LEFT_BY_SERVERS) == set()
    assert LIBRARIES_LEFT_BY_SERVERS & report["modules"].keys() == set()


@pytest.mark.parametrize(
    "statement", ["from fastrpc import Server", "from fastrpc import Server\nserver = Server()", SERVED]
)
def test_server_without_mounts_forms_batches_and_mistakes_loads_nothing_for_them(statement: str) -> None:
    assert below(ours(report_of_an_import(statement)), LEFT_UNTIL_USED) == set()


def test_a_wheel_has_each_folder_of_modules() -> None:
    folders = {path.parent for suffix in (".py", ".pyx") for path in PACKAGE.rglob(f"*{suffix}")}
    assert [folder.name for folder in folders if not (folder / "__init__.py").exists()] == []


@pytest.mark.parametrize("package", ["auth", "config", "failmodes", "selectors"])
def test_names_of_a_room_come_on_first_use(package: str) -> None:
    room = importlib.import_module(f"fastrpc.{package}")
    assert set(room.__all__) <= set(dir(room))
    for name in room.__all__:
        assert getattr(room, name) is vars(room)[name]
    with pytest.raises(AttributeError, match=rf"module 'fastrpc\.{package}' has no attribute 'Unknown'"):
        _ = room.Unknown


@pytest.mark.parametrize(
    ("module", "name"), [("fastrpc.files", "FileService"), ("fastrpc.files.rpcx", "RpcxFiles")]
)
def test_files_of_a_server_load_no_client(module: str, name: str) -> None:
    loaded = ours(report_of_an_import(f"from {module} import {name}"))
    assert {name for name in loaded if name.startswith("fastrpc.client")} == set()
    found, transfers = importlib.import_module(module), importlib.import_module(f"{module}.client")
    assert {"download", "upload"} <= {*dir(found)}
    assert (found.download, found.upload) == (transfers.download, transfers.upload)
    with pytest.raises(AttributeError, match=f"module '{module}' has no attribute 'donwload'"):
        _ = found.donwload


def test_errors_load_neither_asyncio_nor_compiled_modules() -> None:
    report = report_of_an_import("from fastrpc import CallError, Status")
    assert "asyncio" not in report["modules"]
    assert {name for name in ours(report) if name.startswith("fastrpc._core")} == set()


def test_import_starts_no_thread_and_opens_no_descriptor() -> None:
    report = report_of_an_import()
    assert report["threads"] == 1
    assert report["descriptors"] == 0


def test_import_takes_no_names_of_modules_but_its_own() -> None:
    modules = report_of_an_import("from fastrpc import *")["modules"]
    package = Path(modules["fastrpc"]).parent
    ours = {name for name, file in modules.items() if file and package in Path(file).parents}
    assert "fastrpc._core._shared" in ours
    assert {name for name in ours if name != "fastrpc" and not name.startswith("fastrpc.")} == set()


def test_an_application_may_have_modules_named_like_ours(tmp_path: Path) -> None:
    names = ["_shared", "_version", "call", "settings"]
    for name in names:
        (tmp_path / f"{name}.py").write_text("OWNER = 'application'\n")
    application = f"import fastrpc, {', '.join(names)}\nprint({', '.join(f'{name}.OWNER' for name in names)})"
    (tmp_path / "application.py").write_text(application)
    done = subprocess.run(
        [sys.executable, tmp_path / "application.py"], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["application"] * len(names)


def promised_to_type_checkers() -> dict[str, set[str]]:
    """Return the names that type checkers find in the front door, by the module they come from."""
    front_door = tree(PACKAGE / "__init__.py")
    checked = next(node for node in front_door.body if isinstance(node, ast.If))
    promised: dict[str, set[str]] = {}
    for node in checked.body:
        if isinstance(node, ast.ImportFrom):
            promised.setdefault(str(node.module), set()).update(alias.name for alias in node.names)
    return promised


def test_every_module_is_an_attribute_once_it_is_requested() -> None:
    names = sorted(promised_to_type_checkers()["fastrpc"])
    program = (
        "import sys, fastrpc\n"
        "for name in sys.argv[1:]: print(name in dir(fastrpc), getattr(fastrpc, name).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", program, *names], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"True fastrpc.{name}" for name in names]


def test_every_name_has_the_type_that_type_checkers_see() -> None:
    promised = promised_to_type_checkers()
    del promised["fastrpc"]
    for module, names in promised.items():
        for name in names:
            assert getattr(fastrpc, name) is getattr(importlib.import_module(module), name)
    listed = {name for names in promised.values() for name in names}
    assert listed == set(fastrpc.__all__) - {"__version__"}


def test_dir_lists_every_name_before_it_is_loaded() -> None:
    program = "import fastrpc\nprint(*sorted(set(fastrpc.__all__) - set(dir(fastrpc))))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_name_is_a_plain_attribute_once_it_was_asked_for() -> None:
    assert fastrpc.current_call is vars(fastrpc)["current_call"]


def test_an_unknown_name_is_no_attribute() -> None:
    name = "metrcs"
    with pytest.raises(AttributeError, match="module 'fastrpc' has no attribute 'metrcs'"):
        getattr(fastrpc, name)


@pytest.mark.measures
def test_import_takes_at_most_40_milliseconds_over_asyncio() -> None:
    before = "import asyncio"
    report_of_an_import(before=before)  # Writes the byte code.
    assert statistics.median(report_of_an_import(before=before)["seconds"] for _ in range(10)) <= 0.040


@pytest.mark.measures
def test_the_room_of_grpc_takes_at_most_20_milliseconds_over_a_program_with_a_service() -> None:
    before = "from fastrpc import Client, Server, method, service"
    statement = "from fastrpc.grpc import AnyMessage, Handlers, service, stub"
    report = report_of_an_import(statement, before)
    assert not {"grpc", "google.protobuf"} & set(report["modules"])
    found = [report_of_an_import(statement, before)["seconds"] for _ in range(10)]
    assert statistics.median(found) <= 0.020, found
