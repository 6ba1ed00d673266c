"""The engine follows both state tables of PROTOCOL.md, cell by cell, in both roles."""

import pytest

from tests.support.engine import run_engine
from tests.support.reactions import callee_cells, caller_cells
from tests.support.scenario import Scenario

CELLS = [
    *callee_cells(is_server=True),
    *callee_cells(is_server=False),
    *caller_cells(is_server=True),
    *caller_cells(is_server=False),
]


@pytest.mark.parametrize("scenario", CELLS, ids=[scenario.name for scenario in CELLS])
def test_engine_reacts_as_the_table_says(scenario: Scenario) -> None:
    assert run_engine(scenario) == scenario.expected
