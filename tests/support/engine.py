"""The engine as the side under test, driven as the reference is: `RecordingConnection` without a socket."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastrpc._core.recording import RecordingConnection
from fastrpc._core.settings import LISTS, NUMBERS, Settings, usual_settings
from tests.support.scenario import Cancel, Open, Respond, Scenario, run
from tests.support.wire_link import Event
from tests.support.wire_settings import Setting

__all__ = ["EngineSubject", "engine_settings", "run_engine"]


def engine_settings(is_server: bool, changes: Mapping[int, Any] | None = None) -> Settings:
    """Return the default settings of a side, with changes by their names on the wire."""
    settings = usual_settings(is_server)
    for name, value in (changes or {}).items():
        if name in NUMBERS:
            setattr(settings, NUMBERS[name][0], value)
        elif name in LISTS:
            setattr(settings, LISTS[name][0], sum(1 << number for number, _ in value))
        elif name == Setting.AGENT:
            settings.agent = value
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
