"""`pytest bench` where its compiled loops are missing, as with a wheel."""

import subprocess
import sys

import pytest

from tests.support.source_tree import ROOT

WITHOUT = """
import sys
for name in {missing!r}:
    sys.modules[name] = None
import pytest
sys.exit(pytest.main(["bench", "--collect-only", "-q", "-p", "no:cacheprovider"{options}]))
"""


@pytest.mark.parametrize(
    ("missing", "options", "named"),
    [
        (["fastrpc_harness"], "", "fastrpc_harness"),
        (["fastrpc_harness.hot_loops"], "", "fastrpc_harness.hot_loops"),
        (["pytest_benchmark"], ', "-p", "no:benchmark"', "pytest_benchmark"),
    ],
)
def test_the_benchmarks_say_how_to_get_what_is_missing(missing: list[str], options: str, named: str) -> None:
    program = WITHOUT.format(missing=missing, options=options)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    told = done.stdout + done.stderr
    assert f"ERROR: the benchmarks need {named}, which is not there: in a checkout `make build`" in told
    assert "Traceback" not in told
