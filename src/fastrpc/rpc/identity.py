"""The authenticated identity of a caller."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from fastrpc.errors import ConfigError
from fastrpc.escaping import hidden_in

__all__ = ["Identity"]

_NO_CLAIMS: Final[Mapping[str, Any]] = MappingProxyType({})


class Identity:
    """The authenticated identity of a caller: a name, roles and claims.

    ::

        caller = fastrpc.Identity("ada", roles={"admin"}, claims={"tenant": "acme"})
        caller.name, "admin" in caller.roles, caller.claims["tenant"]

    An Identity cannot be changed. Two are equal if name, roles and claims are equal.

    Args:
        name: the name of the caller in logs, rules and limits.
        roles: roles that rules may require.
        claims: further attributes.

    Raises:
        TypeError: the name or a role is not text, or the claims are not a mapping.
        ConfigError: a rule or a log could mistake the name for something else: it begins with `role:`, is `anonymous`
            or empty, or holds `*` or an invisible character, such as a line feed.
    """

    __slots__ = ("_claims", "_name", "_roles")

    _name: str
    _roles: frozenset[str]
    _claims: Mapping[str, Any]

    def __init__(
        self, name: str, *, roles: Iterable[str] = frozenset(), claims: Mapping[str, Any] = _NO_CLAIMS
    ) -> None:
        object.__setattr__(self, "_name", _checked_name(name))
        object.__setattr__(self, "_roles", _checked_roles(roles))
        if not isinstance(claims, Mapping):
            raise TypeError(f"the claims of an Identity are {claims!r}, they must be a mapping")
        object.__setattr__(self, "_claims", MappingProxyType(dict(claims)))

    @property
    def name(self) -> str:
        """The name of the caller in logs, rules and limits."""
        return self._name

    @property
    def roles(self) -> frozenset[str]:
        """The roles that rules may require."""
        return self._roles

    @property
    def claims(self) -> Mapping[str, Any]:
        """Further attributes; read-only."""
        return self._claims

    def __setattr__(self, attribute: str, value: object) -> None:
        raise AttributeError(
            f"an Identity cannot be changed, {attribute!r} was set", name=attribute, obj=self
        )

    def __delattr__(self, attribute: str) -> None:
        raise AttributeError(
            f"an Identity cannot be changed, {attribute!r} was deleted", name=attribute, obj=self
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Identity):
            return NotImplemented
        return (self.name, self.roles, self.claims) == (other.name, other.roles, other.claims)

    def __hash__(self) -> int:
        # Claims may contain unhashable values.
        return hash((self.name, self.roles))

    def __reduce__(self) -> tuple[Any, ...]:
        return _identity, (self.name, self.roles, dict(self.claims))

    def __repr__(self) -> str:
        roles = f", roles={{{', '.join(map(repr, sorted(self.roles)))}}}" if self.roles else ""
        claims = f", claims={dict(self.claims)!r}" if self.claims else ""
        return f"Identity({self.name!r}{roles}{claims})"


def _identity(name: str, roles: frozenset[str], claims: dict[str, Any]) -> Identity:
    return Identity(name, roles=roles, claims=claims)


def _checked_name(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"the name of an Identity is {name!r}, it must be a text")
    if not name:
        raise ConfigError(
            "the name of an Identity is empty", hint="an unauthenticated caller is None, not an Identity"
        )
    if name == "anonymous":
        raise ConfigError(
            "the name of an Identity is 'anonymous', which rules reserve for unauthenticated callers",
            hint="an unauthenticated caller is None, not an Identity",
        )
    if name.startswith("role:"):
        raise ConfigError(
            f"the name of an Identity is {name!r}, which rules take for a role",
            hint="give roles as roles={'admin'}",
        )
    if "*" in name:
        raise ConfigError(f"the name of an Identity is {name!r}, and '*' stands for any text in rules")
    _check_visible("the name of an Identity", name)
    return name


def _checked_roles(roles: Any) -> frozenset[str]:
    if isinstance(roles, str) or not isinstance(roles, Iterable):
        raise TypeError(
            f"the roles of an Identity are {roles!r}, they must be a set of texts: write roles={{'admin'}}"
        )
    found = frozenset(roles)
    for role in found:
        if not isinstance(role, str):
            raise TypeError(f"a role of an Identity is {role!r}, it must be a text")
        if not role:
            raise ConfigError("a role of an Identity is empty")
        _check_visible("a role of an Identity", role)
    return found


def _check_visible(what: str, text: str) -> None:
    """Refuse characters that are invisible in a log, or change how its text is shown."""
    hidden = sorted(hidden_in(text))
    if hidden:
        raise ConfigError(f"{what} is {text!a}, it must not hold the hidden character {hidden[0]!a}")
