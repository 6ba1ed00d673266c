"""Check that a class implements its contract.

A contract is a `typing.Protocol` or an `abc.ABC` under `@service` and `@method`. Differences that do not affect callers
are allowed: wider parameter types, a narrower result type, more parameters with defaults, and the server's options.
"""

import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from fastrpc.errors import ConfigError
from fastrpc.rpc.definition import MethodDefinition, ServiceDefinition
from fastrpc.rpc.schema.annotation import type_text
from fastrpc.rpc.signature import HandlerSignature, Kind, Parameter

__all__ = ["check_implements", "check_override", "differences", "is_accepted"]

_KIND_TEXT: dict[Kind, str] = {
    "unary": "one answer to one call",
    "client_stream": "one answer to a stream",
    "server_stream": "a stream of answers",
    "both_ways": "a stream both ways",
}


def check_implements(definition: ServiceDefinition, contract: ServiceDefinition) -> None:
    """Compare a class with the contract that `implements=` names; raise TypeError with all differences."""
    if found := list(differences(definition, contract)):
        lines = "".join(f"\n  - {line}" for line in found)
        raise TypeError(
            f"{definition.owner.__qualname__} does not implement {contract.owner.__qualname__}:{lines}"
        )


def check_override(
    cls: type[Any], attribute: str, signature: HandlerSignature, inherited: MethodDefinition
) -> None:
    """Refuse an override with another kind of call than the overridden method."""
    if signature.kind != inherited.kind:
        raise TypeError(
            f"{cls.__qualname__}.{attribute} gives {_KIND_TEXT[signature.kind]},"
            f" but {inherited.label} gives {_KIND_TEXT[inherited.kind]}"
        )


def differences(definition: ServiceDefinition, contract: ServiceDefinition) -> Iterator[str]:
    """Yield the differences that break a caller of the contract, one per line."""
    if definition.name != contract.name:
        yield f"the service is called {definition.name!r}, in the contract {contract.name!r}"
    own = {method.attribute: method for method in definition.methods.values()}
    for promised in contract.methods.values():
        method = own.get(promised.attribute)
        if method is None:
            yield f"{promised.attribute} is missing: {promised.attribute}({_parameters_text(promised)})"
            continue
        for line in _method_differences(method, promised):
            yield f"{promised.attribute}: {line}"


def is_accepted(given: Any, expected: Any) -> bool:
    """Return whether every value of type `given` is also of type `expected`, as far as that is decidable."""
    given, expected = _plain(given), _plain(expected)
    if expected is Any or expected is object or given is Any or given == expected:
        return True
    if _is_union(given):
        return all(is_accepted(choice, expected) for choice in get_args(given))
    if _is_union(expected):
        return any(is_accepted(given, choice) for choice in get_args(expected))
    if given is int and expected is float:
        return True
    given_origin, expected_origin = get_origin(given), get_origin(expected)
    if not _is_derived(given_origin or given, expected_origin or expected):
        return False
    pairs = list(zip(get_args(given), get_args(expected), strict=False))
    # `list` without arguments is a list of `Any`.
    return not pairs or (
        len(get_args(given)) == len(get_args(expected))
        and all(is_accepted(one, other) for one, other in pairs)
    )


def _method_differences(method: MethodDefinition, promised: MethodDefinition) -> Iterator[str]:
    if method.name != promised.name:
        yield f"is called {method.name!r}, in the contract {promised.name!r}"
    if method.kind != promised.kind:
        yield f"gives {_KIND_TEXT[method.kind]}, in the contract {_KIND_TEXT[promised.kind]}"
        return
    if missing := [name for name in promised.aliases if name not in {method.full_name, *method.aliases}]:
        yield f"is not called {', '.join(map(repr, missing))}, in the contract it is"
    if method.codec != promised.codec:
        yield f"has codec {method.codec!r}, in the contract {promised.codec!r}"
    yield from _parameter_differences(method, promised.parameters)
    yield from _type_differences(method, promised)


def _parameter_differences(method: MethodDefinition, promised: tuple[Parameter, ...]) -> Iterator[str]:
    own = method.parameters
    # An old name of a renamed parameter means the parameter with the new name.
    promised_names = {method.renamed.get(parameter.name, parameter.name) for parameter in promised}
    order = [parameter.name for parameter in own]
    own_by_name = {parameter.name: parameter for parameter in own}
    for position, expected in enumerate(promised):
        parameter = own_by_name.get(method.renamed.get(expected.name, expected.name))
        if parameter is None:
            there = (
                own[position].name
                if position < len(own) and own[position].name not in promised_names
                else None
            )
            yield f"parameter {expected.name!r} is missing" + (f" (there is {there!r})" if there else "")
            continue
        if not expected.is_required and parameter.is_required:
            yield f"parameter {expected.name!r} has no default, in the contract it has one"
        if expected.by_name and not parameter.by_name:
            yield f"parameter {expected.name!r} cannot be given by name"
        if expected.by_position and not parameter.by_position:
            yield f"parameter {expected.name!r} cannot be given by position"
        elif expected.by_position and (found := order.index(parameter.name)) != position:
            yield f"parameter {expected.name!r} is number {found + 1}, in the contract {position + 1}"
    for parameter in own:
        if parameter.name not in promised_names and parameter.is_required:
            yield f"parameter {parameter.name!r} is not in the contract and has no default"


def _type_differences(method: MethodDefinition, promised: MethodDefinition) -> Iterator[str]:
    try:
        own, expected = method.types(), promised.types()
    except ConfigError:
        # There is a forward reference, so compare the source texts. The types are resolved when the service is added.
        yield from _text_differences(method, promised)
        return
    own_types = dict(zip((parameter.name for parameter in method.parameters), own.parameters, strict=True))
    for parameter, kind in zip(promised.parameters, expected.parameters, strict=True):
        name = method.renamed.get(parameter.name, parameter.name)
        if name in own_types and not is_accepted(kind, own_types[name]):
            found = type_text(own_types[name])
            yield f"parameter {parameter.name!r} is {found}, in the contract {type_text(kind)}"
    if expected.message is not None and not is_accepted(expected.message, own.message):
        yield f"the stream takes {type_text(own.message)}, in the contract {type_text(expected.message)}"
    if not is_accepted(own.result, expected.result):
        yield f"the result is {type_text(own.result)}, in the contract {type_text(expected.result)}"


def _text_differences(method: MethodDefinition, promised: MethodDefinition) -> Iterator[str]:
    own = {parameter.name: parameter for parameter in method.parameters}
    for parameter in promised.parameters:
        found = own.get(method.renamed.get(parameter.name, parameter.name))
        if found is not None and type_text(found.annotation) != type_text(parameter.annotation):
            written = type_text(parameter.annotation)
            yield f"parameter {parameter.name!r} is {type_text(found.annotation)}, in the contract {written}"


def _parameters_text(method: MethodDefinition) -> str:
    return ", ".join(str(parameter) for parameter in method.parameters)


def _plain(annotation: Any) -> Any:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return type(None) if annotation is None else annotation


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in {Union, types.UnionType}


def _is_derived(given: Any, expected: Any) -> bool:
    if given == expected:
        return True
    # In Python bool is an int and text is a sequence of texts, but not on the wire.
    is_class = isinstance(given, type) and isinstance(expected, type)
    return is_class and given not in {bool, str, bytes} and issubclass(given, expected)
