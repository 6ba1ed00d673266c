"""A line-based protocol whose wire is Python: it shows all that a link needs of such a protocol.

::

    shop.price "apple"          →   1 OK 5
    shop.pack@250 "apple"       →   2 DEADLINE_EXCEEDED shop.pack: its deadline passed
    cancel 3                    →   3 CANCELLED shop.pack was cancelled

A line is a full method name, the caller's milliseconds if it has any, and the argument in JSON. Answers have the number
of their call, and come as handlers end.
"""

from fastrpc import Status
from fastrpc._core.link.failure import Failure
from fastrpc._core.server.link import Link
from fastrpc._core.server.python_wire import PythonWire
from fastrpc._core.server.served_call import ServerCall
from fastrpc.errors import RemoteProtocolError
from fastrpc.protocols.base import Match, ServerParts, linked, register

__all__ = ["ToyWire", "detect_toy", "toy_link"]

LONGEST_LINE = 65_536


class ToyWire(PythonWire):
    """Lines in, lines out."""

    def __init__(self) -> None:
        super().__init__("toy")
        self.calls: dict[int, ServerCall] = {}

    def receive_data(self, data: bytes) -> int:
        """Serve the lines that are whole, as far as this turn of the loop has time."""
        at = 0
        while (end := data.find(b"\n", at)) >= 0:
            self.take_line(data[at:end])
            at = end + 1
            if self.turn_is_over():
                return at
        if len(data) - at > LONGEST_LINE:
            raise RemoteProtocolError(f"a line has more than {LONGEST_LINE} bytes")
        return at

    def take_line(self, line: bytes) -> None:
        if line.startswith(b"cancel "):
            call = self.calls.get(int(line[7:]))
            # Its answer may be under way.
            if call is not None:
                self.gate.cancel_call(call)
            return
        head, _, argument = line.decode().partition(" ")
        method, _, milliseconds = head.partition("@")
        self.begin(
            method=method,
            payload=f"[{argument}]".encode(),
            codec="json",
            timeout=float(milliseconds) / 1000 if milliseconds else None,
        )

    def say(self, number: int, status: int, text: str) -> None:
        self.calls.pop(number, None)
        self.send(f"{number} {Status(status).name} {text}\n".encode())

    # For the link

    def write_answer(self, call: ServerCall, payload: bytes) -> None:
        self.say(call.id, Status.OK, payload.decode())

    def write_failure(self, call: ServerCall, failure: Failure) -> None:
        self.say(call.id, failure.status, failure.text)

    def hold(self, call: ServerCall) -> None:
        self.calls[call.id] = call

    def connection_lost(self) -> None:
        self.calls.clear()


def toy_link(parts: ServerParts) -> Link:
    """Make the link of a connection that speaks the toy protocol."""
    return linked(ToyWire(), parts)


def detect_toy(data: bytes) -> Match:
    return Match.YES if data[:1].isalpha() else Match.NO


register("toy", detect_toy, toy_link)
