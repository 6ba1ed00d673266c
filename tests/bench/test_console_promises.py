"""A console over a thousand simulated servers: half a minute in `make promises`, thirty minutes in `make soak`."""

import json
import os
import signal
from contextlib import closing
from pathlib import Path

import pytest

from bench.compare.processes import choose_cores, running_server
from bench.promises.console import (
    SIMULATED_FLEET,
    ConsoleViews,
    findings_of,
    running_console,
    wait_for_fleet,
    watched,
)
from bench.promises.simulated_fleet import (
    HANGING,
    METHODS,
    SERVERS,
    SERVICES,
    SimulatedServer,
    service_name,
)
from fastrpc.bounded_http import decoded
from fastrpc.console.pages import EndpointsPage, FiguresPage
from tests.conftest import Scale
from tests.support.cluster import until
from tests.support.registry_servers import EmbeddedServer

#: Seconds of the two runs; the scale of `make soak`.
SHORT, LONG, SOAK = 30.0, 1_800.0, 10


def test_simulated_servers_report_figures_as_real_ones_do() -> None:
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
    # The servers that hang show errors, and all other servers show figures.
    assert found.facts["servers unreadable"] >= HANGING


@pytest.mark.measures
async def test_a_killed_registry_and_a_killed_console_come_back_over_a_thousand_servers(
    tmp_path: Path,
) -> None:
    cores = choose_cores()
    with EmbeddedServer(tmp_path).running() as registry:
        with running_server([*SIMULATED_FLEET, registry.url], cores.client) as fleet:
            with (
                running_console(fleet.address, cores.server) as (process, asking),
                closing(ConsoleViews(asking)) as views,
            ):
                wait_for_fleet(asking)

                def tells_outage() -> bool:
                    texts = [str(one.get("text")) for one in views.view("services")[0]["blocks"]]
                    return any("registry cannot be asked" in text for text in texts)

                registry.kill()
                await until(tells_outage, 30)
                # All services, all servers and their figures outlast it.
                assert len(views.rows("services", "services")) == SERVICES
                assert views.facts()["servers ready"] >= SERVERS - HANGING
                registry.start()
                await until(lambda: not tells_outage(), 60)
                wait_for_fleet(asking)
                assert views.facts()["servers"] == SERVERS
                os.kill(process, signal.SIGKILL)
            with (
                running_console(fleet.address, cores.server) as (_, asking),
                closing(ConsoleViews(asking)) as views,
            ):
                wait_for_fleet(asking)
                assert len(views.rows("services", "services")) == SERVICES
