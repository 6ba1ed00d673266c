"""The reference gives every broken rule the reason that PROTOCOL.md names."""

import pytest

from tests.conftest import SCALE
from tests.support.scenario import run_reference
from tests.support.violations import VIOLATIONS

#: A quarter of a million frames each, which take the reference seconds. `tests/unit/_core/test_violations.py` sends
#: them through the core each time.
LONG = ("late empty DATA", "empty pieces", "pieces of one byte")


@pytest.mark.parametrize("is_server", [True, False])
@pytest.mark.parametrize("broken", VIOLATIONS)
def test_violation_ends_the_connection_with_its_reason(broken: str, is_server: bool) -> None:
    tried = [
        scenario
        for scenario in VIOLATIONS[broken](is_server)
        if SCALE > 1 or not scenario.name.endswith(LONG)
    ]
    found = {scenario.name: run_reference(scenario)[-1:] for scenario in tried}
    assert found == {scenario.name: scenario.expected[-1:] for scenario in tried}


def test_scenario_names_are_unique() -> None:
    names = [
        scenario.name for group in VIOLATIONS.values() for role in (True, False) for scenario in group(role)
    ]
    assert len(set(names)) == len(names)
