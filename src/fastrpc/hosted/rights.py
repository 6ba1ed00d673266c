"""Rights at a hosted service. A policy grants them to callers for names that match its patterns."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from fastrpc._core.calls.call import current_call
from fastrpc.auth.name_patterns import ANONYMOUS
from fastrpc.auth.policy import Decision, Policy, Rules
from fastrpc.errors import CallError, ConfigError
from fastrpc.handlers.auth.access_options import Authenticate
from fastrpc.handlers.auth.audit import Audit
from fastrpc.rpc.identity import Identity
from fastrpc.status import Status

__all__ = ["Grant", "ServiceRights", "rights_of"]

P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class Grant(Generic[P]):
    """One right at a service, such as reading keys."""

    #: The words for the right (`verb`) and for its kind of names (`noun`) in refusals: "may not write 'a'", "may write
    #: no key".
    verb: str
    noun: str

    #: The key of a rule that grants the right.
    key: str

    #: Returns the patterns for which a policy grants the right to a caller.
    patterns: Callable[[Policy, Identity | None], Sequence[P]]

    #: Returns whether a pattern covers a name.
    covers: Callable[[P, str], bool]


def rights_of(
    authenticate: Authenticate | None, policy: Policy | None, *, command: str
) -> "ServiceRights | None":
    """Return the object that checks the rights of callers; None if every caller has all rights.

    Args:
        command: the command of the service. The name of the service is `fastrpc.<command>`.

    Raises:
        ConfigError: there is a policy without `authenticate`, or the policy cannot be used.
    """
    if policy is None:
        return None
    if not isinstance(policy, Policy):
        raise ConfigError(
            f"policy is a {type(policy).__name__}, it must be a Policy", hint="write Policy.from_file(…)"
        )
    if authenticate is None:
        raise ConfigError(
            "policy is given without authenticate: no caller would have a right",
            hint=f"write authenticate=StaticTokens.from_file(…); or run fastrpc {command} --tokens FILE",
        )
    return ServiceRights(policy, command)


class ServiceRights(Rules):
    """The rights that a policy grants at one service.

    Used as the server's `authorize`, it lets every caller with an identity call the service. The service then calls
    `check` with the names in the arguments. For other services `allow` and `deny` of the policy decide.

    Args:
        name: the name of the service without `fastrpc.`.

    Raises:
        ConfigError: a rule grants a right to callers without an identity, who can call no method of the service.
    """

    def __init__(self, policy: Policy, name: str) -> None:
        for number, rule in enumerate(policy.rules, 1):
            if rule.grants_rights and any(who.text == ANONYMOUS for who in rule.who):
                raise ConfigError(
                    f"rule {number} gives {ANONYMOUS} callers a right at the {name}, which needs an identity",
                    hint="give them a token, and name that",
                )
        self._name = name
        self._own_methods = f"fastrpc.{name}."
        self._policy = policy
        self._audit = Audit()

    # The interface for its server

    @property
    def version(self) -> int:
        """A number that rises each time the policy file is read again."""
        return self._policy.version

    def look(self) -> None:
        """Read the policy file again if it has changed."""
        self._policy.look()

    def reload(self) -> None:
        """Read the policy file again now."""
        self._policy.reload()

    def decide(self, identity: Identity | None, method: str) -> Decision:
        """Return whether a caller may call a method."""
        if method.startswith(self._own_methods):
            return Decision(identity is not None)
        return self._policy.decide(identity, method)

    # The interface for its service

    def check(self, grant: Grant[P], names: Iterable[str]) -> None:
        """Check that the caller of the running call has the right to all names.

        Raises:
            CallError: PERMISSION_DENIED.
        """
        patterns = self.patterns(grant)
        for name in names:
            if not any(grant.covers(pattern, name) for pattern in patterns):
                raise self._refusal(f"may not {grant.verb} {name!r}", f'{grant.key} = ["{name}"]')

    def check_any(self, grant: Grant[P]) -> None:
        """Check that the caller of the running call has the right to at least one name.

        Raises:
            CallError: PERMISSION_DENIED.
        """
        if not self.patterns(grant):
            raise self._refusal(f"may {grant.verb} no {grant.noun}", grant.key)

    def granted(self, grant: Grant[P], names: Iterable[str]) -> list[str]:
        """Return the names to which the caller of the running call has the right. Refusals are not logged."""
        patterns = self.patterns(grant)
        return [name for name in names if any(grant.covers(pattern, name) for pattern in patterns)]

    def patterns(self, grant: Grant[P]) -> Sequence[P]:
        """Return the patterns for which the caller of the running call has the right."""
        self._policy.look()
        return grant.patterns(self._policy, current_call().identity)

    def _refusal(self, reason: str, right: str) -> CallError:
        call = current_call()
        name = ANONYMOUS if call.identity is None else call.identity.name
        self._audit.refused("authorisation", call.method, call.identity, call.peer, f"it {reason}")
        return CallError(
            Status.PERMISSION_DENIED,
            f"{name} {reason}: no rule of the {self._name}'s policy gives it {right}",
        )
