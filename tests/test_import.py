"""What `import fastrpc` costs, and what it leaves alone."""

import ast
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
import asyncio, json, os, sys, threading, time
descriptors, started = len(os.listdir("/proc/self/fd")), time.process_time()
import fastrpc
seconds = time.process_time() - started  # What other processes use meanwhile is not the import's.
print(json.dumps({
    "seconds": seconds,
    "modules": {name: getattr(module, "__file__", None) for name, module in sys.modules.items()},
    "threads": threading.active_count(),
    "descriptors": len(os.listdir("/proc/self/fd")) - descriptors,
}))
"""


def report_of_an_import() -> dict[str, Any]:
    """Import the package in an interpreter of its own and return what that did."""
    # What users have: compiled modules, once the first import has written them.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", REPORT], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stderr == ""
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.parametrize(
    "optional",
    [
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
    ],
)
def test_import_leaves_what_is_optional_unloaded(optional: str) -> None:
    assert optional not in report_of_an_import()["modules"]


def test_import_starts_no_thread_and_opens_no_descriptor() -> None:
    report = report_of_an_import()
    assert report["threads"] == 1
    assert report["descriptors"] == 0


def test_import_takes_no_names_of_modules_but_its_own() -> None:
    modules = report_of_an_import()["modules"]
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


def modules_promised_to_type_checkers() -> list[str]:
    front_door = tree(PACKAGE / "__init__.py")
    checked = next(node for node in front_door.body if isinstance(node, ast.If))
    return [node.names[0].name for node in checked.body if isinstance(node, ast.ImportFrom)]


@pytest.mark.parametrize("name", modules_promised_to_type_checkers())
def test_public_module_is_there_once_it_is_asked_for(name: str) -> None:
    program = f"import fastrpc\nprint({name!r} in dir(fastrpc), fastrpc.{name}.__name__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", f"fastrpc.{name}"]


@pytest.mark.parametrize("name", ["coordination", "files", "metrics", "registries", "testing"])
def test_import_leaves_what_few_programs_need_unloaded(name: str) -> None:
    assert f"fastrpc.{name}" not in report_of_an_import()["modules"]


def test_an_unknown_name_is_no_attribute() -> None:
    name = "metrcs"
    with pytest.raises(AttributeError, match="module 'fastrpc' has no attribute 'metrcs'"):
        getattr(fastrpc, name)


@pytest.mark.measures
def test_import_takes_at_most_40_milliseconds_over_asyncio() -> None:
    report_of_an_import()  # Writes the byte code.
    assert statistics.median(report_of_an_import()["seconds"] for _ in range(10)) <= 0.040
