"""Programs that get sockets from their parent, as from systemd: descriptors from 3 on, with names."""

import json
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.conftest import SCALE
from tests.support.program import Program
from tests.support.warm_process import WarmProcess

__all__ = ["listening", "program_with_sockets"]

#: Puts the descriptors where they belong, and becomes the program: its process id stays.
LAUNCHER = """
import fcntl, json, os, sys

given, environment, arguments = map(json.loads, sys.argv[1:4])
kept = [fcntl.fcntl(number, fcntl.F_DUPFD, 100) for number in given]
for number in given:
    os.close(number)
for place, number in enumerate(kept, 3):
    os.dup2(number, place)
    os.close(number)
environment = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(given)), **environment}
os.execve(sys.executable, [sys.executable, *arguments], {**os.environ, **environment})
"""


def listening(folder: Path | None = None) -> socket.socket:
    """Return a socket that listens on a free port of loopback; with a folder, one at `folder/socket`."""
    if folder is None:
        return socket.create_server(("127.0.0.1", 0))
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(folder / "socket"))
    made.listen()
    return made


def program_with_sockets(
    sockets: Sequence[tuple[str, socket.socket]],
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str] | None = None,
) -> Program:
    """Start `python -m fastrpc` with these sockets, by name; the environment overrides the variables of systemd."""
    variables = {"LISTEN_FDNAMES": ":".join(name for name, _ in sockets), **(environment or {})}
    if WarmProcess.IS_POSSIBLE and SCALE <= 1:
        passed = [one.fileno() for _, one in sockets]
        return Program(["-m", "fastrpc", *arguments], folder, variables, passed=passed)
    given = [os.dup(one.fileno()) for _, one in sockets]
    texts = [json.dumps(one) for one in (given, variables, ["-m", "fastrpc", *arguments])]
    try:
        return Program(["-c", LAUNCHER, *texts], folder, is_anew=True, inherited=given)
    finally:
        for number in given:
            os.close(number)
