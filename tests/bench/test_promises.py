"""Promises in figures, at a size that a test can afford."""

import pytest

from bench.promises.attacks import stalls
from bench.promises.finding import Finding
from bench.promises.limits import overload
from bench.promises.measures import MEASURES, idle_connection_kib
from tests.conftest import Scale
from tests.support.source_tree import ROOT


def test_finding_is_kept_up_to_its_limit() -> None:
    assert Finding("title", 6.0, 6, "KiB", "").is_kept
    assert not Finding("title", 6.1, 6, "KiB", "").is_kept


def test_every_measure_says_what_it_measures() -> None:
    assert all(measure.__doc__ for measure in MEASURES.values())


def test_every_measure_stands_in_the_table_of_the_readme() -> None:
    lines = (ROOT / "bench" / "README.md").read_text().splitlines()
    assert [name for name in MEASURES if not any(line.startswith(f"| `{name}` |") for line in lines)] == []


@pytest.mark.measures
def test_one_more_idle_connection_takes_six_kibibytes_at_most(scale: Scale) -> None:
    # A heap grows in steps: with fewer connections a step would weigh too much in the slope.
    assert idle_connection_kib(500, min(9_000, 500 + scale(2_500))) <= 6


@pytest.mark.measures
def test_goodput_holds_at_three_times_the_capacity_and_all_is_normal_afterwards(scale: Scale) -> None:
    # A minute in `make soak`: adaptive limits may drift slowly.
    findings = overload(min(60, scale(6)))
    assert [finding for finding in findings if not finding.is_kept] == []


@pytest.mark.measures
def test_attacks_hold_the_loop_no_longer_than_promised() -> None:
    assert [finding for finding in stalls() if not finding.is_kept] == []
