"""The reference follows both state tables of PROTOCOL.md, cell by cell, in both roles."""

import pytest

from tests.support.reactions import TABLES
from tests.support.scenario import run_reference


@pytest.mark.parametrize("is_server", [True, False])
@pytest.mark.parametrize("table", TABLES)
def test_reference_reacts_as_the_table_says(table: str, is_server: bool) -> None:
    cells = list(TABLES[table](is_server))
    found = {cell.name: run_reference(cell) for cell in cells}
    assert found == {cell.name: cell.expected for cell in cells}
