"""Random life of a connection under test: frames of the peer, and between them all that one's own side may do."""

from collections.abc import Callable
from random import Random
from typing import Any

from tests.support.lockstep import Lockstep
from tests.support.scenario import Open
from tests.support.traffic import damaged, sound_traffic
from tests.support.wire_callee import CalleeCalls
from tests.support.wire_caller import CallerCalls
from tests.support.wire_frames import Data, Ping, Response, SettingsFrame
from tests.support.wire_layout import FLAG_ONE_WAY, FLAG_STREAM_IN, FLAG_STREAM_OUT
from tests.support.wire_link import Event
from tests.support.wire_peer import ReferencePeer
from tests.support.wire_settings import Setting

__all__ = ["converse", "explore"]

SHAPES = (0, FLAG_STREAM_IN, FLAG_STREAM_OUT, FLAG_STREAM_IN | FLAG_STREAM_OUT, FLAG_ONE_WAY)
CALLS = 5
MOST_STREAMED = 16_000


def explore(random: Random, pair: Lockstep, opening: bytes) -> None:
    """Feed a conversation frame by frame, acting between frames; `DifferenceError` where the two sides part."""
    side = OwnSide(random, pair)
    traffic = sound_traffic(random, pair.is_server, CALLS)
    if random.random() < 0.3:
        traffic = damaged(random, traffic)
    for action in traffic.actions:
        side.open_call(action.flags) if isinstance(action, Open) else side.cancel(action.id)
    # Half of the time something more is done before the peer is heard.
    for _ in range(random.choice((0, 2))):
        side.act()
    side.note(pair.receive(opening, random))
    for frame in traffic.frames:
        if pair.is_over:
            break
        if random.random() < 0.6:
            side.act()
        side.note(pair.receive(frame, random))
        side.answer()
        pair.compare()


def converse(random: Random, pair: Lockstep, peer: ReferencePeer) -> None:
    """Let a sound peer stream large messages, obeying every window, while the side under test reads at will."""
    side, other = OwnSide(random, pair), PeerSide(random, peer)
    to_peer = b""
    for _ in range(2):
        peer.receive(pair.compare())
        side.note(pair.receive(peer.take_output()))
    for _ in range(60):
        if random.random() < 0.5:
            other.act()
        if random.random() < 0.7:
            side.act()
        if random.random() < 0.5:
            side.note(pair.receive(peer.take_output(), random))
            to_peer += pair.compare()
        if random.random() < 0.5:
            other.note(peer.receive(to_peer))
            to_peer = b""


class OwnSide:
    """The possible steps of the side under test, by the events it saw."""

    def __init__(self, random: Random, pair: Lockstep) -> None:
        self._random = random
        self._pair = pair
        #: Flags of the peer's calls that run, and of own ones; messages not taken, by call.
        self._theirs: dict[int, int] = {}
        self._ours: dict[int, int] = {}
        self._untaken: dict[int, int] = {}
        self._one_way: list[int] = []
        self._ended: set[int] = set()
        #: Calls whose answering stream has begun; stream bytes sent, which stay below every window.
        self._committed: set[int] = set()
        self._streamed: dict[int, int] = {}
        self._pings: list[bytes] = []
        #: The first SETTINGS are acknowledged with the opening.
        self._owed_acks = 1
        self._values: dict[int, Any] = {}
        self._drained = 0
        pair.highest = 4 * CALLS

    def note(self, events: list[Event]) -> None:
        """Derive the possible next steps from events."""
        for name, *values in events:
            if name == "request" and values[2] & FLAG_ONE_WAY:
                self._one_way.append(values[0])
            elif name == "request":
                self._theirs[values[0]] = values[2]
            elif name == "data":
                self._untaken[values[0]] = self._untaken.get(values[0], 0) + 1
            elif name in {"failed", "response", "freed", "not_started"}:
                self._forget(values[0])
            elif name == "settings_ack":
                self._owed_acks -= 1
            elif name == "pong":
                self._pings.pop(0)
            elif name == "cancel":
                self._untaken.pop(values[0], None)
                self._theirs[values[0]] = 0

    def _forget(self, call: int) -> None:
        self._theirs.pop(call, None)
        self._ours.pop(call, None)
        self._untaken.pop(call, None)

    def answer(self) -> None:
        """Let the peer acknowledge our frames, sometimes."""
        random, pair = self._random, self._pair
        if self._pings and random.random() < 0.5:
            self.note(pair.receive(Ping(self._pings[0], ack=True).encode()))
        if self._owed_acks > 0 and random.random() < 0.5:
            self.note(pair.receive(SettingsFrame(ack=True).encode()))

    def act(self) -> None:
        """Do something that is allowed now."""
        if self._pair.is_over:
            return
        actions: list[Callable[[], None]] = [self._wait, self._ping, self._announce, self._drain]
        actions += [self._open] * (2 if not self._pair.is_server else 1)
        actions += [self._answer_call] * 3 if self._theirs else []
        actions += [self._stream] * 3 if self._theirs or self._ours else []
        actions += [self._cancel] * 2 if self._ours else []
        actions += [self._take] * 3 if self._untaken else []
        actions += [self._wait_for_message] if self._starving else []
        actions += [self._end_one_way] if self._one_way else []
        self._random.choice(actions)()

    def _payload(self) -> bytes:
        return self._random.randbytes(self._random.choice((0, 5, 700, 2_000)))

    def _wait(self) -> None:
        self._pair.advance(self._random.choice((0.125, 1, 30)))

    def _ping(self) -> None:
        if not self._pair.is_open:
            return
        content = self._random.randbytes(8)
        self._pair.ping(content)
        self._pings.append(content)

    def _announce(self) -> None:
        changes: dict[int, Any] = {
            Setting.MAX_CALLS: self._random.randint(0, 6),
            Setting.MAX_MESSAGE: self._random.choice((4_096, 65_536)),
            Setting.OPEN_MESSAGES: self._random.randint(1, 3),
            Setting.MIN_PING_MS: self._random.choice((0, 10_000)),
        }
        if self._can_announce():
            self._values |= changes
            self._owed_acks += 1
            self._pair.announce(changes, self._pair.first_values | self._values)

    def _can_announce(self) -> bool:
        return self._pair.is_open and self._owed_acks < 3

    def _drain(self) -> None:
        if self._drained == 0 and self._pair.is_open and self._random.random() < 0.2:
            self._pair.start_drain()
            self._pings.append(self._pair.drain_content)
            self._drained = 1
        elif self._drained == 1:
            self._pair.finish_drain()
            self._drained = 2

    def open_call(self, flags: int) -> None:
        call = self._pair.open_call(flags, self._payload())
        if not flags & FLAG_ONE_WAY:
            self._ours[call] = flags

    def cancel(self, call: int) -> None:
        self._pair.cancel(call)
        self._forget(call)

    def _open(self) -> None:
        if self._pair.may_open and len(self._ours) < 2 * CALLS:
            self.open_call(self._random.choice(SHAPES))

    def _answer_call(self) -> None:
        call = self._random.choice(list(self._theirs))
        if self._random.random() < 0.7:
            self._pair.respond(call, self._payload())
        else:
            self._pair.respond_error(call, self._random.randint(1, 16))
        self._forget(call)

    def _stream(self) -> None:
        wanted = [(call, flags) for call, flags in self._theirs.items() if flags & FLAG_STREAM_OUT]
        own = [(call, flags) for call, flags in self._ours.items() if flags & FLAG_STREAM_IN]
        own = [(call, flags) for call, flags in own if call not in self._ended]
        if not wanted + own:
            return
        call, flags = self._random.choice(wanted + own)
        payload = self._payload()
        if (call, flags) in own and self._random.random() < 0.3:
            self._pair.push_end(call)
            self._ended.add(call)
        elif (call, flags) in wanted and call not in self._committed and self._random.random() < 0.5:
            self._pair.push_head(call)
            self._committed.add(call)
        elif self._streamed.get(call, 0) + len(payload) < MOST_STREAMED:
            self._committed.add(call)
            self._streamed[call] = self._streamed.get(call, 0) + len(payload) + 16
            self._pair.push_message(call, payload)

    def _cancel(self) -> None:
        self.cancel(self._random.choice(list(self._ours)))

    def _take(self) -> None:
        call = self._random.choice(list(self._untaken))
        self._untaken[call] -= 1
        if not self._untaken[call]:
            del self._untaken[call]
        self._pair.take_message(call)

    @property
    def _starving(self) -> list[int]:
        """Streams without a waiting message."""
        calls = self._theirs | self._ours
        shapes = FLAG_STREAM_IN | FLAG_STREAM_OUT
        return [call for call, flags in calls.items() if flags & shapes and call not in self._untaken]

    def _wait_for_message(self) -> None:
        self._pair.wait_for_message(self._random.choice(self._starving))

    def _end_one_way(self) -> None:
        self._pair.end_one_way(self._one_way.pop())


class PeerSide:
    """A sound peer: the reference, with messages larger than the windows it gets."""

    def __init__(self, random: Random, peer: ReferencePeer) -> None:
        self._random = random
        self._peer = peer
        #: Calls that it may send messages on, by who opened them; messages it has not taken.
        self._streams: dict[int, CallerCalls | CalleeCalls] = {}
        self._untaken: list[tuple[CallerCalls | CalleeCalls, int]] = []

    def note(self, events: list[Event]) -> None:
        for name, *values in events:
            if name == "request" and values[2] & FLAG_STREAM_OUT:
                self._streams[values[0]] = self._peer.callee
            elif name in {"response", "failed", "freed", "not_started", "cancel"}:
                self._streams.pop(values[0], None)
            elif name == "data":
                table = self._peer.callee if values[0] in self._peer.callee else self._peer.caller
                self._untaken.append((table, values[0]))

    def act(self) -> None:
        random, peer = self._random, self._peer
        choice = random.random()
        if choice < 0.3 and len(peer.caller) < CALLS:
            flags = random.choice(SHAPES[1:4])
            call = peer.open_call(b"arith.mul", random.randbytes(random.choice((3, 3, 40_000))), flags=flags)
            if flags & FLAG_STREAM_IN:
                self._streams[call] = peer.caller
        elif choice < 0.8 and self._streams:
            call = random.choice(list(self._streams))
            size = random.choice((0, 100, 5_000, 20_000, 45_000))
            self._streams[call].send(Data(call, random.randbytes(size), codec=random.randint(0, 3)))
        elif choice < 0.85 and self._streams:
            call, table = random.choice(list(self._streams.items()))
            del self._streams[call]
            if table is peer.caller:
                peer.caller.end(call)
            else:
                peer.callee.respond(Response(call, random.choice((0, 9)), random.randbytes(30_000)))
        elif choice < 0.9 and len(peer.caller):
            peer.caller.cancel(random.choice(peer.caller.ids))
        elif self._untaken:
            table, call = self._untaken.pop(0)
            table.take_message(call)
