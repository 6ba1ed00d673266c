"""The addresses that a program dials, as strace sees them."""

import re
from pathlib import Path

__all__ = ["dialled_in", "tracing"]


def tracing(strace: str, trace: Path) -> list[str]:
    """Return the command that runs another one and writes its dials into a file."""
    return [strace, "-f", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o", str(trace)]


def dialled_in(trace: Path) -> list[str]:
    """Return the addresses that were connected to, or sent to without a connection."""
    named = re.compile(r"\b(connect|sendto|sendmsg|sendmmsg)\(.*sa_family=")
    lines = [line for line in trace.read_text().splitlines() if named.search(line)]
    return [line.partition("sa_family=")[2] for line in lines]
