"""Two sides that talk to each other without a socket: engines, or an engine and the reference.

Each `Talker` keeps its sent and received messages by call, so that a test can compare them at the end.
"""

from collections import defaultdict
from collections.abc import Mapping
from random import Random
from typing import Any, Protocol

from fastrpc_harness.recording import RecordedCall, RecordingConnection
from tests.support.engine import engine_settings
from tests.support.wire_frames import Data, Response
from tests.support.wire_layout import FLAG_ONE_WAY, FLAG_STREAM_IN, FLAG_STREAM_OUT
from tests.support.wire_link import Event
from tests.support.wire_peer import ReferencePeer

__all__ = ["EngineTalker", "ReferenceTalker", "Talker", "exchange"]


class Talker(Protocol):
    """One side of a conversation; calls of its own are named as `open` names them."""

    is_server: bool
    #: Received messages, by call: the payload of its REQUEST or RESPONSE, and stream messages in their order.
    requests: dict[int, bytes]
    responses: dict[int, tuple[int, bytes]]
    messages: dict[int, list[bytes]]
    #: Running calls of the other side and their flags, and messages not taken.
    open_here: dict[int, int]
    untaken: list[int]
    errors: list[Event]
    #: Calls of its own that ended in another way than by a RESPONSE.
    given_up: set[int]

    def receive(self, data: bytes) -> None: ...
    def output(self, most: int) -> bytes: ...
    def open(self, flags: int, payload: bytes) -> Any: ...
    def id_of(self, call: Any) -> int: ...
    def push(self, call: Any, payload: bytes) -> None: ...
    def end(self, call: Any) -> None: ...
    def cancel(self, call: Any) -> None: ...
    def respond(self, call: int, status: int, payload: bytes) -> None: ...
    def take(self) -> None: ...


class Received:
    """The received messages of a side, by its events."""

    def __init__(self, is_server: bool) -> None:
        self.is_server = is_server
        self.requests: dict[int, bytes] = {}
        self.responses: dict[int, tuple[int, bytes]] = {}
        self.messages: dict[int, list[bytes]] = defaultdict(list)
        self.open_here: dict[int, int] = {}
        self.untaken: list[int] = []
        self.errors: list[Event] = []
        #: Calls of ours that ended in another way than by a RESPONSE.
        self.given_up: set[int] = set()

    def note(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case ("request", call, _, flags, *_, payload):
                    self.requests[call] = payload
                    if flags & FLAG_ONE_WAY:
                        self.one_way_ended(call)
                    else:
                        self.open_here[call] = flags
                case ("data", call, _, _, payload):
                    self.messages[call].append(payload)
                    self.untaken.append(call)
                case ("response", call, status, *_, payload):
                    self.responses[call] = status, payload
                case ("failed", call, *_):
                    self.open_here.pop(call, None)
                    self.given_up.add(call)
                case ("cancel", call, _):
                    # Messages that it did not take are no longer wanted.
                    self.untaken = [other for other in self.untaken if other != call]
                    if call in self.open_here:
                        self.open_here[call] &= ~(FLAG_STREAM_IN | FLAG_STREAM_OUT)
                case ("error", *_) | ("goaway", *_) | ("unsendable", *_):
                    self.errors.append(event)

    def one_way_ended(self, call: int) -> None:
        """Let go of the place of a ONE_WAY call."""


class EngineTalker(Received):
    """The engine."""

    def __init__(self, is_server: bool, changes: Mapping[int, Any], **options: Any) -> None:
        super().__init__(is_server)
        self.connection = RecordingConnection(
            is_client=not is_server, settings=engine_settings(is_server, changes), **options
        )
        self.connection.sends_at_once = False
        #: The free bytes of the stream pool, and of its share for windows that grow, before the first stream.
        self.pool = self.pool_left

    @property
    def pool_left(self) -> tuple[int, int]:
        """The pool's free bytes, now."""
        assembler = self.connection.assembler
        return assembler.stream_pool_left, assembler.growth_left

    def receive(self, data: bytes) -> None:
        self.note(self.connection.receive_data(data))

    def output(self, most: int) -> bytes:
        return self.connection.data_to_send(most)

    def open(self, flags: int, payload: bytes) -> RecordedCall:
        return self.connection.open_call(b"blob.put", payload, flags=flags)

    def id_of(self, call: RecordedCall) -> int:
        return call.id

    def push(self, call: RecordedCall | int, payload: bytes) -> None:
        self.connection.push_message(call, payload)

    def end(self, call: RecordedCall) -> None:
        self.connection.push_end(call)

    def cancel(self, call: RecordedCall) -> None:
        self.connection.cancel(call)
        self.untaken = [other for other in self.untaken if other != call.id]
        self.given_up.add(call.id)

    def respond(self, call: int, status: int, payload: bytes) -> None:
        del self.open_here[call]
        if status:
            self.connection.respond_error(call, status, details=payload)
        else:
            self.connection.respond(call, payload)

    def take(self) -> None:
        call = self.untaken.pop(0)
        self.connection.take_message(call)
        if call not in self.untaken and self.connection.find_call(call) is not None:
            self.connection.wait_for_message(call)

    def one_way_ended(self, call: int) -> None:
        self.connection.end_one_way()


class ReferenceTalker(Received):
    """The reference."""

    def __init__(self, is_server: bool, changes: Mapping[int, Any], **options: Any) -> None:
        super().__init__(is_server)
        self.peer = ReferencePeer(is_server, changes, **options)

    def receive(self, data: bytes) -> None:
        self.note(self.peer.receive(data))

    def output(self, most: int) -> bytes:
        return self.peer.take_output()

    def open(self, flags: int, payload: bytes) -> int:
        return self.peer.open_call(b"blob.put", payload, flags=flags)

    def id_of(self, call: int) -> int:
        return call

    def push(self, call: int, payload: bytes) -> None:
        (self.peer.callee if call in self.peer.callee else self.peer.caller).send(Data(call, payload))

    def end(self, call: int) -> None:
        self.peer.caller.end(call)

    def cancel(self, call: int) -> None:
        self.peer.caller.cancel(call)
        self.untaken = [other for other in self.untaken if other != call]
        self.given_up.add(call)

    def respond(self, call: int, status: int, payload: bytes) -> None:
        del self.open_here[call]
        self.peer.callee.respond(Response(call, status, payload))

    def take(self) -> None:
        call = self.untaken.pop(0)
        table = self.peer.callee if call in self.peer.callee else self.peer.caller
        table.take_message(call)
        if call not in self.untaken:
            table.wait_for_message(call)

    def one_way_ended(self, call: int) -> None:
        self.peer.callee.finish_one_way(call)


def exchange(random: Random | None, sides: tuple[Talker, Talker]) -> bool:
    """Carry the bytes of each side to the other, in slices; False when neither had any."""
    moved = False
    for sender, receiver in (sides, sides[::-1]):
        data = sender.output(-1 if random is None else random.choice((1, 20_000, 100_000, -1)))
        moved = moved or bool(data)
        while data:
            size = len(data) if random is None else random.choice((1, 100, 5_000, len(data)))
            receiver.receive(data[:size])
            data = data[size:]
    return moved
