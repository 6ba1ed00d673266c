"""A console over a thousand simulated servers: half a minute in `make promises`, thirty minutes in `make soak`."""

import json

import pytest

from bench.promises.console import findings_of, watched
from bench.promises.simulated_fleet import HANGING, METHODS, SERVERS, SimulatedServer, service_name
from fastrpc.bounded_http import decoded
from fastrpc.console.pages import EndpointsPage, FiguresPage
from tests.conftest import Scale

#: Seconds of the two runs; the scale of `make soak`.
SHORT, LONG, SOAK = 30.0, 1_800.0, 10


def test_simulated_servers_tell_figures_as_real_ones_do() -> None:
    server = SimulatedServer(199, hangs=False)
    first = decoded(server.page("/figures"), FiguresPage)
    assert len(first.methods) == METHODS + 2
    assert [one.name for one in first.services] == ["service-199"]
    assert {one.service for one in first.methods} == {"service-199", "service-000", "service-001"}
    endpoints = decoded(server.page("/endpoints"), EndpointsPage).endpoints
    assert [one.target for one in endpoints] == [service_name(200), service_name(201)]
    server.start()
    again = json.loads(server.page("/figures"))
    assert (again["server"] != first.server, again["revision"]) == (True, 1)


@pytest.mark.measures
def test_a_console_over_a_thousand_servers_keeps_its_promises(scale: Scale) -> None:
    seconds = LONG if scale.factor >= SOAK else SHORT
    found = watched(seconds)
    assert [str(finding) for finding in findings_of(found, seconds) if not finding.is_kept] == []
    # Flat: all series have begun before.
    assert max(found.resident[1:]) <= 1.15 * found.resident[0]
    # The last one is the record that comes and goes.
    assert found.facts["servers"] - SERVERS in (0, 1)
    # The servers that hang have their errors, and all others figures.
    assert found.facts["servers unreadable"] >= HANGING
