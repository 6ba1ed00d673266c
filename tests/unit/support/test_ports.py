"""Ports that workers of a run give to their servers are different."""

import json
import os
import subprocess
import sys

from tests.support import ports
from tests.support.ports import PORTS, SHARES, free_ports
from tests.support.program import WAIT_SECONDS
from tests.support.source_tree import ROOT


def ports_of(worker: str) -> set[int]:
    look = "import json\nfrom tests.support.ports import free_ports\nprint(json.dumps(free_ports(20)))"
    environment = os.environ | {"PYTEST_XDIST_WORKER": worker}
    command = [sys.executable, "-c", look]
    ran = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=WAIT_SECONDS
    )
    return set(json.loads(ran.stdout))


def test_each_worker_takes_ports_of_its_share() -> None:
    assert len({port % SHARES for port in ports_of("gw1")} | {port % SHARES for port in ports_of("gw7")}) == 2


def test_ports_are_not_given_twice_until_all_were_given() -> None:
    ports._given.clear()
    # Others may listen at some, which are left out.
    count = len(PORTS) // SHARES // 2
    given = [port for _ in range(count) for port in free_ports(1)]
    assert len(set(given)) == count
    # Then they are given again.
    assert len(free_ports(count)) == len({*free_ports(count)}) == count
