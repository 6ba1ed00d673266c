"""The engine gives every broken rule the reason that PROTOCOL.md names, tells the peer and stops parsing."""

import pytest

from tests.support.engine import EngineSubject, run_engine
from tests.support.scenario import Scenario, run
from tests.support.violations import violations
from tests.support.wire_layout import MAGIC
from tests.support.wire_reference import Frame, Goaway, Parser, Preface

CASES = [*violations(is_server=True), *violations(is_server=False)]

each_violation = pytest.mark.parametrize("scenario", CASES, ids=[scenario.name for scenario in CASES])


def sent_frames(is_server: bool, output: bytes) -> list[Preface | Frame]:
    """Read what the side under test wrote."""
    parser = Parser(not is_server, max_frame=2**24, has_preface=output.startswith(MAGIC))
    parser.feed(output)
    return list(parser)


@each_violation
def test_violation_ends_the_connection_with_its_reason(scenario: Scenario) -> None:
    assert run_engine(scenario)[-1:] == scenario.expected[-1:]


@each_violation
def test_peer_gets_one_goaway_once_both_prefaces_are_accepted(scenario: Scenario) -> None:
    subject = EngineSubject(scenario)
    run(scenario, subject)
    goaways = [
        frame for frame in sent_frames(scenario.is_server, subject.output) if isinstance(frame, Goaway)
    ]
    if scenario.opening == b"" and not scenario.final.startswith(Preface().encode()):
        assert goaways == []
    else:
        (goaway,) = goaways
        assert f"CE{goaway.reason}" == scenario.expected[-1]
        assert goaway.final
        assert goaway.text


@each_violation
def test_nothing_is_parsed_or_sent_behind_a_violation(scenario: Scenario) -> None:
    subject = EngineSubject(scenario)
    run(scenario, subject)
    subject.output = b""
    assert subject.receive(scenario.final + scenario.peer_opening) == []
    assert subject.output == b""
