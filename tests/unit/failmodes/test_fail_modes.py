"""Fail modes: retried calls, the choice of endpoints, the pauses, and the final error."""

import asyncio
import gc
import itertools
import random
from collections.abc import Coroutine
from typing import Any

import pytest

from fastrpc.endpoint import Endpoint
from fastrpc.errors import (
    CallError,
    CircuitOpenError,
    ConfigError,
    ConnectError,
    ConnectionLostError,
    DeadlineExceededError,
    FastRPCError,
    NoEndpointError,
    OverloadedError,
    RemoteProtocolError,
    UnavailableError,
)
from fastrpc.failmodes import FailBackup, FailFast, FailMode, FailOver, FailTry, fail_mode_for
from fastrpc.status import Status
from tests.support.attempts import FakeCall, Script, policy

LOST = ConnectionLostError
LEAVES = UnavailableError
MODES: dict[str, FailMode] = {
    "failfast": FailFast(),
    "failover": FailOver(),
    "failtry": FailTry(),
    "failbackup": FailBackup(),
}

every_mode = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
retrying = pytest.mark.parametrize(
    "mode", [FailOver(), FailTry(), FailBackup()], ids=["over", "try", "backup"]
)


def outcome_of(running: Coroutine[Any, Any, Any]) -> Any:
    """Return the outcome of a call: its value or its error."""

    async def end() -> Any:
        try:
            return await running
        except Exception as error:
            return error

    return asyncio.run(end())


def run(mode: FailMode, script: Script, call: FakeCall | None = None) -> Any:
    return outcome_of(mode.run(call or FakeCall(), script.pick, script.attempt))


# What every mode does


@every_mode
def test_first_answer_is_returned(mode: FailMode) -> None:
    script = Script(42)
    assert run(mode, script) == 42
    assert script.tried == "a"


@every_mode
@pytest.mark.parametrize(
    "error",
    [
        CallError(Status.NOT_FOUND),
        CallError(Status.INTERNAL),
        CallError(Status.UNAVAILABLE, processed="no"),
        DeadlineExceededError("late"),
        DeadlineExceededError("late", processed="no"),
        ValueError("not ours"),
    ],
)
def test_error_that_another_attempt_cannot_mend_is_raised(mode: FailMode, error: Exception) -> None:
    script = Script(error)
    assert run(mode, script) is error
    assert script.tried == "a"


@every_mode
@pytest.mark.parametrize("idempotent", [False, True])
def test_attempts_that_did_not_start_are_repeated_at_once(mode: FailMode, idempotent: bool) -> None:
    call = FakeCall(idempotent=idempotent, policy=policy(share=0, per_second=0))
    script = Script(LEAVES("it drains"), 42)
    assert run(mode, script, call) == 42
    assert call.pauses == []


@every_mode
def test_call_inside_a_retry_is_not_tried_again(mode: FailMode) -> None:
    error = LEAVES("it drains")
    assert run(mode, Script(error), FakeCall(inside_retry=True)) is error


@every_mode
def test_call_that_may_have_run_is_not_tried_again_unless_idempotent(mode: FailMode) -> None:
    error = LOST("it broke")
    script = Script(error)
    assert run(mode, script, FakeCall(idempotent=False)) is error
    assert script.tried == "a"


@every_mode
def test_an_empty_pick_raises_its_own_error(mode: FailMode) -> None:
    nobody = NoEndpointError("no endpoint serves it")

    def pick() -> Endpoint:
        raise nobody

    assert outcome_of(mode.run(FakeCall(), pick, Script().attempt)) is nobody


def test_failfast_does_not_look_for_another_endpoint() -> None:
    for error in (ConnectError("refused"), LOST("it broke"), OverloadedError("full")):
        script = Script(error)
        assert run(FailFast(), script) is error
        assert script.tried == "a"


# Retrying


@retrying
def test_idempotent_call_is_tried_again_after_a_loss(mode: FailMode) -> None:
    call = FakeCall()
    assert run(mode, Script(LOST("1"), LOST("2"), LOST("3"), 42), call) == 42
    assert call.pauses == [0.02, 0.04, 0.08]


@retrying
def test_retries_end_at_their_number(mode: FailMode) -> None:
    errors = [LOST(str(number)) for number in range(4)]
    script = Script(*errors, 42)
    assert run(mode, script) is errors[3]


@retrying
def test_free_attempt_is_given_once(mode: FailMode) -> None:
    script = Script(*[LEAVES(str(number)) for number in range(5)], 42)
    error = run(mode, script, FakeCall(idempotent=False))
    assert error.message == "4"
    assert error.processed == "no"


@pytest.mark.parametrize("retries", [0, 1, 5])
def test_number_of_retries_can_be_chosen(retries: int) -> None:
    for mode in (FailOver(retries), FailTry(retries), FailBackup(retries=retries)):
        script = Script(*[LOST(str(number)) for number in range(10)])
        assert run(mode, script).message == str(retries)


@pytest.mark.parametrize("retries", [-1, 101, 1.0, True, None])
def test_wrong_number_of_retries_is_refused(retries: Any) -> None:
    for kind in (FailOver, FailTry):
        with pytest.raises(ConfigError, match="retries"):
            kind(retries)


def test_failover_goes_elsewhere() -> None:
    script = Script(LOST("1"), LOST("2"), 42)
    assert run(FailOver(), script) == 42
    assert script.tried == "abc"


def test_failtry_uses_the_same_endpoint() -> None:
    script = Script(LOST("1"), LOST("2"), 42)
    assert run(FailTry(), script) == 42
    assert script.tried == "aaa"


def test_unreachable_endpoint_is_left_without_a_pause_and_without_the_budget() -> None:
    call = FakeCall(idempotent=False, policy=policy(share=0, per_second=0))
    assert run(FailOver(), Script(*[ConnectError(str(n)) for n in range(4)], 42), call) == 42
    assert call.pauses == []


def test_failtry_waits_for_an_unreachable_endpoint() -> None:
    call = FakeCall(idempotent=False)
    assert run(FailTry(), Script(ConnectError("1"), ConnectError("2"), 42), call) == 42
    assert call.pauses == [0.02, 0.04]


def test_overloaded_server_costs_an_attempt_and_the_budget() -> None:
    call = FakeCall(idempotent=False, policy=policy(share=0, per_second=1))
    second = OverloadedError("2")
    assert run(FailOver(), Script(OverloadedError("1"), second), call) is second
    assert call.pauses == [0.02]


@retrying
def test_pause_that_the_server_asks_for_is_kept(mode: FailMode) -> None:
    call = FakeCall()
    refusal = CallError(Status.UNAVAILABLE, "busy", retry_after=0.5)
    assert run(mode, Script(OverloadedError("full", retry_after=0.3), refusal, 42), call) == 42
    assert call.pauses == [0.3, 0.5]


@retrying
def test_pause_of_a_server_that_did_not_start_the_call_is_kept(mode: FailMode) -> None:
    call = FakeCall()
    assert run(mode, Script(UnavailableError("leaving", retry_after=0.3), 42), call) == 42
    assert call.pauses == [0.3]
    call = FakeCall()
    assert run(mode, Script(UnavailableError("leaving"), 42), call) == 42
    assert call.pauses == []


@retrying
def test_peer_that_broke_the_rules_is_left_for_another_if_that_is_safe(mode: FailMode) -> None:
    assert run(mode, Script(RemoteProtocolError("broken"), 42), FakeCall()) == 42
    error = RemoteProtocolError("broken")
    assert run(mode, Script(error), FakeCall(idempotent=False)) is error


@retrying
def test_handler_that_ran_is_not_run_again_unless_idempotent(mode: FailMode) -> None:
    refusal = CallError(Status.UNAVAILABLE, "busy", retry_after=0.5)
    assert run(mode, Script(refusal), FakeCall(idempotent=False)) is refusal


@retrying
def test_pause_that_would_pass_the_deadline_ends_the_call_at_once(mode: FailMode) -> None:
    call = FakeCall(remaining=0.25)
    error = OverloadedError("full", retry_after=0.3)
    assert run(mode, Script(error), call) is error
    assert call.pauses == []
    # It took nothing from the budget either.
    assert call.retry_policy.budget.retries == 0


@retrying
def test_shared_budget_ends_retries_of_all_calls(mode: FailMode) -> None:
    shared = policy(share=0.2, per_second=0)
    for _ in range(10):
        shared.budget.note_call()
    ends = [run(mode, Script(LOST("1"), 42), FakeCall(policy=shared)) for _ in range(5)]
    assert ends[:2] == [42, 42]
    assert all(isinstance(end, ConnectionLostError) for end in ends[2:])


def test_pauses_stop_growing() -> None:
    rules = policy()
    assert rules.pause(0) == 0.02
    assert rules.pause(5) == 0.64
    assert rules.pause(6) == rules.pause(10**9) == 1.0


def test_pauses_are_jittered() -> None:
    rules = policy()
    rules._uniform = random.Random(1).uniform
    pauses = [rules.pause(1) for _ in range(200)]
    assert 0.02 <= min(pauses) < 0.025
    assert 0.055 < max(pauses) <= 0.06


# The final error


@retrying
def test_last_error_does_not_deny_an_attempt_that_may_have_run(mode: FailMode) -> None:
    script = Script(LOST("it broke"), *[OverloadedError("full") for _ in range(3)])
    error = run(mode, script)
    assert isinstance(error, OverloadedError)
    assert error.processed == "unknown"
    assert error.retryable


def test_last_error_keeps_its_no_when_nothing_ran() -> None:
    error = run(FailOver(1), Script(ConnectError("1"), OverloadedError("2"), OverloadedError("3")))
    assert error.processed == "no"


def test_an_exhausted_pick_raises_the_error_of_the_attempt() -> None:
    script = Script(LOST("it broke"), 42, endpoints=1)

    def pick() -> Endpoint:
        if script.picks:
            raise CircuitOpenError("all are held back")
        return script.pick()

    for mode in (FailOver(), FailBackup()):
        script.picks, script.outcomes = 0, [LOST("it broke")]
        error = outcome_of(mode.run(FakeCall(), pick, script.attempt))
        assert isinstance(error, ConnectionLostError)
        assert isinstance(error.__cause__, CircuitOpenError)


@pytest.mark.parametrize("mode", [FailOver(), FailTry()], ids=["over", "try"])
def test_retried_call_leaves_no_garbage(mode: FailMode) -> None:
    script, made = Script(), itertools.count()

    class OwnError(ConnectionLostError):
        """A separate class from the errors that other tests keep."""

    async def attempt(endpoint: Endpoint) -> int:
        if next(made) < 2:
            raise OwnError("it broke")
        return 42

    async def main() -> None:
        assert await mode.run(FakeCall(), script.pick, attempt) == 42

    gc.collect()
    gc.disable()
    try:
        asyncio.run(main())
        assert [each for each in gc.get_objects() if type(each) is OwnError] == []
    finally:
        gc.enable()


# The table


@pytest.mark.parametrize("name", MODES)
def test_mode_is_found_by_its_name(name: str) -> None:
    assert type(fail_mode_for(name)) is type(MODES[name])


def test_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'failover'"):
        fail_mode_for("fail_over")


@pytest.mark.parametrize("wrong", [FailOver, 7, object()])
def test_objects_that_cannot_run_calls_are_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="fail_mode is"):
        fail_mode_for(wrong)


def test_error_of_an_attempt_is_never_replaced_by_another_object() -> None:
    errors: list[FastRPCError] = [LOST("1"), LOST("2")]
    assert run(FailOver(1), Script(*errors)) is errors[1]
