"""Server processes that are restarted in order, or killed, while calls continue; the embedded registry reports them."""

from pathlib import Path

import pytest

from tests.conftest import Scale
from tests.support.registry_servers import EmbeddedServer
from tests.support.restarts import killed_in_turn, restarted_in_turn

pytestmark = [pytest.mark.measures, pytest.mark.asyncio(loop_factories=["uvloop"])]


async def test_restarting_three_servers_in_turn_fails_no_call(tmp_path: Path, scale: Scale) -> None:
    calls, journal = await restarted_in_turn(
        EmbeddedServer(tmp_path), tmp_path, restarts=scale(12), rate=2_000
    )
    assert calls.failures() == []
    assert calls.problems(journal) == []


async def test_killing_servers_fails_hardly_a_call_that_may_run_twice_and_runs_no_other_twice(
    tmp_path: Path, scale: Scale
) -> None:
    calls, journal = await killed_in_turn(
        EmbeddedServer(tmp_path), tmp_path, kills=scale(6), every_seconds=2.0
    )
    idempotent = [call for call in calls.ended if call.entry.idempotent]
    succeeded = [call for call in idempotent if call.error is None]
    assert len(succeeded) >= 0.999 * len(idempotent)
    # Calls that were under way on a killed server: some of them ran, and the client cannot know which.
    lost = [call for call in calls.ended if call.error is not None and not call.entry.idempotent]
    assert lost
    assert {call.entry.processed for call in lost} == {"unknown"}
    assert "the call may have run" in str(lost[0].error)
    # Among others: no call that may run once started twice, and no call with `processed` "no" ran.
    assert calls.problems(journal) == []
