"""One test case of the wire as data, so that the reference and the engine can run the same ones.

A scenario prepares a connection by steps, then feeds `final` and names the events that must follow:
names of events as in `wire_reference`, and "CE2" for an error of reason 2. Whoever runs it supplies a
`Subject`: the side under test after the opening.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.support.frame_factory import opening
from tests.support.wire_frames import Response
from tests.support.wire_link import Event
from tests.support.wire_peer import ReferencePeer
from tests.support.wire_settings import Setting

__all__ = [
    "SERVING",
    "Cancel",
    "Open",
    "Receive",
    "Respond",
    "Scenario",
    "Step",
    "Subject",
    "outcome",
    "run",
    "run_reference",
]


#: The settings of a client that serves push.
SERVING = {Setting.MAX_CALLS: 100, Setting.MAX_STREAMS: 100}


@dataclass(frozen=True, slots=True)
class Receive:
    """The peer sends bytes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Open:
    """The side under test opens its next call; flags are flags of REQUEST."""

    flags: int = 0


@dataclass(frozen=True, slots=True)
class Cancel:
    """The side under test cancels one of its calls."""

    id: int


@dataclass(frozen=True, slots=True)
class Respond:
    """The side under test answers a call OK, without payload."""

    id: int


Step = Receive | Open | Cancel | Respond


@dataclass(frozen=True, slots=True)
class Scenario:
    """Steps, the bytes that are judged, and their required outcome."""

    name: str
    #: Role of the side under test.
    is_server: bool
    steps: tuple[Step, ...]
    final: bytes
    expected: tuple[str, ...]
    #: Changes to the default settings of the side under test.
    settings: Mapping[int, Any] = field(default_factory=dict)
    #: The peer's opening; None for the usual one.
    opening: bytes | None = None

    @property
    def peer_opening(self) -> bytes:
        """The peer's bytes before the first step: a client serves push, so that a server may call it."""
        if self.opening is not None:
            return self.opening
        return opening(not self.is_server, SERVING if self.is_server else None)


class Subject(Protocol):
    """The side under test, as a scenario drives it."""

    def receive(self, data: bytes) -> Sequence[Event]: ...

    def apply(self, step: Open | Cancel | Respond) -> None: ...


class ReferenceSubject:
    """The reference as the side under test."""

    def __init__(self, scenario: Scenario) -> None:
        self.peer = ReferencePeer(scenario.is_server, scenario.settings)

    def receive(self, data: bytes) -> Sequence[Event]:
        return self.peer.receive(data)

    def apply(self, step: Open | Cancel | Respond) -> None:
        match step:
            case Open():
                self.peer.open_call(b"arith.mul", flags=step.flags)
            case Cancel():
                self.peer.caller.cancel(step.id)
            case Respond():
                self.peer.callee.respond(Response(step.id))
        self.peer.take_output()


def run(scenario: Scenario, subject: Subject) -> tuple[str, ...]:
    """Play a scenario and return the outcome of its final bytes."""
    subject.receive(scenario.peer_opening)
    for step in scenario.steps:
        if isinstance(step, Receive):
            subject.receive(step.data)
        else:
            subject.apply(step)
    return outcome(subject.receive(scenario.final))


def run_reference(scenario: Scenario) -> tuple[str, ...]:
    """Play a scenario on the reference."""
    return run(scenario, ReferenceSubject(scenario))


def outcome(events: Sequence[Event]) -> tuple[str, ...]:
    """Shorten events to their names, an error to CE and its reason."""
    return tuple(f"CE{event[1]}" if event[0] == "error" else event[0] for event in events)
