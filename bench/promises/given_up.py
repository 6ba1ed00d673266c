"""Large answers that are given up: `python -m bench.promises.given_up ADDRESS ANSWERS`.

Requests two answers of 16 MiB at a time, gives both up 10 ms later, reads the further input, and prints as JSON how
many bytes arrived after that and how many connections that took. Earlier bytes show how fast the machine is.
"""

import json
import socket
import sys
import time

from fastrpc._core.wire.settings import usual_settings
from fastrpc_harness.recording import RecordedCall, RecordingConnection

ANSWER = 16 * 2**20 - 1_024
AT_ONCE = 2
WAIT_SECONDS = 0.01


class _Line:
    """One connection, and its received bytes."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.received = 0
        self.events: list[tuple[object, ...]] = []
        self._socket = socket.create_connection(target)
        self._connection = RecordingConnection(is_client=True, settings=usual_settings(False))
        self._flush()
        while not any(event[0] == "settings" for event in self.events):
            self.receive()

    def ask(self) -> list[RecordedCall]:
        calls = [self._connection.open_call(b"bench.give", b"%d" % ANSWER) for _ in range(AT_ONCE)]
        self._flush()
        return calls

    def give_up(self, calls: list[RecordedCall]) -> None:
        for call in calls:
            self._connection.cancel(call)
        self._flush()

    def receive(self) -> bool:
        """Read input; False when the connection is over."""
        data = self._socket.recv(262_144)
        self.received += len(data)
        self.events += self._connection.receive_data(data)
        self._flush()
        return bool(data) and not self._connection.is_closed

    def ended(self) -> int:
        return sum(event[0] in ("freed", "response") for event in self.events)

    def close(self) -> None:
        self._socket.close()

    def _flush(self) -> None:
        if data := self._connection.data_to_send():
            self._socket.sendall(data)


def measure(address: str, answers: int) -> dict[str, float]:
    """Give up so many answers."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    received, connections, given_up = 0, 0, 0
    while given_up < answers:
        line = _Line((host, int(port)))
        connections += 1
        is_alive = True
        while is_alive and given_up < answers:
            line.events.clear()
            calls = line.ask()
            due = time.monotonic() + WAIT_SECONDS
            while is_alive and time.monotonic() < due:
                is_alive = line.receive()
            line.give_up(calls)
            before = line.received
            while is_alive and line.ended() < AT_ONCE:
                is_alive = line.receive()
            given_up += AT_ONCE
            received += line.received - before
        line.close()
    return {"bytes": received, "connections": connections}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))), flush=True)
