"""The service config of a channel."""

import json
from typing import Any

import pytest

from fastrpc import CallError, ConfigError, Status, UnavailableError
from fastrpc.grpc.service_config import MethodRules, StatusRetries, parse_service_config

POLICY = {
    "maxAttempts": 3,
    "initialBackoff": "0.1s",
    "maxBackoff": "0.15s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["ABORTED", 14],
}
CONFIG = {
    "loadBalancingConfig": [{"grpclb": {}}, {"round_robin": {}}],
    "methodConfig": [
        {"name": [{"service": "shop.v1.Orders", "method": "Get"}], "timeout": "1.5s", "retryPolicy": POLICY},
        {"name": [{"service": "shop.v1.Orders"}], "waitForReady": True},
        {"name": [{}], "timeout": "9s"},
    ],
}


def test_the_most_specific_rules_of_a_method_hold() -> None:
    config = parse_service_config(json.dumps(CONFIG), retries=True)
    rules = config.rules_for("shop.v1.Orders", "Get")
    assert (rules.timeout, rules.wait_for_ready) == (1.5, None)
    assert rules.retries is not None
    assert config.rules_for("shop.v1.Orders", "Talk") == MethodRules(None, True, None)
    assert config.rules_for("other", "Get") == MethodRules(9.0, None, None)
    assert config.policy == "round_robin"


def test_without_a_config_there_are_no_rules() -> None:
    config = parse_service_config(None, retries=True)
    assert config.rules_for("shop.v1.Orders", "Get") == MethodRules()
    assert config.policy is None


def test_retry_policies_may_be_switched_off() -> None:
    config = parse_service_config(json.dumps(CONFIG), retries=False)
    assert config.rules_for("shop.v1.Orders", "Get").retries is None


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"methodConfig": [{}]}', '{"methodConfig": [{"name": [{}], "timeout": "soon"}]}'],
)
def test_a_malformed_config_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"grpc\.service_config is malformed"):
        parse_service_config(text, retries=True)


class Sleeper:
    """A call that notes its pauses."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    async def _note(self, seconds: float) -> None:
        self.pauses.append(seconds)

    sleep = _note


async def run(*outcomes: Any) -> tuple[Any, Sleeper, int]:
    left = list(outcomes)
    call: Any = Sleeper()

    async def attempt(endpoint: Any) -> Any:
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    try:
        value: Any = await StatusRetries(POLICY).run(call, lambda: None, attempt)  # type: ignore[arg-type, return-value]
    except CallError as error:
        value = error
    return value, call, len(left)


class TestRetries:
    async def test_statuses_of_the_policy_are_tried_again_with_growing_pauses(self) -> None:
        aborted = CallError(Status.ABORTED, "again")
        value, call, left = await run(aborted, aborted, "answer")
        assert (value, left) == ("answer", 0)
        first, second = call.pauses
        assert 0 <= first <= 0.1
        assert 0 <= second <= 0.15

    async def test_the_last_attempt_raises_its_error(self) -> None:
        aborted = CallError(Status.ABORTED, "again")
        value, call, left = await run(aborted, aborted, aborted, "answer")
        assert (value, left, len(call.pauses)) == (aborted, 1, 2)

    async def test_another_status_is_not_tried_again(self) -> None:
        value, call, _ = await run(CallError(Status.NOT_FOUND, "gone"), "answer")
        assert value.status is Status.NOT_FOUND
        assert call.pauses == []

    async def test_a_pause_that_the_server_asked_for_is_kept(self) -> None:
        value, call, _ = await run(UnavailableError("later", retry_after=0.7), "answer")
        assert (value, call.pauses) == ("answer", [0.7])
