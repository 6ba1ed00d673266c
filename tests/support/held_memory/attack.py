"""The attackers, in a process of their own: `python -m tests.support.held_memory.attack ADDRESS SHARE WAY…`.

It opens the connections of each way and prints how many; at the first line of its input each sends its bytes, until the
input closes. It uses bare sockets: the attackers share their memory.
"""

import contextlib
import selectors
import socket
import sys
import time
from collections.abc import Sequence

from tests.support.held_memory.ways import WAYS, Way

#: Connections that open at once, seconds for an opening, and connections of a way that come again a second.
AT_ONCE = 64
OPEN_SECONDS = 30.0
AGAIN_A_SECOND = 500

WRITE_BYTES = 2**18


class Attacker:
    """One connection."""

    def __init__(self, address: tuple[str, int], way: Way, *, attacks: bool = False) -> None:
        self.way = way
        self.socket = socket.create_connection(address)
        self.socket.setblocking(False)
        self.is_open = not way.opening
        self._unsent = [memoryview(way.opening)] if way.opening else []
        if attacks:
            self.begin()

    def begin(self) -> None:
        self._unsent += map(memoryview, self.way.parts)

    @property
    def events(self) -> int:
        # A peer that reads nothing gets no event: the end of its connection shows when it writes.
        reads = not self.is_open or self.way.reads
        return (selectors.EVENT_READ if reads else 0) | (selectors.EVENT_WRITE if self._unsent else 0)

    def move(self, ready: int) -> bool:
        """Read and write as far as possible; False: the connection is over."""
        try:
            if ready & selectors.EVENT_READ:
                if not self.socket.recv(2**18):
                    return False
                self.is_open = True
            if ready & selectors.EVENT_WRITE and self._unsent:
                first = self._unsent[0]
                sent = self.socket.send(first[:WRITE_BYTES])
                self._unsent[0] = first[sent:]
                if not self._unsent[0]:
                    del self._unsent[0]
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True


class Attack:
    """All connections of this process."""

    def __init__(self, address: tuple[str, int], ways: Sequence[Way], share: float) -> None:
        self._address = address
        self._selector = selectors.DefaultSelector()
        self._counts = {way: max(1, round(way.connections * share)) for way in ways}
        self._resting: list[Attacker] = []
        self._spare = 0.0
        self._looked = time.monotonic()

    def open(self) -> int:
        """Open all connections, and return how many there are."""
        until = time.monotonic() + OPEN_SECONDS
        for way, count in self._counts.items():
            opened: list[Attacker] = []
            # One that says nothing is closed early: it comes with the attack.
            while len(opened) < count and way.opening:
                new = [Attacker(self._address, way) for _ in range(min(AT_ONCE, count - len(opened)))]
                for one in new:
                    self._register(one)
                while not all(one.is_open for one in new):
                    if time.monotonic() > until:
                        raise TimeoutError(f"{way.name}: the connections do not open")
                    self._turn(1.0, ends=True)
                opened += new
        return len(self._selector.get_map()) + len(self._resting)

    def run(self) -> None:
        """Attack until standard input closes."""
        for one in [*(key.data for key in self._selector.get_map().values()), *self._resting]:
            one.begin()
        resting, self._resting = self._resting, []
        for one in resting:
            self._register(one)
        for key in list(self._selector.get_map().values()):
            self._watch(key.data)
        for way, count in self._counts.items():
            for _ in range(0 if way.opening else count):
                self._connect(way)
        self._selector.register(sys.stdin, selectors.EVENT_READ)
        while self._turn(0.05):
            pass

    def _turn(self, seconds: float, *, ends: bool = False) -> bool:
        for key, ready in self._selector.select(seconds):
            if key.data is None:
                return False
            one = key.data
            if one.move(ready):
                self._watch(one)
                continue
            if ends:
                raise ConnectionError(f"{one.way.name}: the server ended a connection that was opening")
            self._selector.unregister(one.socket)
            one.socket.close()
            self._again(one.way)
        return True

    def _again(self, way: Way) -> None:
        now = time.monotonic()
        self._spare = min(AGAIN_A_SECOND, self._spare + (now - self._looked) * AGAIN_A_SECOND)
        self._looked = now
        if way.again and self._spare >= 1:
            self._spare -= 1
            self._connect(way)

    def _connect(self, way: Way) -> None:
        with contextlib.suppress(OSError):
            self._register(Attacker(self._address, way, attacks=True))

    def _register(self, one: Attacker) -> None:
        if one.events:
            self._selector.register(one.socket, one.events, one)
        else:
            self._resting.append(one)

    def _watch(self, one: Attacker) -> None:
        if one.events:
            self._selector.modify(one.socket, one.events, one)
        else:
            self._selector.unregister(one.socket)
            self._resting.append(one)


def main(address: str, share: str, *names: str) -> None:
    """Attack a server in these ways."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    attack = Attack((host, int(port)), [way for way in WAYS if way.name in names], float(share))
    print(attack.open(), flush=True)
    if sys.stdin.readline():
        attack.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
