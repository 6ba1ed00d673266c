"""The engine and its reference: both get the same bytes and steps, and must not differ.

The comparison covers events, count of consumed bytes, error, the state of each call, and the sent bytes, except texts
and the division and order of messages, which each sender chooses.
"""

import struct
from collections.abc import Mapping
from random import Random
from typing import Any

from fastrpc_harness.recording import RecordingConnection
from tests.support.engine import engine_settings
from tests.support.traffic import random_slices
from tests.support.wire_frames import Data, Response
from tests.support.wire_layout import FLAG_ACK, HEADER, MAGIC, Kind
from tests.support.wire_link import Event
from tests.support.wire_peer import ReferencePeer
from tests.support.wire_settings import Setting, floor

__all__ = ["DifferenceError", "Lockstep", "sent_frames"]

RESPONSE_HEAD = struct.Struct("<BBH")
#: Frames that show a reaction; frames with messages depend on the unsent bytes of either side.
REACTIONS = {Kind.RESPONSE, Kind.CANCEL, Kind.CREDIT, Kind.PING, Kind.GOAWAY, Kind.AUTH, Kind.SETTINGS}


class DifferenceError(AssertionError):
    """Engine and reference disagree."""


class Lockstep:
    """One connection, twice."""

    def __init__(
        self, is_server: bool, changes: Mapping[int, Any] | None = None, *, stream_pool: int = 2**25
    ) -> None:
        self.is_server = is_server
        self.seconds = 0.0
        self.reference = ReferencePeer(
            is_server, changes, clock=lambda: self.seconds, stream_pool=stream_pool
        )
        self.engine = RecordingConnection(
            is_client=not is_server, settings=engine_settings(is_server, changes), stream_pool=stream_pool
        )
        #: The changes of the first SETTINGS to the defaults.
        self.first_values = dict(changes or {})
        #: Whether the peer's SETTINGS were read.
        self.is_open = False
        self._peer_drains = False
        self._peer_calls = floor(not is_server)[Setting.MAX_CALLS]
        #: The content of a drain's PING.
        self.drain_content = b""
        self._pings = 0
        #: Highest call id whose state is worth a look.
        self.highest = 0

    @property
    def is_over(self) -> bool:
        return self.reference.is_over

    def receive(self, data: bytes, random: Random | None = None) -> list[Event]:
        """Give bytes to both, to the engine in random slices, and return their events."""
        expected = self.reference.receive(data)
        slices = [data] if random is None else random_slices(random, data)
        found = [event for part in slices for event in self.engine.receive_data(part)]
        if found != expected:
            raise DifferenceError(f"events: {first_difference(expected, found)}")
        if self.engine.consumed != self.reference.consumed:
            raise DifferenceError(
                f"consumed: {self.reference.consumed} expected, {self.engine.consumed} found"
            )
        for name, *values in expected:
            if name == "settings":
                self.is_open = True
                self._peer_calls = dict(values[0]).get(Setting.MAX_CALLS, self._peer_calls)
            elif name == "goaway":
                self._peer_drains = True
        return expected

    @property
    def may_open(self) -> bool:
        """Whether an engine that obeys the peer opens a call at once."""
        return not self._peer_drains and len(self.reference.caller) < self._peer_calls

    def compare(self) -> bytes:
        """Compare states and output since the last time; return the bytes of the reference."""
        if not self.is_over:
            calls = self.reference.callee, self.reference.caller
            for call in range(1, self.highest + 1):
                table = calls[0] if bool(call & 1) == self.is_server else calls[1]
                expected, found = table.state(call), self.engine.state_of(call)
                if expected != found:
                    raise DifferenceError(f"call {call}: {expected!r} expected, {found!r} found")
        output = self.reference.take_output()
        expected_frames, found_frames = sent_frames(output), sent_frames(self.engine.data_to_send())
        if expected_frames != found_frames:
            raise DifferenceError(f"output: {first_difference(expected_frames, found_frames)}")
        return output

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += seconds
        self.engine.now = round(self.seconds * 1e9)

    def open_call(self, flags: int, payload: bytes = b"") -> int:
        """Open a call on both and return its id."""
        call = self.reference.open_call(b"arith.mul", payload, flags=flags)
        found = self.engine.open_call(b"arith.mul", payload, flags=flags)
        if found.id != call:
            raise DifferenceError(f"call {call} expected, {found.id} opened")
        self.highest = max(self.highest, call)
        return call

    def cancel(self, call: int) -> None:
        self.reference.caller.cancel(call)
        self.engine.cancel(call)

    def respond(self, call: int, payload: bytes = b"") -> None:
        self.reference.callee.respond(Response(call, 0, payload))
        self.engine.respond(call, payload)

    def respond_error(self, call: int, status: int) -> None:
        self.reference.callee.respond(Response(call, status))
        self.engine.respond_error(call, status)

    def push_head(self, call: int) -> None:
        self.reference.callee.send_head(call)
        self.engine.push_head(call)

    def push_message(self, call: int, payload: bytes) -> None:
        opened_here = bool(call & 1) != self.is_server
        table = self.reference.caller if opened_here else self.reference.callee
        table.send(Data(call, payload))
        self.engine.push_message(call, payload)

    def push_end(self, call: int) -> None:
        self.reference.caller.end(call)
        self.engine.push_end(call)

    def take_message(self, call: int) -> None:
        opened_here = bool(call & 1) != self.is_server
        (self.reference.caller if opened_here else self.reference.callee).take_message(call)
        self.engine.take_message(call)

    def wait_for_message(self, call: int) -> None:
        opened_here = bool(call & 1) != self.is_server
        (self.reference.caller if opened_here else self.reference.callee).wait_for_message(call)
        self.engine.wait_for_message(call)

    def end_one_way(self, call: int) -> None:
        self.reference.callee.finish_one_way(call)
        self.engine.end_one_way()

    def ping(self, content: bytes) -> None:
        self._pings += 1
        self.reference.ping(content)
        self.engine.ping(content)

    def announce(self, changes: Mapping[int, Any], values: Mapping[int, Any]) -> None:
        """Announce `changes`, which lead to all these `values`."""
        self.reference.announce(changes)
        self.engine.announce(engine_settings(self.is_server, values))

    def start_drain(self) -> None:
        self.drain_content = self._pings.to_bytes(8, "little")
        self._pings += 1
        self.reference.start_drain()
        self.engine.begin_drain()

    def finish_drain(self) -> None:
        self.reference.finish_drain()
        self.engine.end_drain()


def sent_frames(data: bytes) -> list[tuple[Any, ...]]:
    """Return the reactions in the bytes of a side, without texts and in a canonical order."""
    offset = 8 if data.startswith(MAGIC) else 0
    found: list[tuple[Any, ...]] = []
    while offset < len(data):
        length, kind, flags, _, _, call = HEADER.unpack_from(data, offset)
        body = data[offset + HEADER.size : offset + HEADER.size + length]
        offset += HEADER.size + length
        if kind == Kind.RESPONSE:
            found.append((kind, call, *RESPONSE_HEAD.unpack_from(body)))
        elif kind == Kind.GOAWAY:
            found.append((kind, flags, body[:10]))
        elif kind == Kind.SETTINGS and not flags & FLAG_ACK:
            found.append((kind, flags))
        elif kind in REACTIONS:
            found.append((kind, flags, call, body))
    found.sort(key=repr)
    return found


def first_difference(expected: list[Any], found: list[Any]) -> str:
    """Say where two lists part."""
    for index, (one, other) in enumerate(zip(expected, found, strict=False)):
        if one != other:
            return f"at {index} {one!r:.300} expected, {other!r:.300} found"
    longer = expected if len(expected) > len(found) else found
    side = "missing" if longer is expected else "too many"
    return f"{side}: {longer[min(len(expected), len(found)) :]!r:.300}"
