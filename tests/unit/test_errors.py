"""What the error classes take, and how they are related."""

import pickle
from typing import Any

import pytest

from fastrpc import (
    CallError,
    ConnectionLostError,
    OverloadedError,
    ProtocolError,
    RemoteProtocolError,
    Status,
    UnavailableError,
)


@pytest.mark.parametrize("kind", [CallError, UnavailableError, OverloadedError])
@pytest.mark.parametrize(
    ("pause", "refusal"),
    [
        (-0.1, ValueError),
        (float("nan"), ValueError),
        (float("inf"), ValueError),
        (10**400, ValueError),
        ("1", TypeError),
        (True, TypeError),
    ],
)
def test_invalid_pause_is_refused(kind: Any, pause: Any, refusal: type[Exception]) -> None:
    with pytest.raises(refusal, match=r"retry_after is .*, it must be .*seconds"):
        kind(retry_after=pause)


@pytest.mark.parametrize("kind", [CallError, UnavailableError, OverloadedError])
@pytest.mark.parametrize("pause", [None, 0, 0.5])
def test_pause_of_no_or_more_seconds_is_kept(kind: Any, pause: float | None) -> None:
    error = kind(message="later", retry_after=pause)
    assert error.retry_after == pause
    assert pickle.loads(pickle.dumps(error)).retry_after == pause


@pytest.mark.parametrize("status", [Status.OK, 0])
def test_no_error_says_ok(status: Any) -> None:
    with pytest.raises(ValueError, match="status is OK"):
        CallError(status, "all is well")


def test_status_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="17"):
        CallError(17)  # type: ignore[arg-type]


def test_broken_rules_are_a_lost_connection_too() -> None:
    error = RemoteProtocolError("frame of 9 bytes", reason=3)
    assert isinstance(error, ProtocolError | ConnectionLostError)
    assert isinstance(error, ConnectionError)
    assert (error.status, error.processed, error.retryable, error.reason) == (
        Status.INTERNAL,
        "unknown",
        False,
        3,
    )
    assert pickle.loads(pickle.dumps(error)).reason == 3


@pytest.mark.parametrize(
    ("given", "refusal", "advice"),
    [
        (("no such user",), ValueError, 'CallError(Status.NOT_FOUND, "no such user")'),
        ((404, "x"), ValueError, 'CallError(Status.NOT_FOUND, "…")'),
        ((Status.ABORTED, 5), TypeError, 'CallError(Status.ABORTED, "…")'),
        ((Status.ABORTED, None), TypeError, 'CallError(Status.ABORTED, "…")'),
    ],
)
def test_call_error_of_wrong_parts_shows_the_right_ones(
    given: tuple[Any, ...], refusal: type[Exception], advice: str
) -> None:
    with pytest.raises(refusal) as refused:
        CallError(*given)
    assert advice in str(refused.value)
