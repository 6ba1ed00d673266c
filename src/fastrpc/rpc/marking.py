"""`@method`: the mark of a remote method, with its checked options.

The decorator returns the function itself. The definition is created when the class gets `@service` (`service.py`), or
immediately for a function outside classes (`functions.py`).
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar, overload

from fastrpc.rpc.aliases import checked_aliases
from fastrpc.rpc.claiming import METHOD_MARK, MethodMark
from fastrpc.rpc.method_options import (
    NAME,
    MethodOptions,
    check_renamed,
    check_safe,
    check_tool,
    checked_method_name,
    checked_renamed,
    checked_roles,
    checked_timeout,
)
from fastrpc.rpc.refused_arguments import explain_arguments
from fastrpc.rpc.routes import check_route, parsed_route
from fastrpc.rpc.signature import HandlerSignature, check_raw, name_of, read_signature, warn_of_parameters

__all__ = ["NOT_GIVEN", "mark_function", "method", "set_options", "show_defaults"]

F = TypeVar("F", bound=Callable[..., Any])

#: Stands for an option that was not given, so that an override can inherit it.
NOT_GIVEN: Final[Any] = None


@overload
def method(handler: F, /) -> F: ...
@overload
def method(
    name: str | None = None,
    *,
    inline: bool = False,
    idempotent: bool = False,
    timeout: float | None = None,
    codec: str | None = None,
    public: bool = False,
    roles: Sequence[str] = (),
    renamed: Mapping[str, str] | None = None,
    safe: bool = False,
    tool: bool = False,
    alias: Sequence[str] = (),
    http: str | None = None,
) -> Callable[[F], F]: ...
@explain_arguments("method")
def method(
    name: Any = None,
    *,
    inline: bool = NOT_GIVEN,
    idempotent: bool = NOT_GIVEN,
    timeout: float | None = None,
    codec: str | None = None,
    public: bool = NOT_GIVEN,
    roles: Sequence[str] = NOT_GIVEN,
    renamed: Mapping[str, str] | None = None,
    safe: bool = NOT_GIVEN,
    tool: bool = NOT_GIVEN,
    alias: Sequence[str] = NOT_GIVEN,
    http: str | None = None,
) -> Any:
    """Mark a function as a remote method; the function itself is unchanged.

    Args:
        name: the name on the wire, without the service's name; by default the name of the function.
        inline: run a plain `def` on the event loop instead of in a thread. It must not block.
        idempotent: running the method twice is harmless, so a call that may have run can be retried.
        timeout: seconds: the default in clients, and the upper limit in the server. None means that `Timeouts.call`
            applies.
        codec: the codec of the payloads, in place of the client's codec; "raw" for unchanged bytes.
        public: callers need not authenticate. `authorize` still has to allow the call.
        roles: a caller needs one of these roles, if the server authenticates callers.
        renamed: old names of parameters that callers may still use, mapped to the current names; at most four.
        safe: a call changes nothing. So the method is idempotent, and HTTP callers may use GET.
        tool: language models may call the method, where `HTTP(mcp=True)` offers tools.
        alias: other names for callers. Policies, limits, metrics and logs use the canonical name.
        http: an HTTP route in addition to `POST /service/method`, such as "GET /orders/{id}": GET (only if safe), POST,
            PUT, PATCH or DELETE, and a path. Segments in braces are parameters; a last segment `{name:path}` matches
            all further segments.

    Raises:
        TypeError: the function cannot be a remote method; the message shows the right form.
        ConfigError: the value of an option is invalid, or has no effect yet.
    """
    if name is not None and not isinstance(name, str):
        return mark_function(name, MethodOptions())
    options = MethodOptions(
        checked_method_name(name), inline, idempotent, None, codec, public, safe=safe, tool=tool
    )
    return functools.partial(
        mark_function,
        options=set_options(options, timeout=timeout, roles=roles, renamed=renamed, alias=alias, http=http),
    )


def set_options(
    options: MethodOptions,
    *,
    timeout: float | None,
    roles: Sequence[str] | None,
    renamed: Mapping[str, str] | None,
    alias: Sequence[str] | None,
    http: str | None,
) -> MethodOptions:
    """Return the options, with these values checked and parsed."""
    return options._replace(
        timeout=checked_timeout(timeout),
        roles=checked_roles(roles),
        renamed=checked_renamed(renamed),
        alias=checked_aliases(alias, "method", options.name, NAME),
        http=None if http is None else parsed_route(http),
    )


def show_defaults(function: Any, **defaults: object) -> None:
    """Show effective defaults in the signature: the values of options that are neither given nor inherited."""
    shown = inspect.signature(function)
    function.__signature__ = shown.replace(
        parameters=[
            each.replace(default=defaults.get(each.name, each.default)) for each in shown.parameters.values()
        ]
    )


show_defaults(
    method, inline=False, idempotent=False, public=False, roles=(), safe=False, tool=False, alias=()
)


def mark_function(handler: F, options: MethodOptions, *, prefix: str = "") -> F:
    """Check a function and its options, and set its mark.

    Args:
        prefix: the service of a function outside classes; "" for a function in a class.

    Raises:
        TypeError: the function cannot be a remote method.
    """
    label = name_of(handler)
    form = "(…)" if prefix else "(self, …)"
    if isinstance(handler, classmethod | staticmethod | property):
        raise TypeError(
            f"{label} is a {type(handler).__name__}:"
            f" a remote method is a plain `def {label.rpartition('.')[2]}{form}`"
        )
    is_function = callable(handler) and hasattr(type(handler), "__get__")
    if not is_function or isinstance(handler, type | functools.partial):
        marked = "functions outside classes" if prefix else "functions in a class"
        raise TypeError(f"@fastrpc.{'function' if prefix else 'method'} marks {marked}, not {label}")
    signature = read_signature(handler, has_self=not prefix)
    _check_options(label, options, signature)
    warn_of_parameters(signature, handler)
    try:
        setattr(handler, METHOD_MARK, MethodMark(options, signature, prefix=prefix))
    except AttributeError as error:
        raise TypeError(f"{label} cannot be marked, {error}: write a function around it") from error
    return handler


def _check_options(label: str, options: MethodOptions, signature: HandlerSignature) -> None:
    """Refuse options that a signature does not allow."""
    if options.inline and signature.is_async:
        raise TypeError(
            f"{label} runs on the loop as it is: leave `inline=True` out, or write it without `async`"
        )
    if options.codec == "raw":
        check_raw(signature)
    if options.renamed:
        check_renamed(label, options, signature)
    if options.safe:
        check_safe(label, options, signature)
    if options.tool:
        check_tool(label, signature)
    if options.http is not None:
        check_route(label, options.http, signature, is_safe=bool(options.safe))
