"""Load generators of other projects: their output, and the places where they are found. `tests/services` runs them."""

import json
from pathlib import Path

import pytest

from bench.compare import generators
from bench.compare.generators import WrongAnswersError, find_generator, read_h2load, read_wrk

#: The length of an echo of 32 B with its prefix.
ANSWER_BYTES = 37

H2LOAD_OUTPUT = """
finished in 501.09ms, 20000.00 req/s, 1.05MB/s
requests: 10000 total, 10064 started, 10000 done, 10000 succeeded, {failed} failed, 0 errored, 0 timeout
status codes: 10000 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 537.51KB (550412) total, 107.42KB (110002) headers (space savings 92.31%), 361.33KB ({data}) data
"""


def h2load_output(*, failed: int = 0, data: int = 10_000 * ANSWER_BYTES) -> str:
    return H2LOAD_OUTPUT.format(failed=failed, data=data)


def test_h2load_tells_calls_and_seconds() -> None:
    assert read_h2load(h2load_output(), ANSWER_BYTES) == (10_000, 0.5)


@pytest.mark.parametrize(
    "output",
    [
        h2load_output(failed=1),
        # An error of gRPC is a success of HTTP without a message.
        h2load_output(data=9_999 * ANSWER_BYTES),
        h2load_output().replace("succeeded", "answered"),
        h2load_output().replace("10000 succeeded", "0 succeeded"),
    ],
)
def test_an_answer_that_is_no_echo_fails_the_measurement(output: str) -> None:
    with pytest.raises(WrongAnswersError):
        read_h2load(output, ANSWER_BYTES)


def test_the_last_line_of_wrk_is_its_measurement() -> None:
    line = json.dumps({"calls": 7, "seconds": 1.0, "failed": 0})
    assert read_wrk(f"Running 1s test\n{line}\n") == {"calls": 7, "seconds": 1.0}


@pytest.mark.parametrize("seen", [{"calls": 7, "failed": 1}, {"calls": 0, "failed": 0}])
def test_an_answer_that_is_no_success_fails_the_measurement(seen: dict[str, int]) -> None:
    with pytest.raises(WrongAnswersError):
        read_wrk(json.dumps(seen))


def test_a_generator_is_found_where_it_was_downloaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / ".cache" / "wrk" / "run-wrk"
    program.parent.mkdir(parents=True)
    program.touch()
    monkeypatch.setattr(generators, "ROOT", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_generator("wrk") == program
    program.rename(program.parent / "run-h2load")
    program.parent.rename(tmp_path / ".cache" / "h2load")
    assert find_generator("h2load_http2") == tmp_path / ".cache" / "h2load" / "run-h2load"
