"""Patterns of the names of identities and of their roles."""

from typing import Final

from fastrpc.errors import ConfigError
from fastrpc.escaping import hidden_in
from fastrpc.rpc.identity import Identity

__all__ = ["ANONYMOUS", "NamePattern"]

#: Stands for callers without an identity.
ANONYMOUS: Final = "anonymous"

_ROLE: Final = "role:"
_BEFORE_STAR: Final = ("/", ":", ".")


class NamePattern:
    """A pattern of identities.

    ::

        alice               the identity of this name
        spiffe://corp/*     identities whose names have this prefix; the star stands last, after `/`, `:` or `.`
        role:admin          identities with this role
        *                   every identity
        anonymous           callers without an identity

    Raises:
        TypeError: the pattern is not text.
        ConfigError: the pattern has another form.
    """

    __slots__ = ("_name", "_role", "_start", "text")

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise TypeError(f"a pattern of names is {text!r}, it must be text")
        if not text or text == _ROLE or hidden_in(text) or text != text.strip():
            raise ConfigError(f"{text!a} is not a pattern of names", hint="write a name, role:…, or *")
        star = text.find("*")
        if star >= 0 and (star != len(text) - 1 or (text != "*" and not text[:-1].endswith(_BEFORE_STAR))):
            raise ConfigError(
                f"{text!r} is not a pattern of names: `*` is the whole pattern, or comes last after `/`, `:` or `.`",
                hint="list the names, or give the identities a role",
            )
        self.text = text
        self._role = text.startswith(_ROLE)
        #: The prefix of a name or a role; None for a pattern without a star.
        self._start = None if star < 0 else text[:-1].removeprefix(_ROLE)
        self._name = text.removeprefix(_ROLE)

    @property
    def has_star(self) -> bool:
        """Whether it matches more than one name."""
        return self._start is not None

    def matches(self, identity: Identity | None) -> bool:
        """Return whether the pattern matches a caller; None is a caller without an identity."""
        if identity is None:
            return self.text == ANONYMOUS
        if self._role:
            return any(self.matches_text(role) for role in identity.roles)
        return self.text != ANONYMOUS and self.matches_text(identity.name)

    def matches_text(self, text: str) -> bool:
        """Return whether a name matches; for a pattern of roles, whether a role matches."""
        return text == self._name if self._start is None else text.startswith(self._start)

    def overlaps(self, prefix: str) -> bool:
        """Return whether a name with this prefix could match."""
        if self._start is None:
            return self._name.startswith(prefix)
        return self._start.startswith(prefix) or prefix.startswith(self._start)

    def __repr__(self) -> str:
        return f"NamePattern({self.text!r})"
