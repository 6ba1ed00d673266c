"""The reference gives every broken rule the reason that PROTOCOL.md names."""

import pytest

from tests.conftest import SCALE
from tests.support.scenario import Scenario, run_reference
from tests.support.violations import violations

CASES = [*violations(is_server=True), *violations(is_server=False)]

#: A quarter of a million frames each, which take the reference seconds. `tests/unit/_core/test_violations.py` sends
#: them through the core each time.
LONG = ("late empty DATA", "empty pieces", "pieces of one byte")
TRIED = [scenario for scenario in CASES if SCALE > 1 or not scenario.name.endswith(LONG)]


@pytest.mark.parametrize("scenario", TRIED, ids=[scenario.name for scenario in TRIED])
def test_violation_ends_the_connection_with_its_reason(scenario: Scenario) -> None:
    assert run_reference(scenario)[-1:] == scenario.expected[-1:]


def test_scenario_names_are_unique() -> None:
    names = [scenario.name for scenario in CASES]
    assert len(set(names)) == len(names)
