"""Many quiet connections to one server, from a process of their own: `python -m bench.promises.crowd ADDRESS`.

Each number read from standard input is a target number of connections; a line is printed once each of the new ones has
had one call answered. Until standard input closes they only answer pings.
"""

import contextlib
import selectors
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

from bench.compare.paths import ROOT
from bench.compare.processes import ProcessFailedError
from fastrpc._core.wire.settings import usual_settings
from fastrpc_harness.recording import RecordingConnection

__all__ = ["Crowd", "crowd"]

#: Connections that open at the same time; the server admits a few hundred.
AT_ONCE = 64

#: Wait until the given number of connections have had their answer.
GROWTH_SECONDS = 60.0


@dataclass
class _Member:
    """One connection."""

    socket: socket.socket
    connection: RecordingConnection = field(
        default_factory=lambda: RecordingConnection(is_client=True, settings=usual_settings(False))
    )
    has_called: bool = False
    is_answered: bool = False

    def send(self) -> None:
        data = self.connection.data_to_send()
        if data:
            self.socket.sendall(data)

    def receive(self) -> None:
        data = self.socket.recv(65_536)
        if not data:
            raise ConnectionError("the server closed an idle connection")
        for event in self.connection.receive_data(data):
            if event[0] == "settings" and not self.has_called:
                self.has_called = True
                self.connection.open_call(b"bench.echo", b"x" * 32)
            elif event[0] == "response":
                assert event[2] == 0, event
                self.is_answered = True
        self.send()


class _Talker:
    """All connections of this process."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._selector = selectors.DefaultSelector()
        self._members: list[_Member] = []
        self._is_over = False
        self._selector.register(sys.stdin, selectors.EVENT_READ)

    def run(self) -> None:
        while not self._is_over:
            self._turn()

    def _turn(self) -> None:
        for key, _ in self._selector.select():
            if key.data is not None:
                key.data.receive()
            elif line := sys.stdin.readline():
                self._grow(int(line))
                print(len(self._members), flush=True)
            else:
                self._is_over = True

    def _grow(self, count: int) -> None:
        while len(self._members) < count:
            new = [self._open() for _ in range(min(AT_ONCE, count - len(self._members)))]
            self._members += new
            while not all(member.is_answered for member in new):
                for key, _ in self._selector.select():
                    if key.data is not None:
                        key.data.receive()

    def _open(self) -> _Member:
        member = _Member(socket.create_connection(self._target))
        self._selector.register(member.socket, selectors.EVENT_READ, member)
        member.send()
        return member


class Crowd:
    """The process with the connections."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def grow(self, connections: int) -> None:
        """Return once there are so many connections and each has had a call answered."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{connections}\n")
        self._process.stdin.flush()
        if self._process.stdout.readline().strip() != str(connections):
            raise ProcessFailedError(f"the process with the connections ended ({self._process.wait(5)})")


@contextlib.contextmanager
def crowd(address: str) -> Iterator[Crowd]:
    """Run a process that can open many connections to a TCP address, until the block ends."""
    command = [sys.executable, "-m", "bench.promises.crowd", address]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Crowd(process)
        finally:
            process.terminate()


def main(address: str) -> None:
    """Hold connections until standard input closes."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    _Talker(host, int(port)).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
