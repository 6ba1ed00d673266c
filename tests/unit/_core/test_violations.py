"""The engine gives every broken rule the reason that PROTOCOL.md names, tells the peer and stops parsing."""

import pytest

from tests.support.engine import EngineSubject
from tests.support.scenario import run
from tests.support.violations import VIOLATIONS
from tests.support.wire_layout import MAGIC
from tests.support.wire_reference import Frame, Goaway, Parser, Preface


def sent_frames(is_server: bool, output: bytes) -> list[Preface | Frame]:
    """Read the bytes of the side under test."""
    parser = Parser(not is_server, max_frame=2**24, has_preface=output.startswith(MAGIC))
    parser.feed(output)
    return list(parser)


@pytest.mark.parametrize("is_server", [True, False])
@pytest.mark.parametrize("broken", VIOLATIONS)
def test_violation_ends_the_connection_with_its_reason(broken: str, is_server: bool) -> None:
    """The peer gets one GOAWAY, once both prefaces are accepted; no frame after the violation is parsed or answered."""
    for scenario in VIOLATIONS[broken](is_server):
        subject = EngineSubject(scenario)
        assert run(scenario, subject)[-1:] == scenario.expected[-1:], scenario.name
        goaways = [frame for frame in sent_frames(is_server, subject.output) if isinstance(frame, Goaway)]
        if scenario.opening == b"" and not scenario.final.startswith(Preface().encode()):
            assert goaways == [], scenario.name
        else:
            (goaway,) = goaways
            assert f"CE{goaway.reason}" == scenario.expected[-1], scenario.name
            assert goaway.final, scenario.name
            assert goaway.text, scenario.name
        subject.output = b""
        assert subject.receive(scenario.final + scenario.peer_opening) == [], scenario.name
        assert subject.output == b"", scenario.name
