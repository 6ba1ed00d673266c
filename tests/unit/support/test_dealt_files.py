"""The files of tests that each worker of a run collects."""

import re
import subprocess
import sys
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


def test_files_in_any_order_are_dealt_in_the_same_way() -> None:
    sizes = {f"test_{number}.py": 100 for number in range(20)}
    assert dealt(sizes, 3) == dealt(dict(reversed(sizes.items())), 3)


def files_of(workers: int) -> list[DealtFiles]:
    sizes = {str(path): path.stat().st_size for path in TESTS.rglob("test_*.py")}
    hands = dealt(sizes, workers)
    return [DealtFiles(set(sizes) - hand, takes_rest=hand is hands[0]) for hand in hands]


def test_workers_collect_every_file_once_among_them() -> None:
    workers = files_of(3)
    for path in TESTS.rglob("test_*.py"):
        assert [worker.pytest_ignore_collect(path) for worker in workers].count(None) == 1


@pytest.mark.parametrize("path", [TESTS, TESTS / "conftest.py", Path("/")])
def test_other_paths_are_left_to_all_workers(path: Path) -> None:
    assert [worker.pytest_ignore_collect(path) for worker in files_of(2)] == [None, None]


def outcome_of(*arguments: object) -> tuple[int, str]:
    """Run pytest with workers that have files of their own; return its exit status and its output."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-n",
        "2",
        "--max-worker-restart",
        "0",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(
        [*command, "--dist", "each", *map(str, arguments)], capture_output=True, text=True, cwd=TESTS.parent
    )
    return done.returncode, done.stdout


NAMED = [TESTS / "unit" / "support" / f"test_{name}.py" for name in ("pairwise", "planted", "dealt_files")]


def test_named_files_run_once() -> None:
    status, told = outcome_of(*NAMED, "-k", "pairs or equal or order")
    alone = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *NAMED, "-k", "pairs or equal or order"],
        capture_output=True,
        text=True,
        cwd=TESTS.parent,
    ).stdout
    [passed] = re.findall(r"(\d+) passed", alone)
    assert (status, re.findall(r"(\d+) passed", told)) == (0, [passed])
    assert "100%" in told


def test_other_files_run_once(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text("def test_it() -> None: pass\n")
    status, told = outcome_of(NAMED[0], tmp_path / "test_other.py", "-k", "test_it")
    assert (status, re.findall(r"(\d+) passed", told)) == (0, ["1"])


def test_a_worker_that_ends_while_it_collects_fails_the_run(tmp_path: Path) -> None:
    program = "import os\nif os.environ['PYTEST_XDIST_WORKER'] == 'gw0': os._exit(9)\n"
    (tmp_path / "test_ending.py").write_text(program)
    status, told = outcome_of(NAMED[0], tmp_path / "test_ending.py")
    assert status != 0
    assert "a worker was lost with its tests: gw0" in told


def test_a_run_that_may_end_early_shares_all_tests() -> None:
    status, told = outcome_of(NAMED[0], "-x", "-v")
    assert status == 0
    assert "scheduling tests via WorkStealingScheduling" in told


OUTCOMES = """
import pytest

@pytest.fixture
def broken():
    raise OSError("before the test")

@pytest.fixture
def left():
    yield
    raise OSError("behind the test")

def test_passes(): print("no word of this")
def test_fails(): raise OSError("in the test")
def test_begins_badly(broken): pass
def test_ends_badly(left): print("printed by the test")
def test_skips(): pytest.skip("for a reason")
@pytest.mark.skip(reason="from the start")
def test_is_skipped(): pass
@pytest.mark.xfail
def test_fails_as_expected(): raise OSError
"""


def test_failures_around_a_test_are_reported(tmp_path: Path) -> None:
    (tmp_path / "test_outcomes.py").write_text(OUTCOMES)
    status, told = outcome_of(NAMED[0], tmp_path / "test_outcomes.py", "-k", "test_outcomes", "-rs")
    assert status == 1
    for line in (
        "before the test",
        "in the test",
        "behind the test",
        "printed by the test",
        "for a reason",
        "from the start",
    ):
        assert line in told
    assert "no word of this" not in told
    assert "1 failed, 2 passed, 2 skipped, 1 xfailed, 2 errors" in re.sub(r"\d+ deselected, ", "", told)
