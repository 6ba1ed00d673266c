"""Errors of calls of hosted services, as errors of their backends."""

from typing import Any

import pytest

from fastrpc import CallError, ConnectError, FastRPCError, Status
from fastrpc.brokers.remote.faults import BROKER_ERRORS
from fastrpc.coordination.remote.client import STORE_ERRORS
from fastrpc.errors import BrokerError, ConfigError, StoreError
from fastrpc.hosted.faults import BackendErrors

BACKENDS: list[Any] = [(STORE_ERRORS, StoreError), (BROKER_ERRORS, BrokerError)]


def told(errors: BackendErrors, error: FastRPCError) -> Any:
    with pytest.raises(FastRPCError) as raised, errors:
        raise error
    return raised.value


@pytest.mark.parametrize(("errors", "failure"), BACKENDS)
@pytest.mark.parametrize(
    ("status", "processed", "is_retryable"),
    [
        (Status.RESOURCE_EXHAUSTED, "no", False),
        (Status.PERMISSION_DENIED, "no", False),
        (Status.FAILED_PRECONDITION, "no", False),
        (Status.UNAVAILABLE, "unknown", True),
        (Status.INTERNAL, "unknown", False),
    ],
)
def test_an_answer_tells_whether_the_backend_did_nothing(
    status: Status, processed: str, is_retryable: bool, errors: BackendErrors, failure: type[FastRPCError]
) -> None:
    found = told(errors, CallError(status, "no"))
    assert type(found) is failure
    assert (found.status, found.processed, found.retryable) == (status, processed, is_retryable)


@pytest.mark.parametrize(("errors", "failure"), BACKENDS)
def test_the_pause_that_an_answer_asks_for_is_kept(
    errors: BackendErrors, failure: type[FastRPCError]
) -> None:
    found = told(errors, CallError(Status.RESOURCE_EXHAUSTED, "too fast", retry_after=2.5, hint="wait"))
    assert type(found) is failure
    assert (found.retry_after, found.retryable, found.hint) == (2.5, True, "wait")


@pytest.mark.parametrize(("errors", "failure"), BACKENDS)
def test_a_call_that_failed_on_its_way_may_be_repeated(
    errors: BackendErrors, failure: type[FastRPCError]
) -> None:
    found = told(errors, ConnectError("gone", hint="start it"))
    assert type(found) is failure
    assert (found.processed, found.retryable, found.hint) == ("no", True, "start it")


@pytest.mark.parametrize(("errors", "failure"), BACKENDS)
def test_errors_of_the_backend_and_of_settings_stay(
    errors: BackendErrors, failure: type[FastRPCError]
) -> None:
    for error in (failure("away"), ConfigError("wrong")):
        assert told(errors, error) is error
