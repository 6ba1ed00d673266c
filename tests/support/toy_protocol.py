"""A line-based protocol whose engine is Python: it shows what the gate asks of a protocol, and that it is enough.

::

    shop.price "apple"          →   1 OK 5
    shop.pack@250 "apple"       →   2 DEADLINE_EXCEEDED shop.pack: its deadline passed
    cancel 3                    →   3 CANCELLED shop.pack was cancelled

A line is a full method name, the caller's milliseconds if it has any, and the argument in JSON. Answers have the number
of their call, and come as handlers end.
"""

from fastrpc import Status
from fastrpc._core.link.failure import Failure
from fastrpc._core.server.served_call import ServerCall
from fastrpc._core.server.served_engine import ServedEngine
from fastrpc.protocols.base import Match, ServerParts, register

__all__ = ["ToyEngine"]

LONGEST_LINE = 65_536


class ToyEngine(ServedEngine):
    """Lines in, lines out."""

    def __init__(self, parts: ServerParts) -> None:
        super().__init__(parts, "toy")
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
            self.close()
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
        self.gate.begin(
            self.connection,
            method=method,
            payload=f"[{argument}]".encode(),
            codec="json",
            timeout=float(milliseconds) / 1000 if milliseconds else None,
        )

    def say(self, number: int, status: int, text: str) -> None:
        self.calls.pop(number, None)
        self.send(f"{number} {Status(status).name} {text}\n".encode())

    # What the gate asks for

    def answer(self, call: ServerCall, payload: bytes) -> None:
        self.say(call.id, Status.OK, payload.decode())

    def fail(self, call: ServerCall, failure: Failure) -> None:
        self.say(call.id, failure.status, failure.text)

    def hold(self, call: ServerCall) -> None:
        self.calls[call.id] = call


def detect_toy(data: bytes) -> Match:
    return Match.YES if data[:1].isalpha() else Match.NO


register("toy", detect_toy, ToyEngine)
