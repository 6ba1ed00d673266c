"""`@service`, and the definitions of services and their methods.

`@method` (`marking.py`) sets a mark on a function. `@service` claims each marked function for its class
(`claiming.py`), builds the definition of the class, and returns the class. The definition of a subclass is built on
first use.
"""

import inspect
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar, get_origin

from fastrpc.errors import ConfigError
from fastrpc.rpc.aliases import ServiceNames, checked_aliases, checked_grpc, checked_rpcx
from fastrpc.rpc.claiming import METHOD_MARK, MethodMark, claim_methods, marked_attributes, watch_subclasses
from fastrpc.rpc.contract import check_implements, check_override
from fastrpc.rpc.definition import MethodDefinition, ServiceDefinition
from fastrpc.rpc.marking import NOT_GIVEN, show_defaults
from fastrpc.rpc.method_options import SERVICE_NAME, MethodOptions, checked_method_name
from fastrpc.rpc.refused_arguments import explain_arguments
from fastrpc.rpc.schema.annotation import Scope, captured_names
from fastrpc.rpc.signature import HandlerSignature, check_raw, name_of, read_signature

__all__ = [
    "BUILTIN_PREFIX",
    "CONSOLE_PREFIX",
    "check_name_length",
    "check_fields",
    "checked_definition",
    "is_service",
    "method_definition",
    "service",
    "service_definition",
]

C = TypeVar("C", bound=type[Any])

SERVICE_MARK = "__fastrpc_service__"

#: Service names with this prefix are reserved for fastrpc.
BUILTIN_PREFIX = "fastrpc."

#: The prefix of a console's services. Unlike other services of fastrpc, they are described to callers.
CONSOLE_PREFIX: Final = "fastrpc.console."

#: The most bytes in the full name of a method, which every call contains.
LONGEST_NAME = 255

#: The module of `Field`. If it is not imported, no annotation has a Field.
_FIELD_MODULE: Final = "fastrpc.rpc.protobuf.field"


@explain_arguments("service")
def service(
    name: str,
    /,
    *,
    version: str | None = None,
    implements: type[Any] | None = None,
    alias: Sequence[str] = NOT_GIVEN,
    rpcx: str | None = None,
    grpc: str | None = None,
    part: bool = False,
) -> Callable[[C], C]:
    """Mark a class as the service called `name`. The class itself is unchanged.

    Args:
        name: the name on the wire, which may contain dots. "" is the service of the bare functions of Phobos.
        version: shown by reflection. It is not part of any name.
        implements: a contract that the class implements without inheriting from it. It is checked immediately.
        alias: other names for callers. Policies, limits, metrics and logs use the canonical name.
        rpcx: "go" adds Go's CamelCase names as aliases of the service and its methods: `shop.get_user_id` is also
            `Shop.GetUserID`. In rpcx payloads, callers may use Go's names for parameters and for fields of dataclasses
            and Structs. Answers, and calls of our clients, have Go's names.
        grpc: "pascal" adds the usual CamelCase names of gRPC schemas as aliases, and gRPC calls use them:
            `shop.v1.orders.get_item` is also `shop.v1.Orders.GetItem`.
        part: True if a server may offer further classes under this name, each with `part=True` and other methods.

    Raises:
        TypeError: the class cannot be this service; the message lists every reason.
        ConfigError: the value of an option is invalid.
    """
    _check_service_name(name)
    aliases = checked_aliases(alias, "service", name, SERVICE_NAME)
    given = aliases, checked_rpcx(rpcx), checked_grpc(grpc)
    if type(part) is not bool:
        raise ConfigError(f"part of the service {name!r} is {part!r}, it must be True or False")
    contract = None if implements is None else service_definition(implements)

    def mark(cls: C) -> C:
        if not isinstance(cls, type):
            raise TypeError(f"@fastrpc.service({name!r}) marks classes, not {name_of(cls)}")
        if SERVICE_MARK in vars(cls):
            known = vars(cls)[SERVICE_MARK].name
            raise TypeError(
                f"{cls.__qualname__} is the service {known!r} already: make a subclass for {name!r}"
            )
        claim_methods(cls, contract=contract, is_whole=True)
        here = inspect.currentframe()
        around = None if here is None else here.f_back
        names = _service_names(cls, name, *given, contract=contract)
        definition = _read(cls, names, version=version, contract=contract, frame=around)
        definition.is_part = part
        if contract is not None:
            check_implements(definition, contract)
        check_fields(definition)
        setattr(cls, SERVICE_MARK, definition)
        watch_subclasses(cls)
        return cls

    return mark


show_defaults(service, alias=())


def check_fields(definition: ServiceDefinition) -> None:
    """Refuse `Field` options of protobuf that the methods of a service cannot have."""
    if _FIELD_MODULE in sys.modules:
        from fastrpc.rpc.protobuf.methods import check_field_options

        check_field_options(definition.methods.values())


def _check_service_name(name: Any) -> None:
    """Refuse a value that is not the name of a service."""
    if not isinstance(name, str):
        raise TypeError(
            f'@fastrpc.service needs a name: write @fastrpc.service("name") above {name_of(name)}'
        )
    if name and not SERVICE_NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is not a service name",
            hint="write letters, digits, `_` and `-`, in parts joined by dots",
        )


def _service_names(
    cls: type[Any],
    name: str,
    alias: tuple[str, ...] | None,
    rpcx: str | None,
    grpc: str | None,
    *,
    contract: ServiceDefinition | None,
) -> ServiceNames:
    """Return the names of a service. Missing options come from a contract or a base class with the same name."""
    bases = [vars(member)[SERVICE_MARK] for member in cls.__mro__ if SERVICE_MARK in vars(member)]
    for base in (*bases, contract):
        if base is not None and base.name == name:
            alias = base.names.alias if alias is None else alias
            rpcx = base.names.rpcx if rpcx is None else rpcx
            grpc = base.names.grpc if grpc is None else grpc
    return ServiceNames(name, alias or (), rpcx, grpc)


def check_name_length(full_name: str) -> None:
    """Refuse a method name that is too long for a frame. Sending it would close the connection.

    Raises:
        ConfigError: the name is too long.
    """
    if len(full_name) > LONGEST_NAME:
        raise ConfigError(f"the name {full_name!r} is longer than {LONGEST_NAME} characters")


def service_definition(source: Any, /) -> ServiceDefinition:
    """Return the service definition of a class under `@service`, of a subclass or instance, or of a function.

    Raises:
        TypeError: the source is not a service, or inherits from two services.
    """
    cls = source if isinstance(source, type) else type(source)
    definition: ServiceDefinition | None = vars(cls).get(SERVICE_MARK)
    if definition is None:
        mark = getattr(source, METHOD_MARK, None)
        if isinstance(mark, MethodMark) and mark.prefix and mark.definition is not None:
            return service_definition(mark.definition.owner)
        definition = _inherited(cls, source)
        setattr(cls, SERVICE_MARK, definition)
    return definition


def is_service(thing: Any) -> bool:
    """Return whether `thing` is an instance of a service class, or a function under `@function`."""
    try:
        service_definition(thing)
    except TypeError:
        return False
    return not isinstance(thing, type)


def method_definition(function: Callable[..., Any], /) -> MethodDefinition:
    """Return the definition of a remote method, given as `Arith.mul` or as the method of an instance.

    Raises:
        TypeError: the function is not a remote method; the message says how to make it one.
    """
    mark: MethodMark | None = getattr(function, METHOD_MARK, None)
    if mark is not None and mark.definition is not None:
        return mark.definition
    return _find_definition(function, mark)


def _find_definition(function: Any, mark: MethodMark | None) -> MethodDefinition:
    if isinstance(function, type):
        raise TypeError(
            f"{function.__qualname__} is a class: pass one of its methods, `{function.__name__}.…`"
        )
    if inspect.iscoroutine(function):
        # Close the coroutine: Python would warn that it was never awaited.
        function.close()
        name = function.__qualname__
        raise TypeError(
            f"{name}() was called here: give method and arguments separately, as in call({name}, …)"
        )
    if not isinstance(mark, MethodMark):
        if not callable(function):
            raise TypeError(
                f"{function!r} is not a remote method: give method and arguments separately, "
                "as in call(Arith.mul, 6, 7)"
            )
        raise TypeError(
            f"{name_of(function)} is not a remote method: put @fastrpc.method above it"
            ' and @fastrpc.service("name") above its class'
        )
    if mark.owner is None:
        raise TypeError(
            f'the class of {name_of(function)} is not a service: put @fastrpc.service("name") above it'
        )
    service_definition(mark.owner)
    if mark.definition is None:
        raise TypeError(
            f"{name_of(function)} is not what {mark.owner.__qualname__} serves as {mark.attribute!r}"
        )
    return mark.definition


# Definitions of the claimed functions


def _inherited(cls: type[Any], source: Any) -> ServiceDefinition:
    marked = [member for member in cls.__mro__ if SERVICE_MARK in vars(member)]
    if not marked:
        hint = 'put @fastrpc.service("name") above its class'
        if get_origin(source) is not None:
            hint = f"make a subclass of {source!r} and pass that"
        raise TypeError(f"{name_of(source)} is not a service: {hint}")
    base: ServiceDefinition = vars(marked[0])[SERVICE_MARK]
    for member in marked[1:]:
        if not issubclass(marked[0], member):
            other = vars(member)[SERVICE_MARK].name
            raise TypeError(
                f"{cls.__qualname__} inherits from two services, {base.name!r} and {other!r}:"
                ' put @fastrpc.service("name") above it, or write a class for each'
            )
    definition = _read(cls, base.names, version=base.version, contract=base.contract, frame=None)
    definition.is_part = base.is_part
    return definition


def _read(
    cls: type[Any],
    names: ServiceNames,
    *,
    version: str | None,
    contract: ServiceDefinition | None,
    frame: types.FrameType | None,
) -> ServiceDefinition:
    """Return the definition of `cls`, whose methods are claimed, as a service with these names."""
    methods: dict[str, MethodDefinition] = {}
    promised = {} if contract is None else {member.attribute: member for member in contract.methods.values()}
    for attribute in dict.fromkeys((*marked_attributes(cls), *promised)):
        function = inspect.getattr_static(cls, attribute, None)
        mark: MethodMark | None = getattr(function, METHOD_MARK, None)
        if mark is None:
            continue
        definition = mark.definition
        if definition is None or mark.owner is cls:
            definition = _read_method(cls, names, mark, promised.get(attribute), frame)
            mark.definition = definition
        if (other := methods.get(definition.name)) is not None:
            raise _clash(cls, definition.name, other, definition)
        methods[definition.name] = definition
    _check_aliases(cls, methods)
    return ServiceDefinition(cls, names, methods, version=version, contract=contract)


def _check_aliases(cls: type[Any], methods: Mapping[str, MethodDefinition]) -> None:
    """Refuse an alias that is also a name of another method. Canonical names are known to differ."""
    owners = dict(methods)
    for definition in methods.values():
        for name in definition.names[1:]:
            if owners.setdefault(name, definition) is not definition:
                raise _clash(cls, name, owners[name], definition)


def _clash(cls: type[Any], name: str, one: MethodDefinition, other: MethodDefinition) -> TypeError:
    return TypeError(
        f"{cls.__qualname__} has two methods called {name!r},"
        f' `{one.attribute}` and `{other.attribute}`: give one another name with @fastrpc.method("…")'
    )


def _read_method(
    cls: type[Any],
    names: ServiceNames,
    mark: MethodMark,
    promised: MethodDefinition | None,
    frame: types.FrameType | None,
) -> MethodDefinition:
    attribute = mark.attribute
    signature = mark.signature or read_signature(mark.function)
    captured = captured_names(signature.annotations(), frame)
    signature = signature.with_scope(Scope(mark.function, mark.defined_in, captured))
    options, signature, contracts = _inherit(cls, names.name, mark, signature)
    if promised is not None:
        contracts.append(promised)
        options = options.over(promised.options)
        signature = signature.filled_from(promised.signature)
    if options.codec == "raw":
        check_raw(signature)
    return checked_definition(
        MethodDefinition(
            cls,
            names,
            attribute,
            mark.function,
            options=options,
            signature=signature,
            promised=contracts,
        )
    )


def checked_definition(definition: MethodDefinition) -> MethodDefinition:
    """Return a definition after checking its names and its stream.

    Raises:
        ConfigError: a name is invalid or too long.
        TypeError: a plain function takes a stream.
    """
    signature = definition.signature
    # The name of a Python function may have letters that paths and schemas do not allow.
    checked_method_name(definition.name)
    for name in (definition.full_name, *definition.aliases):
        check_name_length(name)
    if signature.stream is not None and not signature.is_async and not definition.is_stub:
        raise TypeError(
            f"{definition.label} is a plain `def` and takes the stream {signature.stream.name!r},"
            " which only `async for` can read: write `async def`"
        )
    return definition


def _inherit(
    cls: type[Any], service_name: str, mark: MethodMark, signature: HandlerSignature
) -> tuple[MethodOptions, HandlerSignature, list[MethodDefinition]]:
    """Return the overridden methods, and options and signature completed from them."""
    options = mark.options or MethodOptions()
    contracts: list[MethodDefinition] = []
    for member, inherited in _inherited_marks(cls, mark):
        options = options.over(inherited.options or MethodOptions())
        if inherited.owner is not None:
            service_definition(inherited.owner)
        if (known := inherited.definition) is not None:
            if known.service == service_name:
                check_override(cls, mark.attribute, signature, known)
                contracts.append(known)
            options = options.over(known.options)
            signature = signature.filled_from(known.signature)
        elif inherited.signature is not None:
            scope = Scope(vars(member)[mark.attribute], member)
            signature = signature.filled_from(inherited.signature.with_scope(scope))
    return options, signature, contracts


def _inherited_marks(cls: type[Any], mark: MethodMark) -> Iterator[tuple[type[Any], MethodMark]]:
    """Yield the overridden methods, nearest first: class and mark."""
    for member in cls.__mro__:
        inherited = getattr(vars(member).get(mark.attribute), METHOD_MARK, None)
        # A copy of this method has the same signature object.
        is_same = (
            inherited is not None
            and inherited.signature is not None
            and inherited.signature is mark.signature
        )
        if isinstance(inherited, MethodMark) and inherited is not mark and not is_same:
            yield member, inherited
