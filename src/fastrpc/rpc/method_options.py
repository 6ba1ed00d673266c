"""The options of `@method`, checked.

A new option needs an argument in `rpc/marking.py` and `rpc/functions.py`, and an attribute in `rpc/definition.py`. If
callers must know the option, also change `rpc/description.py`, and the places in `cli` that read descriptions, write
and compare contracts, and forward calls. `_core/server/access.pyx` enforces options about access,
`_core/server/gate.pyx` other options.
"""

import re
import types
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from fastrpc.config.validation import check_timeout
from fastrpc.errors import ConfigError
from fastrpc.escaping import hidden_in
from fastrpc.rpc.routes import HttpRoute
from fastrpc.rpc.signature import HandlerSignature

__all__ = [
    "NAME",
    "SERVICE_NAME",
    "MethodOptions",
    "check_renamed",
    "check_safe",
    "check_tool",
    "checked_method_name",
    "checked_renamed",
    "checked_roles",
    "checked_timeout",
]

#: The name of a method on the wire, or one part of the name of a service.
NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")

#: The name of a service on the wire.
SERVICE_NAME: Final = re.compile(rf"{NAME.pattern}(\.{NAME.pattern})*")

#: The most old names of a method. Each old name doubles the number of key sets that a call may send.
MOST_RENAMED: Final = 4


class MethodOptions(NamedTuple):
    """The options of `@method`; None means not given."""

    name: str | None = None
    inline: bool | None = None
    idempotent: bool | None = None
    timeout: float | None = None
    codec: str | None = None
    public: bool | None = None
    #: A caller needs one of these roles.
    roles: frozenset[str] | None = None
    #: Old names of parameters, mapped to their current names.
    renamed: Mapping[str, str] | None = None
    #: Other names of the method.
    alias: tuple[str, ...] | None = None
    #: True if a call changes nothing.
    safe: bool | None = None
    #: True if language models may call the method.
    tool: bool | None = None
    #: An HTTP method and path, in addition to `POST /service/method`.
    http: HttpRoute | None = None

    def over(self, inherited: "MethodOptions") -> "MethodOptions":
        """Return these options, with inherited values for options that are not given."""
        given = {name: value for name, value in self._asdict().items() if value is not None}
        return inherited._replace(**given)


def check_safe(label: str, options: MethodOptions, signature: HandlerSignature) -> None:
    """Refuse `safe` on a method that cannot be safe.

    Raises:
        TypeError: the method takes a stream, or is marked as not idempotent.
    """
    if options.idempotent is False:
        raise TypeError(f"{label} is safe, so it is idempotent: leave idempotent=False out")
    if signature.stream is not None:
        raise TypeError(
            f"{label} takes the stream {signature.stream.name!r}, which a GET cannot send: leave safe=True out"
        )


def check_tool(label: str, signature: HandlerSignature) -> None:
    """Refuse a tool with a stream: a model passes all arguments together, and reads one result."""
    if signature.kind != "unary":
        raise TypeError(f"{label} streams, so it cannot be a tool: leave tool=True out")


def checked_method_name(name: str | None) -> str | None:
    if name is not None and not NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is not a method name",
            hint='write ASCII letters, digits, `_` and `-`, without dots, as in @fastrpc.method("name")',
        )
    return name


def checked_timeout(timeout: float | None) -> float | None:
    check_timeout(timeout, hint="leave it out for `Timeouts.call`; with_options(timeout=None) sets no limit")
    return None if timeout is None else float(timeout)


def checked_roles(roles: Iterable[str] | None) -> frozenset[str] | None:
    if roles is None:
        return None
    if isinstance(roles, str) or not isinstance(roles, Iterable):
        raise TypeError(f"roles is {roles!r}, it must be a list of texts: write roles=('admin',)")
    found = frozenset(roles)
    for role in found:
        if not isinstance(role, str):
            raise TypeError(f"roles has {role!r}, a role is a text")
        if not role or hidden_in(role):
            raise ConfigError(f"roles has {role!a}, which no identity can have")
    return found


def checked_renamed(renamed: Mapping[str, str] | None) -> Mapping[str, str] | None:
    if renamed is None:
        return None
    how = "write renamed={'old': 'new'}"
    if not isinstance(renamed, Mapping) or not all(
        isinstance(name, str) for names in renamed.items() for name in names
    ):
        raise TypeError(f"renamed is {renamed!r}, it maps old names of parameters to present ones: {how}")
    if len(renamed) > MOST_RENAMED:
        raise ConfigError(
            f"renamed has {len(renamed)} old names, a method keeps at most {MOST_RENAMED}",
            hint="leave out names that no caller uses now, or give the method another name",
        )
    if wrong := [old for old in renamed if not old.isidentifier()]:
        raise ConfigError(f"renamed: {wrong[0]!r} was not a parameter's name", hint=how)
    return types.MappingProxyType(dict(renamed))


def check_renamed(label: str, options: MethodOptions, signature: HandlerSignature) -> None:
    """Refuse old names that no caller can use."""
    names = [parameter.name for parameter in signature.parameters]
    for old, new in (options.renamed or {}).items():
        place = f"{label}: renamed={{{old!r}: {new!r}}}"
        if options.codec == "raw":
            raise TypeError(f'{place}: codec="raw" sends no names: leave `renamed` out')
        if new not in names:
            is_stream = signature.stream is not None and signature.stream.name == new
            reason = "is the stream, whose name is not sent" if is_stream else "is not a parameter"
            there = f"it has {', '.join(names)}" if names else "it has none"
            raise TypeError(f"{place}: {new!r} {reason}: write the present name of a parameter, {there}")
        if old in names:
            raise TypeError(
                f"{place}: {old!r} is a parameter itself, so arguments of old callers would be exchanged:"
                " give one of the two a name that was never used"
            )
