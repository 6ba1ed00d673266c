"""Describe a service as plain data, and suggest the nearest name for an unknown one."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fastrpc._core.base.nearest_name import NameIndex
from fastrpc.errors import ConfigError
from fastrpc.rpc.annotation import UNANNOTATED, type_text
from fastrpc.rpc.definition import MethodDefinition, ServiceDefinition
from fastrpc.rpc.service import service_definition
from fastrpc.rpc.signature import Parameter
from fastrpc.rpc.type_description import describe_types

__all__ = ["describe", "describe_services", "nearest_name", "signature_text"]

_STREAM = "AsyncIterator[{}]"


def describe(service: Any) -> dict[str, Any]:
    """Describe a service in plain values, ready for any codec.

    `service` is a class, an instance or a definition; methods are in the order of the class.
    """
    return describe_services([service])[0]


def describe_services(
    services: Iterable[Any], may_call: Callable[[MethodDefinition], bool] | None = None
) -> list[dict[str, Any]]:
    """Describe services in plain values.

    Args:
        may_call: says which methods are described, and with them their types and services; None: all.
    """
    found = []
    for service in services:
        definition = service if isinstance(service, ServiceDefinition) else service_definition(service)
        methods = [one for one in definition.methods.values() if may_call is None or may_call(one)]
        if methods or may_call is None:
            found.append(_describe_service(definition, methods))
    return found


def _describe_service(definition: ServiceDefinition, methods: Sequence[MethodDefinition]) -> dict[str, Any]:
    return {
        "name": definition.name,
        "version": definition.version,
        "alias": list(definition.names.alias),
        "rpcx": definition.names.rpcx,
        "aliases": list(definition.names.of_service()[1:]),
        "documentation": definition.documentation,
        "methods": [_describe_method(method) for method in methods],
        "types": describe_types(methods),
    }


def signature_text(definition: MethodDefinition) -> str:
    """Return a method's signature as source: `mul(a: int, b: int) -> int`."""
    parts: list[str] = []
    was_positional_only = False
    was_by_position = True
    for parameter, kind in _all_parameters(definition):
        if was_positional_only and parameter.by_name:
            parts.append("/")
        if was_by_position and not parameter.by_position:
            parts.append("*")
        was_positional_only, was_by_position = not parameter.by_name, parameter.by_position
        parts.append(_parameter_text(parameter, kind))
    if was_positional_only:
        parts.append("/")
    return f"{definition.name}({', '.join(parts)}) -> {_result_text(definition)}"


def nearest_name(name: str, names: Iterable[str]) -> str | None:
    """Return the one of `names` nearest to `name`, None if none is near."""
    return NameIndex(names).nearest(name)


def _describe_method(definition: MethodDefinition) -> dict[str, Any]:
    return {
        "name": definition.name,
        "full_name": definition.full_name,
        "alias": list(definition.options.alias or ()),
        "aliases": list(definition.aliases),
        "attribute": definition.attribute,
        "kind": definition.kind,
        "signature": signature_text(definition),
        "parameters": [
            {
                "name": parameter.name,
                "type": kind,
                "required": parameter.is_required,
                "default": None if parameter.is_required else parameter.default_text,
                "by_position": parameter.by_position,
                "by_name": parameter.by_name,
            }
            for parameter, kind in zip(definition.parameters, _types_text(definition), strict=True)
        ],
        "stream": _describe_stream(definition),
        "renamed": dict(definition.renamed),
        "result": _result_text(definition),
        "idempotent": definition.idempotent,
        "safe": definition.safe,
        "timeout": definition.timeout,
        "codec": definition.codec,
        "documentation": definition.documentation,
    }


def _describe_stream(definition: MethodDefinition) -> dict[str, Any] | None:
    stream = definition.signature.stream
    if stream is None:
        return None
    return {
        "name": stream.name,
        "type": _message_text(definition),
        "position": definition.signature.stream_position,
    }


def _all_parameters(definition: MethodDefinition) -> list[tuple[Parameter, str]]:
    pairs = list(zip(definition.parameters, _types_text(definition), strict=True))
    stream = definition.signature.stream
    if stream is not None:
        pairs.insert(
            definition.signature.stream_position, (stream, _STREAM.format(_message_text(definition)))
        )
    return pairs


def _parameter_text(parameter: Parameter, kind: str) -> str:
    text = f"{parameter.name}: {kind}"
    return text if parameter.is_required else f"{text} = {parameter.default_text}"


def _types_text(definition: MethodDefinition) -> list[str]:
    try:
        return [type_text(kind) for kind in definition.types().parameters]
    except ConfigError:  # unknown at run time: show the source of the annotation
        return [type_text(parameter.annotation) for parameter in definition.parameters]


def _message_text(definition: MethodDefinition) -> str:
    try:
        return type_text(definition.types().message)
    except ConfigError:
        return "Any"


def _result_text(definition: MethodDefinition) -> str:
    try:
        text = type_text(definition.types().result)
    except ConfigError:
        written = definition.signature.result
        return "Any" if written is UNANNOTATED else type_text(written)
    return _STREAM.format(text) if definition.signature.has_stream_result else text
