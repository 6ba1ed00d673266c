"""Servers that restart in order while calls continue, listed in Consul; tests/integration has more tests."""

from pathlib import Path

import pytest

from tests.conftest import Scale
from tests.support.registry_servers import ConsulAgent
from tests.support.restarts import restarted_in_turn

pytestmark = pytest.mark.measures


@pytest.mark.parametrize("announce", [0.0, 0.3])
async def test_restarting_servers_in_turn_fails_no_call(
    consul_path: str, tmp_path: Path, scale: Scale, announce: float
) -> None:
    agent = ConsulAgent(consul_path, tmp_path)
    calls, journal = await restarted_in_turn(agent, tmp_path, restarts=scale(9), announce=announce)
    assert calls.failures() == []
    assert calls.problems(journal) == []
