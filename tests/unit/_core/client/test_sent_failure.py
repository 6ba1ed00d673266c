"""The outcome of a batch as one attempt, which the breaker and the selectors count."""

from typing import Any

import pytest

from fastrpc import CallError, EncodeError, Status
from fastrpc._core.client.batch_call import sent_failure

FAILED, LATER = CallError(Status.INTERNAL, "first"), CallError(Status.ABORTED, "later")
UNSENT = EncodeError("no form")


@pytest.mark.parametrize(
    ("outcomes", "failure"),
    [
        ([], None),
        ([1, None], None),
        ([1, FAILED, LATER], FAILED),
        ([UNSENT, FAILED], FAILED),
        ([UNSENT, 1], None),
        ([1, UNSENT], None),
        ([UNSENT, EncodeError("another")], UNSENT),
    ],
)
def test_calls_that_were_not_sent_are_not_its_outcome(outcomes: list[Any], failure: Any) -> None:
    assert sent_failure(outcomes) is failure
