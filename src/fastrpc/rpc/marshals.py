"""Prepare the marshal of a method from its types and codec."""

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, NewType, Union, cast, get_args, get_origin

from fastrpc._core.payload.arguments import ArgumentShape
from fastrpc._core.payload.coders import PayloadCoders
from fastrpc._core.payload.marshal import Marshal
from fastrpc.codecs.base import codec_named, codec_number
from fastrpc.rpc.aliases import go_names
from fastrpc.rpc.coders import (
    coders_for,
    decoded_types,
    encoder_for,
    is_protobuf,
    may_hold_containers,
    plain_decoder,
)
from fastrpc.rpc.contract import check_implements
from fastrpc.rpc.definition import MethodDefinition, ServiceDefinition
from fastrpc.rpc.options import OPTION_NAMES
from fastrpc.rpc.route_types import check_route_types
from fastrpc.rpc.schema.narrow_floats import narrowed
from fastrpc.rpc.schema.scans import scan_for
from fastrpc.rpc.signature import Parameter

__all__ = [
    "check_service",
    "codec_for",
    "marshal_for",
    "plain_coders",
    "shape_of",
    "untyped_marshal",
]


def check_service(definition: ServiceDefinition) -> None:
    """Resolve and check the types of all methods before any call. A method that has passed is not checked again.

    Raises:
        ConfigError: a name is unknown at run time, or a type cannot be encoded; the text names parameter and class.
        TypeError: the class differs from its contract in a type that could not be resolved before.
    """
    for method in definition.methods.values():
        if not method.is_checked:
            coders_for(method, codec_named(codec_for(method, "msgpack")), shape_of(method))
            method.is_checked = True
        if method.options.http is not None:
            check_route_types(method, method.options.http)
    if definition.contract is not None:
        check_implements(definition, definition.contract)


def codec_for(definition: MethodDefinition, preferred: str) -> str:
    """Return the name of the codec for calls of a method: the codec of the method, else the preferred codec."""
    if definition.codec is not None:
        return definition.codec
    known = definition.types()
    return (
        "protobuf" if any(map(is_protobuf, (*known.parameters, known.result, known.message))) else preferred
    )


def marshal_for(
    definition: MethodDefinition,
    codec_name: str,
    *,
    depth: int,
    items: int,
    by_value: bool = False,
    by_name: bool = False,
) -> Marshal:
    """Return the marshal of a method, which encodes and decodes arguments and results. It is created once.

    Args:
        depth: the deepest nesting of containers in a payload.
        items: the most values in all containers of a payload.
        by_value: True if a payload is one value, as in rpcx: the only argument, or a map of all arguments.
        by_name: True if arguments are always a map by name, as with HTTP. Then JSON contains neither NaN nor infinity,
            and integers beyond 2⁵³ may be text.

    Raises:
        ConfigError: the types are unknown at run time, or this codec cannot encode them.
    """
    key = (codec_name, depth, items, by_value, by_name)
    marshal: Marshal | None = definition.marshals.get(key)
    if marshal is None:
        is_go = by_value and definition.service_names.rpcx == "go"
        names = [parameter.name for parameter in definition.parameters]
        written = go_names(names, fixed=definition.renamed) if is_go else {}
        shape = shape_of(definition, written)
        form = _value_form(definition) if by_value else None
        coders = coders_for(definition, codec_named(codec_name), shape, is_plain=by_name)
        if is_go:
            named = written if form == "named" else None
            from fastrpc.rpc.go.fields import coders_in_go

            coders = coders_in_go(coders, definition.types(), named)
        coders = narrowed(coders, decoded_types(definition), names, by_value=form)
        marshal = Marshal(
            definition.full_name, shape, coders, depth=depth, items=items, by_value=form, by_name=by_name
        )
        definition.marshals[key] = marshal
    return marshal


def plain_coders(definition: MethodDefinition) -> tuple[ArgumentShape, PayloadCoders]:
    """Return the shape of a method's arguments, and its msgpack coders, on which other payload formats are based."""
    shape = shape_of(definition)
    return shape, coders_for(definition, codec_named("msgpack"), shape)


def _value_form(definition: MethodDefinition) -> str:
    """Return the form of the single value that contains the arguments of a method."""
    if len(definition.parameters) != 1:
        return "named"
    kind = definition.types().parameters[0]
    return "whole" if _may_be_map(kind) else "either"


def _may_be_map(annotation: Any) -> bool:
    """Return whether the payload of a value of this type may be a map."""
    if not may_hold_containers(annotation):
        return False
    while isinstance(annotation, NewType):
        annotation = annotation.__supertype__
    origin = get_origin(annotation)
    if origin is Annotated:
        return _may_be_map(get_args(annotation)[0])
    if origin in {Union, types.UnionType}:
        return any(map(_may_be_map, get_args(annotation)))
    return (origin or annotation) not in {list, tuple, set, frozenset}


@cache
def untyped_marshal(
    codec_name: str, method: str = "the method", *, depth: int, items: int, by_value: bool = False
) -> Marshal:
    """Return the marshal for methods of which only the name is known, for any number of arguments.

    Args:
        by_value: as for `marshal_for`.
    """
    codec = codec_named(codec_name)
    decode = plain_decoder(codec)
    scan = scan_for(codec, (Any,))
    coders = PayloadCoders(
        codec.name,
        codec_number(codec.name),
        encode=(encoder_for(codec, (Any,)),) * 3,
        decode=(decode, decode),
        exact=None,
        open=decode,
        items=(),
        scan=(scan, scan, scan),
    )
    return Marshal(method, None, coders, depth=depth, items=items, by_value="either" if by_value else None)


def shape_of(definition: MethodDefinition, names_in_go: Mapping[str, str] | None = None) -> ArgumentShape:
    """Return the shape of a method's arguments."""
    parameters = definition.parameters
    place = {parameter.name: at for at, parameter in enumerate(parameters)}
    return ArgumentShape(
        tuple(parameter.name for parameter in parameters),
        tuple(parameter.is_required for parameter in parameters),
        _refusal(definition),
        positional=sum(parameter.by_position for parameter in parameters),
        positional_only=sum(not parameter.by_name for parameter in parameters),
        renamed={written: place[name] for name, written in (names_in_go or {}).items()}
        | {old: place[new] for old, new in definition.renamed.items()},
    )


def _refusal(definition: MethodDefinition) -> Callable[[tuple[Any, ...], dict[str, Any]], None]:
    """Return a function that raises the TypeError of a local call for arguments that do not match the signature."""

    def refuse(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            _local_twin(definition)(None, *args, **kwargs)
        except TypeError as error:
            known = {parameter.name for parameter in definition.parameters}
            options = [name for name in kwargs if name in OPTION_NAMES and name not in known]
            if not options:
                raise
            written = ", ".join(f"{name}=…" for name in options)
            raise TypeError(
                f"{error} (an option of the call: write client.with_options({written}).call({definition.label}, …))"
            ) from None

    return refuse


def _local_twin(definition: MethodDefinition) -> Callable[..., None]:
    """Return an empty function with the method's parameters, for Python's own error messages."""
    parameters = definition.parameters
    # A call cannot pass `self` by name, so make it positional-only.
    own = inspect.Parameter(_free_name(parameters), inspect.Parameter.POSITIONAL_ONLY)
    signature = inspect.Signature([own, *map(_without_value, parameters)])
    # `exec` is safe, as in `dataclasses`: the text contains only names that Python has accepted as parameter names.
    namespace: dict[str, Any] = {}
    exec(f"def twin{signature}: ...", {}, namespace)  # noqa: S102
    twin: Any = namespace["twin"]
    twin.__qualname__ = definition.label
    return cast(Callable[..., None], twin)


def _without_value(parameter: Parameter) -> inspect.Parameter:
    """Return an `inspect.Parameter` whose default, if any, is None: the value is not used."""
    kind: Any = inspect.Parameter.POSITIONAL_OR_KEYWORD
    if not parameter.by_position:
        kind = inspect.Parameter.KEYWORD_ONLY
    elif not parameter.by_name:
        kind = inspect.Parameter.POSITIONAL_ONLY
    default = inspect.Parameter.empty if parameter.is_required else None
    return inspect.Parameter(parameter.name, kind, default=default)


def _free_name(parameters: Sequence[Parameter]) -> str:
    name = "self"
    while any(parameter.name == name for parameter in parameters):
        name += "_"
    return name
