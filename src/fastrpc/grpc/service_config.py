"""The service config of a channel: timeouts, waiting and retries by method, and the balancing policy.

https://github.com/grpc/grpc/blob/master/doc/service_config.md describes the JSON.
"""

import json
import random
from collections.abc import Mapping
from typing import Any, NamedTuple

from fastrpc.endpoint import Endpoint
from fastrpc.errors import ConfigError, FastRPCError
from fastrpc.failmodes.base import Attempt, AttemptedCall, Pick, sequential, try_elsewhere, was_load
from fastrpc.status import Status

__all__ = ["MethodRules", "ServiceConfig", "StatusRetries", "Unprocessed", "parse_service_config"]

#: The most attempts that a policy may ask for.
MOST_ATTEMPTS = 5
POLICIES = ("pick_first", "round_robin")


class Unprocessed:
    """The fail mode of a channel without a retry policy: it retries calls for which no server has done any work."""

    retries = 3

    @sequential
    async def run(self, call: AttemptedCall, pick: Pick, attempt: Attempt) -> Any:
        """Return the first answer, or raise the last error."""

        async def attempt_once(endpoint: Endpoint) -> Any:
            try:
                return await attempt(endpoint)
            except FastRPCError as error:
                # A channel has no default timeout, so a refusal ends the call, even if the server only asks for a
                # pause.
                if was_load(error) or getattr(error, "retry_after", None):
                    error.retryable = False
                raise

        return await try_elsewhere(call, pick, attempt_once, self.retries)


class StatusRetries:
    """The retry policy of a method: calls are retried after certain statuses, even if the method may have run."""

    def __init__(self, policy: Mapping[str, Any]) -> None:
        self._attempts = min(int(policy["maxAttempts"]), MOST_ATTEMPTS)
        self._first = _seconds(policy["initialBackoff"])
        self._longest = _seconds(policy["maxBackoff"])
        self._factor = float(policy["backoffMultiplier"])
        self._statuses = frozenset(_status(code) for code in policy["retryableStatusCodes"])

    async def run(self, call: AttemptedCall, pick: Pick, attempt: Attempt) -> Any:
        """Return the first answer, or raise the last error."""
        pause = self._first
        for left in range(self._attempts - 1, -1, -1):
            try:
                return await attempt(pick())
            except FastRPCError as error:
                if left == 0 or not (error.processed == "no" or error.status in self._statuses):
                    raise
                asked = getattr(error, "retry_after", None)
            await call.sleep(random.uniform(0, pause) if asked is None else asked)
            pause = min(pause * self._factor, self._longest)
        raise AssertionError("a policy has at least one attempt")


class MethodRules(NamedTuple):
    """The rules for calls of some methods. None: the config has no such rule."""

    timeout: float | None = None
    wait_for_ready: bool | None = None
    retries: StatusRetries | None = None


class ServiceConfig(NamedTuple):
    """The rules of a channel."""

    #: By service and method; an empty method means all methods of a service, an empty service all services.
    methods: Mapping[tuple[str, str], MethodRules]
    policy: str | None = None

    def rules_for(self, service: str, method: str) -> MethodRules:
        """Return the most specific rules for a method."""
        for name in ((service, method), (service, ""), ("", "")):
            if name in self.methods:
                return self.methods[name]
        return MethodRules()


def parse_service_config(text: str | None, *, retries: bool) -> ServiceConfig:
    """Read a service config; without `retries` its retry policies are ignored.

    Raises:
        ConfigError: the config is malformed.
    """
    if text is None:
        return ServiceConfig({})
    try:
        found = json.loads(text)
        methods = {}
        for entry in found.get("methodConfig", ()):
            rules = _rules(entry, retries)
            for name in entry["name"]:
                methods[name.get("service", ""), name.get("method", "")] = rules
        return ServiceConfig(methods, _policy(found))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"grpc.service_config is malformed: {type(error).__name__}: {error}",
            hint='write JSON such as {"methodConfig": [{"name": [{"service": "…"}], "timeout": "1s"}]}',
        ) from None


def _rules(entry: Mapping[str, Any], retries: bool) -> MethodRules:
    policy = entry.get("retryPolicy") if retries else None
    return MethodRules(
        _seconds(entry["timeout"]) if "timeout" in entry else None,
        entry.get("waitForReady"),
        None if policy is None else StatusRetries(policy),
    )


def _policy(found: Mapping[str, Any]) -> str | None:
    """Return the first known policy of a config, which lists policies by preference."""
    for entry in found.get("loadBalancingConfig", ()):
        for name in entry:
            if name in POLICIES:
                return str(name)
    named = str(found.get("loadBalancingPolicy", "")).lower()
    return named if named in POLICIES else None


def _seconds(text: str) -> float:
    if not text.endswith("s") or float(text[:-1]) < 0:
        raise ValueError(f"{text!r} is not a duration such as '1.5s'")
    return float(text[:-1])


def _status(code: str | int) -> Status:
    return Status(code) if isinstance(code, int) else Status[code.upper()]
