"""The client's half of the toy protocol, in Python: it shows all that a call needs of a protocol.

It calls the server of `toy_protocol`. That counts the lines of calls on a connection: the number of an answer is the
place of its line.
"""

from fastrpc import EncodeError, Status
from fastrpc._core.client.calling_engine import CallingEngine
from fastrpc._core.client.client_call import ClientCall
from fastrpc.protocols.base import ClientParts, ClientTraits, register
from tests.support import toy_protocol

__all__ = ["ToyCaller"]


class ToyCaller(CallingEngine):
    """Lines out, lines in."""

    def __init__(self, parts: ClientParts) -> None:
        super().__init__(parts)
        self.lines = 0
        self.numbers: dict[ClientCall, int] = {}
        self.sent: dict[int, ClientCall] = {}

    def connection_made(self) -> None:
        # There is no opening.
        self.ready()

    # From calls

    def send_call(self, call: ClientCall, payload: bytes) -> None:
        if self.own_calls.codec_of(call) != "json":
            raise EncodeError(f"{call.method}: toy speaks JSON, not {self.own_calls.codec_of(call)}")
        remaining = call.remaining()
        timeout = "" if remaining is None else f"@{max(1, int(remaining * 1000))}"
        self.lines += 1
        self.sent[self.lines] = call
        self.numbers[call] = self.lines
        self.send(f"{call.method}{timeout} ".encode() + payload + b"\n")

    def cancel_call(self, call: ClientCall, reason: int) -> None:
        number = self.numbers.pop(call)
        del self.sent[number]
        self.send(f"cancel {number}\n".encode())

    # From the server

    def receive_data(self, data: bytes) -> int:
        at = 0
        while (end := data.find(b"\n", at)) >= 0:
            self.take_line(data[at:end])
            at = end + 1
            if self.turn_is_over():
                break
        return at

    def take_line(self, line: bytes) -> None:
        number, status, text = line.split(b" ", 2)
        call = self.sent.pop(int(number), None)
        if call is None:
            # It was cancelled meanwhile.
            return
        del self.numbers[call]
        if status == b"OK":
            self.answer(call, text)
        else:
            has_run = status not in {b"UNAVAILABLE", b"RESOURCE_EXHAUSTED"}
            self.fail(call, Status[status.decode()], text.decode(), has_run=has_run)


register(
    "toy",
    toy_protocol.detect_toy,
    toy_protocol.toy_link,
    ToyCaller,
    traits=ClientTraits(takes_values=True),
)
