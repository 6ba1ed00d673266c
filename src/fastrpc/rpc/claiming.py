"""Claim the functions of a class as its remote methods.

`@service` claims each marked function for its class. A function that another class (a base class, a mixin) has claimed
is copied, so that `A.ping` and `B.ping` are two methods though both inherit `ping` from one base. Subclasses of a
service claim their overrides when they are created.
"""

import functools
import inspect
import types
from collections.abc import Iterator
from typing import Any, Generic, Protocol, get_args, get_origin

from fastrpc.rpc.definition import MethodDefinition, ServiceDefinition
from fastrpc.rpc.method_options import MethodOptions
from fastrpc.rpc.signature import HandlerSignature

__all__ = ["METHOD_MARK", "MethodMark", "claim_methods", "marked_attributes", "watch_subclasses"]

METHOD_MARK = "__fastrpc_method__"


class MethodMark:
    """The mark on a function of a service."""

    __slots__ = (
        "attribute",
        "defined_in",
        "definition",
        "function",
        "options",
        "owner",
        "prefix",
        "signature",
    )

    def __init__(
        self, options: MethodOptions | None, signature: HandlerSignature | None, *, prefix: str = ""
    ) -> None:
        #: The options and signature of `@method`; None on an override without `@method`.
        self.options = options
        self.signature = signature
        #: The class that claimed `function` as its `attribute`.
        self.owner: type[Any] | None = None
        self.attribute = ""
        self.function: Any = None
        #: The class whose body holds the function.
        self.defined_in: type[Any] | None = None
        #: The service of a function under `@function` that no class claims; "" for methods.
        self.prefix = prefix
        #: None until the definition of the class is built.
        self.definition: MethodDefinition | None = None


def claim_methods(cls: type[Any], *, contract: ServiceDefinition | None, is_whole: bool) -> None:
    """Claim each remote function for `cls`. With `is_whole`, also claim functions that a base class has claimed."""
    promised = () if contract is None else tuple(member.attribute for member in contract.methods.values())
    for attribute in dict.fromkeys((*marked_attributes(cls), *promised)):
        function = inspect.getattr_static(cls, attribute, None)
        if function is None:  # removed by a subclass, or missing from a contract
            continue
        if isinstance(function, classmethod | staticmethod | property):
            raise TypeError(
                f"{cls.__qualname__}.{attribute} is a {type(function).__name__}:"
                f" a remote method is a plain `def {attribute}(self, …)`"
            )
        if getattr(getattr(function, METHOD_MARK, None), "prefix", ""):
            raise TypeError(
                f"{cls.__qualname__}.{attribute} is under @fastrpc.function, which is for functions outside classes:"
                " write @fastrpc.method"
            )
        is_own = attribute in vars(cls)
        if is_own or is_whole or _owner_of(function) is None:
            _claim(cls, attribute, function, is_own=is_own)


def _claim(cls: type[Any], attribute: str, function: Any, *, is_own: bool) -> None:
    mark: MethodMark | None = getattr(function, METHOD_MARK, None)
    owner = _owner_of(function)
    if owner is cls and mark is not None and mark.attribute == attribute:
        return
    defined_in = mark.defined_in if mark is not None and owner is not None else _definer(cls, attribute)
    if not is_own or owner is not None:
        function = _copy(function, f"{cls.__qualname__}.{attribute}")
        setattr(cls, attribute, function)
    claimed = MethodMark(mark.options, mark.signature) if mark is not None else MethodMark(None, None)
    claimed.owner, claimed.attribute, claimed.function = cls, attribute, function
    claimed.defined_in = defined_in
    try:
        setattr(function, METHOD_MARK, claimed)
    except AttributeError as error:
        raise TypeError(
            f"{cls.__qualname__}.{attribute} cannot be marked, {error}: write a function"
        ) from error


def _owner_of(function: Any) -> type[Any] | None:
    """Return the class that claimed a function; None for a wrapper, which only copied the mark of its function."""
    mark: MethodMark | None = getattr(function, METHOD_MARK, None)
    return mark.owner if mark is not None and mark.function is function else None


def _definer(cls: type[Any], attribute: str) -> type[Any]:
    return next(member for member in cls.__mro__ if attribute in vars(member))


def marked_attributes(cls: type[Any]) -> Iterator[str]:
    """Yield the attributes of a class that are marked functions, inherited attributes first."""
    for member in reversed(cls.__mro__):
        for attribute, value in list(vars(member).items()):
            inner = getattr(value, "__func__", None) or getattr(value, "fget", None) or value
            if isinstance(getattr(inner, METHOD_MARK, None), MethodMark):
                yield attribute


def _copy(function: Any, qualname: str) -> Any:
    """Return an equivalent function with its own mark."""
    if not isinstance(function, types.FunctionType):

        @functools.wraps(function)
        def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
            return function.__get__(self, type(self))(*args, **kwargs)

        return forward
    copied = types.FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copied.__dict__.update(function.__dict__)
    copied.__kwdefaults__ = function.__kwdefaults__
    copied.__doc__ = function.__doc__
    copied.__module__ = function.__module__
    copied.__qualname__ = qualname
    # Since Python 3.14, reading `__annotations__` would evaluate deferred annotations.
    is_deferred = getattr(function, "__annotate__", None) is not None
    for name in ("__annotate__" if is_deferred else "__annotations__", "__type_params__"):
        if hasattr(function, name):
            setattr(copied, name, getattr(function, name))
    return copied


def watch_subclasses(cls: type[Any]) -> None:
    """Make each subclass claim its methods when it is created."""
    written = vars(cls).get("__init_subclass__")

    def watch(subclass: type[Any], /, **options: Any) -> None:
        if written is None:
            super(cls, subclass).__init_subclass__(**options)
        else:
            written.__get__(None, subclass)(**options)
        claim_methods(subclass, contract=None, is_whole=_gives_types(subclass))

    cls.__init_subclass__ = classmethod(watch)  # type: ignore[assignment]


def _gives_types(cls: type[Any]) -> bool:
    """Return whether a class binds type variables of its bases, so that inherited methods change."""
    bases = vars(cls).get("__orig_bases__", ())
    return any(get_args(base) and get_origin(base) not in {Generic, Protocol} for base in bases)
