"""The CPU time of imports of the package and of the start of its command line, in a new process."""

import resource
import statistics
import subprocess
import sys

from bench.promises.finding import Finding

__all__ = ["imports"]

ROUNDS = 11

IMPORT = """
import asyncio, time
started = time.process_time()
{statement}
print(time.process_time() - started)
"""


def imports() -> list[Finding]:
    """`import fastrpc`, a client and a server over asyncio, and the start of the command line."""
    statements = {
        "import fastrpc": 40,
        "from fastrpc import Client": 45,
        "from fastrpc import Client; Client('tcp://127.0.0.1:1')": 80,
        "from fastrpc import SyncClient": 50,
        "from fastrpc import Client, Server": 60,
        "from fastrpc import Server; Server()": 160,
        "from fastrpc import serve": 75,
    }
    details = f"CPU time of a new process, over asyncio, median of {ROUNDS}"
    return [
        *(
            Finding(statement, _import_milliseconds(statement), limit, "ms", details)
            for statement, limit in statements.items()
        ),
        Finding("fastrpc --version", _command_milliseconds(), 160, "ms", f"the process, median of {ROUNDS}"),
    ]


def _import_milliseconds(statement: str) -> float:
    command = [sys.executable, "-c", IMPORT.format(statement=statement)]
    seconds = [float(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(ROUNDS)]
    return statistics.median(seconds) * 1e3


def _command_milliseconds() -> float:
    seconds = []
    for _ in range(ROUNDS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "fastrpc", "--version"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(seconds) * 1e3
