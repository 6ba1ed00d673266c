"""The engine as the side under test, driven as the reference is: `RecordingConnection` without a socket."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastrpc._core.wire.settings import LISTS, NUMBERS, WireSettings, usual_settings
from fastrpc_harness.recording import RecordingConnection
from tests.support.frame_factory import opening
from tests.support.scenario import Cancel, Open, Respond, Scenario, run
from tests.support.wire_frames import Frame
from tests.support.wire_link import Event
from tests.support.wire_parser import Parser, Preface
from tests.support.wire_settings import Setting

__all__ = ["EngineSubject", "call_ids", "client", "engine_settings", "frames", "run_engine", "server"]


def engine_settings(is_server: bool, changes: Mapping[int, Any] | None = None) -> WireSettings:
    """Return the default settings of a side, with changes by their names on the wire."""
    settings = usual_settings(is_server)
    for name, value in (changes or {}).items():
        if name in NUMBERS:
            setattr(settings, NUMBERS[name][0], value)
        elif name in LISTS:
            setattr(settings, LISTS[name][0], {number: text.decode() for number, text in value})
        elif name == Setting.AGENT:
            settings.agent = value
        elif name == Setting.CLIENT_ID:
            settings.client_id = value
        else:
            settings.auth_schemes = tuple(text.decode() for text in value)
    return settings


class EngineSubject:
    """The engine as the side under test of a scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self.connection = RecordingConnection(
            is_client=not scenario.is_server, settings=engine_settings(scenario.is_server, scenario.settings)
        )
        #: All bytes sent so far.
        self.output = self.connection.data_to_send()

    def receive(self, data: bytes) -> Sequence[Event]:
        events = self.connection.receive_data(data)
        self.output += self.connection.data_to_send()
        return events

    def apply(self, step: Open | Cancel | Respond) -> None:
        match step:
            case Open():
                self.connection.open_call(b"arith.mul", flags=step.flags)
            case Cancel():
                self.connection.cancel(step.id)
            case Respond():
                self.connection.respond(step.id)
        self.output += self.connection.data_to_send()


def run_engine(scenario: Scenario) -> tuple[str, ...]:
    """Play a scenario on the engine."""
    return run(scenario, EngineSubject(scenario))


def frames(sent: bytes, *, by_server: bool = False) -> list[Frame]:
    """Read the frames sent after the opening."""
    parser = Parser(not by_server, has_preface=False, max_frame=2**24)
    parser.window_left = 2**40
    parser.feed(sent)
    return [frame for frame in parser if not isinstance(frame, Preface)]


def call_ids(sent: Iterable[Frame]) -> list[int]:
    """Return the ids of frames, 0 for frames of the connection."""
    return [getattr(frame, "id", 0) for frame in sent]


def client(changes: dict[int, Any] | None = None, **options: Any) -> RecordingConnection:
    """Return a client whose server announced its defaults with changes; nothing is left to send."""
    connection = RecordingConnection(is_client=True, **options)
    connection.sends_at_once = False
    connection.receive_data(opening(True, changes))
    connection.data_to_send()
    return connection


def server(changes: dict[int, Any] | None = None) -> RecordingConnection:
    """Return a server whose client announced its defaults with changes; nothing is left to send."""
    connection = RecordingConnection(is_client=False)
    connection.sends_at_once = False
    connection.receive_data(opening(False, changes))
    connection.data_to_send()
    return connection
