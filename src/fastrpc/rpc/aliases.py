"""Other names under which a service and its methods are called.

The form of a name in Go can be such an alias: `rpcx="go"` derives it, so that callers written in Go find `Arith.Mul`
where Python has `arith.mul`. `grpc="pascal"` derives the names that schemas of gRPC have: `shop.v1.Orders`, `GetItem`.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final, NamedTuple

from fastrpc.errors import ConfigError

__all__ = [
    "MOST_ALIASES",
    "ServiceNames",
    "checked_aliases",
    "checked_grpc",
    "checked_rpcx",
    "go_name",
    "go_names",
    "pascal_name",
]

#: The most aliases of one service or method. A route table has an entry for each pair of service name and method name.
MOST_ALIASES: Final = 8

#: Words that Go's linters require in capitals.
_INITIALISM: Final = re.compile(
    "ACL|API|ASCII|CPU|CSS|DNS|EOF|GUID|HTML|HTTP|HTTPS|ID|IP|JSON|LHS|QPS|RAM|RHS|RPC|SLA|SMTP|SQL|SSH|TCP|TLS|TTL"
    "|UDP|UI|UID|UUID|URI|URL|UTF8|VM|XML|XMPP|XSRF|XSS",
    re.IGNORECASE,
)

_SEPARATORS: Final = re.compile(r"[^A-Za-z0-9]+")


class ServiceNames(NamedTuple):
    """The names of a service: the canonical one, and the others that callers may use."""

    name: str
    alias: tuple[str, ...] = ()
    #: "go" adds the names in Go's CamelCase as aliases.
    rpcx: str | None = None
    #: "pascal" adds the names with the last part in CamelCase as aliases.
    grpc: str | None = None

    def of_service(self) -> tuple[str, ...]:
        """Return every name of the service, the canonical one first."""
        return self._with_derived(self.name, self.alias)

    def of_method(self, name: str, alias: Sequence[str]) -> tuple[str, ...]:
        """Return every name of a method without the service's name, the canonical one first."""
        return self._with_derived(name, alias)

    @property
    def grpc_service(self) -> str:
        """The name of the service in gRPC."""
        return self._grpc_name(self.name)

    def grpc_method(self, name: str) -> str:
        """Return the name of a method in gRPC, without the service's name."""
        return self._grpc_name(name)

    def full_aliases(self, name: str, alias: Sequence[str]) -> tuple[str, ...]:
        """Return every full name of a method except the canonical one."""
        full = [
            f"{service}.{method}" for service in self.of_service() for method in self.of_method(name, alias)
        ]
        return tuple(full[1:])

    def _with_derived(self, name: str, alias: Sequence[str]) -> tuple[str, ...]:
        in_go = (go_name(name),) if self.rpcx == "go" else ()
        by_grpc = (self._grpc_name(name),) if self.grpc == "pascal" or "-" in name else ()
        return tuple(dict.fromkeys((name, *alias, *in_go, *by_grpc)))

    def _grpc_name(self, name: str) -> str:
        """Return the gRPC form of a name, with `_` for each `-`."""
        package, dot, last = name.replace("-", "_").rpartition(".")
        return f"{package}{dot}{pascal_name(last) if self.grpc == 'pascal' else last}"


def checked_aliases(
    alias: Any, what: str, name: str | None, pattern: re.Pattern[str]
) -> tuple[str, ...] | None:
    """Return the aliases of a service or method; None stays None.

    Args:
        what: "service" or "method".
        name: the canonical name, if known. An alias must differ from it.

    Raises:
        TypeError: an alias is not text, or occurs twice.
        ConfigError: an alias is not a name, or there are too many.
    """
    if alias is None:
        return None
    if isinstance(alias, str) or not isinstance(alias, Iterable):
        raise TypeError(f"alias is {alias!r}, it must be a list of texts: write alias=('other',)")
    found = tuple(alias)
    for one in found:
        if not isinstance(one, str):
            raise TypeError(f"alias has {one!r}, an alias must be a text")
        if not pattern.fullmatch(one):
            raise ConfigError(f"alias has {one!r}, which is not a {what} name")
        if one == name:
            raise TypeError(f"alias has {one!r}, which is the name of the {what} already: leave it out")
    if len(set(found)) < len(found):
        raise TypeError(f"alias has a name twice, the names must differ: {', '.join(found)}")
    if len(found) > MOST_ALIASES:
        raise ConfigError(f"alias has {len(found)} names, a {what} has at most {MOST_ALIASES}")
    return found


def checked_rpcx(rpcx: Any) -> str | None:
    """Return the naming of rpcx callers; ConfigError if it is unknown."""
    if rpcx not in {None, "go"}:
        raise ConfigError(f"rpcx is {rpcx!r}, it must be 'go' or left out")
    return None if rpcx is None else "go"


def checked_grpc(grpc: Any) -> str | None:
    """Return the naming of gRPC callers; ConfigError if it is unknown."""
    if grpc not in {None, "pascal"}:
        raise ConfigError(f"grpc is {grpc!r}, it must be 'pascal' or left out")
    return None if grpc is None else "pascal"


def pascal_name(name: str) -> str:
    """Return a name in CamelCase: `get_item` becomes `GetItem`. A name of only `_` is unchanged."""
    made = "".join(word[:1].upper() + word[1:] for word in _SEPARATORS.split(name))
    return made or name


def go_name(name: str) -> str:
    """Return the exported Go form of a name: `get_user_id` is `GetUserID`, `shop.v1.arith` is `ShopV1Arith`.

    Capitals inside a word are kept, so a name in CamelCase is unchanged. The empty path of bare functions stays empty.

    Raises:
        TypeError: the name has no exported form.
    """
    words = [word for word in _SEPARATORS.split(name) if word]
    made = "".join(
        word.upper() if _INITIALISM.fullmatch(word) else word[0].upper() + word[1:] for word in words
    )
    if name and not made[:1].isalpha():
        raise TypeError(f"{name!r} has no name in Go, where a name begins with a letter: give it another one")
    return made


def go_names(names: Collection[str], fixed: Iterable[str] = ()) -> dict[str, str]:
    """Map the names of a method's parameters, or of a class's fields, to their names in Go.

    A name without a Go form is unchanged, and so are names whose Go forms would be equal.

    Args:
        fixed: further names, which are not changed and which no Go form may equal.
    """
    made = {name: _go_name_if_any(name) for name in names}
    count = Counter([*made.values(), *fixed])
    return {name: written if count[written] == 1 else name for name, written in made.items()}


def _go_name_if_any(name: str) -> str:
    try:
        return go_name(name)
    except TypeError:
        return name
