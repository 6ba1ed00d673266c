"""Memory that a server holds for its peers, and its service for a good client: each load alone, and all at once."""

import pytest

from tests.support.held_memory.honest import BODY_BYTES, TAKEN_A_SECOND, USES
from tests.support.held_memory.measure import measured, used
from tests.support.held_memory.ways import MIXED, WAYS
from tests.support.source_tree import ROOT


@pytest.mark.measures
@pytest.mark.parametrize("name", [way.name for way in WAYS])
def test_a_server_under_one_kind_of_attack_holds_at_most_the_promised_memory(name: str) -> None:
    found = measured([name])
    print(found)
    assert found.is_kept, str(found)


@pytest.mark.measures
def test_a_server_under_all_kinds_of_attack_holds_at_most_the_promised_memory() -> None:
    found = measured(MIXED, 0.1)
    print(found)
    assert found.is_kept, str(found)


@pytest.mark.measures
@pytest.mark.parametrize("use", USES)
def test_honest_clients_are_refused_nothing(use: str) -> None:
    found = used(use)
    print(found)
    assert found.failed == 0, str(found)
    if use == "downloads":
        # As fast as the readers read, after the wait of the application.
        assert found.seconds <= 0.5 + BODY_BYTES / TAKEN_A_SECOND * 1.5


def test_each_way_stands_with_its_budget_in_the_table_of_the_security_page() -> None:
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    rows = {tuple(cell.strip() for cell in line.strip("|").split("|"))[:2] for line in page.splitlines()}
    assert [way.name for way in WAYS if (way.name, way.budget) not in rows] == []
