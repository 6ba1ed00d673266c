"""Rights at the embedded registry, to register services and read its lists, and at a store, to read and write keys."""

from collections.abc import Iterable, Sequence

from fastrpc._core.calls.call import current_call
from fastrpc.auth.name_patterns import ANONYMOUS
from fastrpc.auth.policy import Decision, KeyRight, Policy, Right, Rules
from fastrpc.errors import CallError, ConfigError
from fastrpc.handlers.auth.access_options import Authenticate
from fastrpc.handlers.auth.audit import Audit
from fastrpc.patterns import KeyPattern
from fastrpc.rpc.identity import Identity
from fastrpc.status import Status

__all__ = ["ServiceRights", "rights_of"]


def rights_of(
    authenticate: Authenticate | None, policy: Policy | None, *, command: str
) -> "ServiceRights | None":
    """Return the guard of the callers' rights; None where every caller has all of them.

    Args:
        command: "registry" or "store", the command of the service; its full name is `fastrpc.` and this.

    Raises:
        ConfigError: the policy comes without `authenticate`, or cannot be used.
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
            hint=f"write authenticate=StaticTokens.from_file(…); fastrpc {command} takes --tokens FILE",
        )
    return ServiceRights(policy, command)


class ServiceRights(Rules):
    """The rights that a policy grants at one service, such as `register` or `read_keys`.

    As `authorize` of the server it lets every identified caller call the service, which then calls `check` and the like
    for the services or keys in the arguments. `allow` and `deny` of the policy decide about the other services.

    Args:
        name: the name of the service without `fastrpc.`.

    Raises:
        ConfigError: a rule gives a right to callers without an identity, who reach no method of the service.
    """

    def __init__(self, policy: Policy, name: str) -> None:
        for number, rule in enumerate(policy.rules, 1):
            is_right = rule.register or rule.read or rule.read_keys or rule.write_keys
            if is_right and any(who.text == ANONYMOUS for who in rule.who):
                raise ConfigError(
                    f"rule {number} gives {ANONYMOUS} callers a right at the {name}, which needs an identity",
                    hint="give them a token, and name that",
                )
        self._own_methods = f"fastrpc.{name}."
        self._policy = policy
        self._audit = Audit()

    # The interface for its server

    @property
    def version(self) -> int:
        """A number that rises when the file of the policy is read again."""
        return self._policy.version

    def look(self) -> None:
        """Read the file of the policy again if it changed."""
        self._policy.look()

    def reload(self) -> None:
        """Read the file of the policy again now."""
        self._policy.reload()

    def decide(self, identity: Identity | None, method: str) -> Decision:
        """Return whether a caller may call a method."""
        if method.startswith(self._own_methods):
            return Decision(identity is not None)
        return self._policy.decide(identity, method)

    # The interface for its service

    def check(self, right: Right, services: Iterable[str]) -> None:
        """Refuse the running call if its caller lacks the right to one of the services.

        Raises:
            CallError: PERMISSION_DENIED.
        """
        self._policy.look()
        patterns = self._policy.patterns(current_call().identity, right)
        for service in services:
            if not any(pattern.covers(service) for pattern in patterns):
                raise self._refusal(f"may not {right} {service!r}")

    def readable(self, services: Iterable[str]) -> list[str]:
        """Return those of the services whose lists the caller of the running call may read."""
        self._policy.look()
        patterns = self._policy.patterns(current_call().identity, "read")
        return [one for one in services if any(pattern.covers(one) for pattern in patterns)]

    def check_keys(self, right: KeyRight, keys: Iterable[str] | None) -> None:
        """Refuse the running call if its caller lacks the right to one of the keys or prefixes.

        Args:
            keys: a prefix is "" or ends in `/`, and its caller needs every key below it; None: any key will do.

        Raises:
            CallError: PERMISSION_DENIED.
        """
        patterns = self._patterns(right)
        verb = right.partition("_")[0]
        if keys is None and not patterns:
            raise self._refusal(f"may {verb} no key")
        for key in keys or ():
            if not _grants(patterns, key):
                raise self._refusal(f"may not {verb} {key!r}")

    def may_read(self, key: str) -> bool:
        """Return whether the caller of the running call may read a key; a refusal is not recorded."""
        return _grants(self._patterns("read_keys"), key)

    def _patterns(self, right: KeyRight) -> Sequence[KeyPattern]:
        self._policy.look()
        return self._policy.key_patterns(current_call().identity, right)

    def _refusal(self, reason: str) -> CallError:
        call = current_call()
        name = ANONYMOUS if call.identity is None else call.identity.name
        self._audit.refused("authorisation", call.method, call.identity, call.peer, f"it {reason}")
        return CallError(Status.PERMISSION_DENIED, f"{name} {reason}")


def _grants(patterns: Sequence[KeyPattern], key: str) -> bool:
    """Return whether a key, or every key of a prefix, fits one of the patterns."""
    is_prefix = not key or key.endswith("/")
    return any(one.covers(key) if is_prefix else one.matches(key) for one in patterns)
