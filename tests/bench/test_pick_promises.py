"""The promised time of a pick.

Apart from `test_promises.py`: a thousand endpoints lie in caches that other machines of one host may use.
"""

import subprocess
import sys

import pytest

from tests.support.source_tree import ROOT


@pytest.mark.measures
def test_consistent_hash_picks_one_of_a_thousand_in_150_nanoseconds() -> None:
    program = (
        "from bench.promises.picks import pick_nanoseconds; print(pick_nanoseconds('consistent_hash', 1_000))"
    )
    found: list[float] = []
    # Where a thousand endpoints lie in memory, and so in its caches, differs from process to process.
    while not any(nanoseconds <= 150 for nanoseconds in found):
        assert len(found) < 10, found
        run = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
        )
        found.append(float(run.stdout))
