"""The files of tests that each worker of a run collects."""

from pathlib import Path

import pytest

from tests.support.dealt_files import TESTS, DealtFiles, dealt


@pytest.mark.parametrize("workers", [1, 2, 6, 50])
def test_each_file_is_dealt_to_one_worker(workers: int) -> None:
    sizes = {f"test_{number}.py": 100 + number * 37 % 900 for number in range(40)}
    hands = dealt(sizes, workers)
    assert len(hands) == workers
    assert sorted(name for hand in hands for name in hand) == sorted(sizes)


def test_workers_get_files_of_about_one_size() -> None:
    sizes = {f"test_{number}.py": 100 + number * 37 % 900 for number in range(200)}
    held = [sum(sizes[name] for name in hand) for hand in dealt(sizes, 6)]
    assert max(held) - min(held) <= max(sizes.values())


def test_files_are_dealt_in_the_same_way_whatever_their_order() -> None:
    sizes = {f"test_{number}.py": 100 for number in range(20)}
    assert dealt(sizes, 3) == dealt(dict(reversed(sizes.items())), 3)


def test_workers_together_collect_every_file_once() -> None:
    workers = [DealtFiles(number, 3) for number in range(3)]
    for path in TESTS.rglob("test_*.py"):
        assert [worker.pytest_ignore_collect(path) for worker in workers].count(None) == 1


def test_what_is_no_file_of_tests_is_left_to_all() -> None:
    worker = DealtFiles(0, 2)
    assert [worker.pytest_ignore_collect(path) for path in (TESTS, TESTS / "conftest.py", Path("/"))] == [
        None
    ] * 3
