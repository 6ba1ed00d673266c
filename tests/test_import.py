"""What `import fastrpc` costs, and what it leaves alone."""

import json
import os
import statistics
import subprocess
import sys
from typing import Any

import pytest

REPORT = """
import asyncio, json, os, sys, threading, time
descriptors, started = len(os.listdir("/proc/self/fd")), time.process_time()
import fastrpc
seconds = time.process_time() - started  # What other processes use meanwhile is not the import's.
print(json.dumps({
    "seconds": seconds,
    "modules": sorted(sys.modules),
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


@pytest.mark.measures
def test_import_takes_at_most_40_milliseconds_over_asyncio() -> None:
    report_of_an_import()  # Writes the byte code.
    assert statistics.median(report_of_an_import()["seconds"] for _ in range(10)) <= 0.040
