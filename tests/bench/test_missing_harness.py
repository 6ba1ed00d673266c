"""`pytest bench` where its compiled loops are missing, as with a wheel."""

import subprocess
import sys

import pytest

from tests.support.source_tree import ROOT

WITHOUT = """
import sys
sys.modules[{missing!r}] = None
import pytest
sys.exit(pytest.main(["bench", "--collect-only", "-q", "-p", "no:cacheprovider"]))
"""


@pytest.mark.parametrize("missing", ["fastrpc_harness", "fastrpc_harness.hot_loops"])
def test_the_benchmarks_say_how_to_install_missing_parts(missing: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(missing=missing)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    told = done.stdout + done.stderr
    assert (
        "ERROR: the benchmarks need fastrpc_harness.hot_loops, which is not there: in a checkout `make build`"
        in told
    )
    assert "Traceback" not in told
