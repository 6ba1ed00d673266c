"""Attacks on a server as a process, and an honest client that keeps its rate during them.

A module with attacks is run as `python -m MODULE PORT NAME…` until it is killed. Each attack has one connection, which
comes back when it is closed. A line on standard output reports each connection that has begun, with the name of its
attack.
"""

import contextlib
import itertools
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.connection_flood import honest_share
from tests.support.program import command_line
from tests.support.source_tree import ROOT

__all__ = ["AT_ONCE", "Attack", "Attacked", "Pieces", "again", "run", "serving", "then_silence"]

Pieces = Iterator[bytes]

#: Frames of a piece that is sent at once.
AT_ONCE = 200
#: Seconds without room in the socket after which an attack only waits for its end.
PATIENCE = 0.2

#: Calls of the honest client in a second, the seconds for which it calls, and the share of its calls that it keeps.
RATE, SECONDS, KEPT = 200, 1.0, 0.8
#: Memory by which attacks may enlarge the process: `Memory.process_bytes` allows some times as much.
GROWTH = 128 * 1024 * 1024


@dataclass(frozen=True)
class Attack:
    """An attack: its first bytes, and the later ones.

    Args:
        is_deaf: it reads none of the server's bytes.
        comes_back: whether it dials again once the server has closed its connection in a silence.
        source: the host that it comes from.
    """

    pieces: Callable[[], Pieces]
    opening: bytes = b""
    is_deaf: bool = False
    comes_back: bool = True
    source: str = "127.0.0.1"

    def run_once(self, port: int, told: str) -> None:
        """Attack until the server closes or resets the connection; print `told` once the connection is open."""
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port), PATIENCE, (self.source, 0)) as peer,
        ):
            peer.sendall(self.opening)
            print(told, flush=True)
            for piece in self.pieces():
                if not self._sent(peer, piece):
                    break

    def _sent(self, peer: socket.socket, piece: bytes) -> bool:
        """Send a piece; return whether the connection is still open."""
        while piece:
            try:
                piece = piece[peer.send(piece) :]
            except TimeoutError:
                # It takes no more for now.
                if self.is_deaf:
                    continue
            if not self.is_deaf and not _drained(peer):
                return False
        return self.is_deaf or not self.comes_back or _drained(peer)


def _drained(peer: socket.socket) -> bool:
    """Drop the server's bytes; return whether the connection is still open."""
    try:
        while True:
            if not peer.recv(65_536, socket.MSG_DONTWAIT):
                return False
    except BlockingIOError:
        return True


def again(frames: bytes, first: bytes = b"", *, times: int = AT_ONCE) -> Pieces:
    """Yield some bytes, then other bytes repeatedly, the given number at once."""
    yield first
    yield from itertools.repeat(frames * times)


def then_silence(pieces: Iterable[bytes]) -> Pieces:
    """Yield pieces, and send nothing more until the server closes."""
    yield from pieces
    while True:
        time.sleep(0.02)
        yield b""


def _attack(port: int, name: str, one: Attack) -> None:
    """Attack until the process ends."""
    while True:
        one.run_once(port, name)


def run(attacks: Mapping[str, Attack]) -> None:
    """Run the attacks that the command line names, until the process is killed."""
    for name in sys.argv[2:]:
        threading.Thread(target=_attack, args=(int(sys.argv[1]), name, attacks[name])).start()


@dataclass(frozen=True)
class Attacked:
    """A server that attacks try.

    Args:
        module: the module with the attacks.
    """

    port: int
    process_id: int
    module: str

    @contextlib.contextmanager
    def attacked(self, *names: str) -> Iterator[Counter[str]]:
        """Attack the server, and count the connections of the attacks once they are over."""
        begun = Counter[str]()
        command = [sys.executable, "-m", self.module, str(self.port), *names]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
            assert process.stdout is not None
            try:
                while len(begun) < len(names):
                    line = process.stdout.readline()
                    assert line, f"the attacks ended with {process.wait()}"
                    begun[line.strip()] += 1
                yield begun
            finally:
                process.kill()
                begun.update(process.stdout.read().split())

    def check(self, call: Callable[[], object], *names: str, scale: float = 1.0) -> Counter[str]:
        """Attack, and check that an honest client keeps its rate and that memory stays small.

        Its expected rate is measured just before the attack: a busy machine may give it less than it asks for.
        """
        seconds = SECONDS * max(1.0, scale)
        alone = honest_share(call, rate=RATE, seconds=seconds)
        before = self._resident_bytes()
        with self.attacked(*names) as begun:
            share = honest_share(call, rate=RATE, seconds=seconds)
        assert self._resident_bytes() - before < GROWTH
        assert share >= KEPT * min(1.0, alone), (share, alone, begun)
        return begun

    def _resident_bytes(self) -> int:
        return int(Path(f"/proc/{self.process_id}/statm").read_text().split()[1]) * 4_096


@contextlib.contextmanager
def serving(code: str, folder: Path, module: str) -> Iterator[Attacked]:
    """Run the application `app` of a program; `module` has the attacks on it."""
    (folder / "attacked.py").write_text(code)
    command = ["run", "attacked:app", "--address", "tcp://127.0.0.1:0"]
    with command_line(command, folder) as program:
        port = int(program.wait_output(r"serving at tcp://127\.0\.0\.1:(\d+)")[1])
        yield Attacked(port, program.process_id, module)
