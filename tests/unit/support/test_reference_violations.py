"""The reference gives every broken rule the reason that PROTOCOL.md names."""

import pytest

from tests.support.scenario import Scenario, run_reference
from tests.support.violations import violations

CASES = [*violations(is_server=True), *violations(is_server=False)]


@pytest.mark.parametrize("scenario", CASES, ids=[scenario.name for scenario in CASES])
def test_violation_ends_the_connection_with_its_reason(scenario: Scenario) -> None:
    assert run_reference(scenario)[-1:] == scenario.expected[-1:]


def test_scenario_names_are_unique() -> None:
    names = [scenario.name for scenario in CASES]
    assert len(set(names)) == len(names)
