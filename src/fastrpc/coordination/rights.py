"""Rights at the embedded registry: to register services, and to read its lists."""

from collections.abc import Iterable
from typing import Final

from fastrpc._core.calls.call import current_call
from fastrpc.auth.name_patterns import ANONYMOUS
from fastrpc.auth.policy import Decision, Policy, Right, Rules
from fastrpc.errors import CallError, ConfigError
from fastrpc.handlers.auth.audit import Audit
from fastrpc.rpc.identity import Identity
from fastrpc.status import Status

__all__ = ["RegistryRights"]

#: The methods of the registry: they check the rights of the service in their arguments themselves.
_OWN_METHODS: Final = "fastrpc.registry."


class RegistryRights(Rules):
    """The keys `register` and `read` of a policy; its `allow` and `deny` count for the other built-in services.

    It is the `authorize` of the registry's server, too.

    Raises:
        ConfigError: a rule gives a right to callers without an identity, who reach no method of the registry.
    """

    def __init__(self, policy: Policy) -> None:
        for number, rule in enumerate(policy.rules, 1):
            if (rule.register or rule.read) and any(who.text == ANONYMOUS for who in rule.who):
                raise ConfigError(
                    f"rule {number} gives {ANONYMOUS} callers a right at the registry, which needs an identity",
                    hint="give them a token, and name that",
                )
        self._policy = policy
        self._audit = Audit()

    # The interface for its server

    @property
    def version(self) -> int:
        """Rises when the file of the policy was read again."""
        return self._policy.version

    def look(self) -> None:
        """Look whether the file of the policy changed."""
        self._policy.look()

    def reload(self) -> None:
        """Read the file of the policy again now."""
        self._policy.reload()

    def decide(self, identity: Identity | None, method: str) -> Decision:
        """Return whether a caller may call a method."""
        if method.startswith(_OWN_METHODS):
            return Decision(identity is not None)
        return self._policy.decide(identity, method)

    # The interface for its service

    def check(self, right: Right, services: Iterable[str]) -> None:
        """Refuse the running call if its caller lacks the right to one of the services.

        Raises:
            CallError: PERMISSION_DENIED.
        """
        call = current_call()
        self._policy.look()
        patterns = self._policy.patterns(call.identity, right)
        for service in services:
            if not any(pattern.covers(service) for pattern in patterns):
                name = ANONYMOUS if call.identity is None else call.identity.name
                reason = f"it may not {right} {service!r}"
                self._audit.refused("authorisation", call.method, call.identity, call.peer, reason)
                raise CallError(Status.PERMISSION_DENIED, f"{name} may not {right} {service!r}")

    def readable(self, services: Iterable[str]) -> list[str]:
        """Return those of the services whose lists the caller of the running call may read."""
        self._policy.look()
        patterns = self._policy.patterns(current_call().identity, "read")
        return [one for one in services if any(pattern.covers(one) for pattern in patterns)]
