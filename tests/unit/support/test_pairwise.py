"""The choice of cases for a normal run."""

import os
import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from tests.support.pairwise import LOOP, chosen_cases, covering
from tests.support.source_tree import ROOT


def cases(**sizes: int) -> dict[str, dict[str, int]]:
    """Return all cases of a test whose parameters have the given number of values."""
    values = product(*(range(size) for size in sizes.values()))
    return {f"test[{case}]": dict(zip(sizes, case, strict=True)) for case in values}


def test_all_values_of_one_parameter_are_tried() -> None:
    assert len(chosen_cases(cases(protocol=7))) == 7


def test_all_pairs_of_two_parameters_are_tried() -> None:
    assert len(chosen_cases(cases(protocol=7, caller=3))) == 21


@pytest.mark.parametrize("sizes", [(7, 3, 3), (7, 6, 5, 2), (2, 2, 2, 2, 2)])
def test_each_pair_of_many_parameters_is_tried_by_a_part_of_the_cases(sizes: tuple[int, ...]) -> None:
    every = cases(**{f"p{number}": size for number, size in enumerate(sizes)})
    chosen = [every[name] for name in chosen_cases(every)]
    for one, other in product(range(len(sizes)), repeat=2):
        wanted = {(case[f"p{one}"], case[f"p{other}"]) for case in every.values()}
        assert {(case[f"p{one}"], case[f"p{other}"]) for case in chosen} == wanted
    assert len(chosen) <= 0.75 * len(every)


def test_half_of_the_cases_run_under_each_loop() -> None:
    every = cases(protocol=10, caller=10, **{LOOP: 2})
    chosen = chosen_cases(every)
    assert len(chosen) == 100
    assert 30 <= sum(every[name][LOOP] for name in chosen) <= 70


def test_one_case_is_tried_under_both_loops() -> None:
    assert len(chosen_cases(cases(**{LOOP: 2}))) == 2


def test_the_choice_does_not_depend_on_the_order_of_the_cases() -> None:
    every = cases(protocol=7, caller=3, kind=4)
    assert chosen_cases(dict(reversed(every.items()))) == chosen_cases(every)


CONFTEST = """
from tests.support.pairwise import left_out

def pytest_collection_modifyitems(items):
    items[:] = left_out(items)
"""

TESTS = """
import pytest

@pytest.mark.parametrize("value", [True, 1, 1.0, False, 0, 0.0, -0.0, (1,), (True,)])
def test_equal_values(value):
    pass

@pytest.mark.parametrize("one, other", [(1, 1), (1, 2), (2, 1), (2, 2)])
@pytest.mark.parametrize("third", [1, 2])
def test_rows(one, other, third):
    pass

@pytest.mark.parametrize("one", [1, 2])
@pytest.mark.parametrize("other", [1, 2])
@pytest.mark.parametrize("third", [1, 2])
def test_product(one, other, third):
    pass
"""


def test_equal_values_and_rows_of_several_parameters_are_all_tried(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_these.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--rootdir", tmp_path, tmp_path],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(re.findall(r"::(test_\w+)", done.stdout)) == {"test_product"}


def test_no_cases_are_no_choice() -> None:
    assert covering({}) == set()
