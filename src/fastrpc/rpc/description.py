"""Describe services as plain data, and suggest the most similar name for an unknown name."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fastrpc._core.base.nearest_name import NameIndex
from fastrpc.errors import ConfigError
from fastrpc.rpc.definition import MethodDefinition, ServiceDefinition
from fastrpc.rpc.schema.annotation import UNANNOTATED
from fastrpc.rpc.schema.default_text import default_text
from fastrpc.rpc.schema.payload_classes import payload_classes
from fastrpc.rpc.schema.type_description import describe_type, describe_types, method_types
from fastrpc.rpc.schema.type_names import TypeNames
from fastrpc.rpc.service import service_definition
from fastrpc.rpc.signature import Parameter

__all__ = ["describe", "describe_services", "nearest_name", "signature_text"]

_STREAM = "AsyncIterator[{}]"


def describe(service: Any) -> dict[str, Any]:
    """Describe a service in plain values, which any codec can encode.

    `service` is a class, an instance or a definition. Methods are in the order of the class.
    """
    return describe_services([service])[0]


def describe_services(
    services: Iterable[Any], may_call: Callable[[MethodDefinition], bool] | None = None
) -> list[dict[str, Any]]:
    """Describe services in plain values.

    Args:
        may_call: selects the methods to describe; types and services without a selected method are omitted. None
            describes all.
    """
    visible = []
    for service in services:
        definition = service if isinstance(service, ServiceDefinition) else service_definition(service)
        methods = [one for one in definition.methods.values() if may_call is None or may_call(one)]
        if methods or may_call is None:
            visible.append((definition, methods))
    # A class has the same name in all services, so the contract for several services has the class only once.
    names = _names_for(method for _, methods in visible for method in methods)
    return [_describe_service(definition, methods, names) for definition, methods in visible]


def _names_for(methods: Iterable[MethodDefinition]) -> TypeNames:
    return TypeNames(payload_classes(method_types(methods)))


def _describe_service(
    definition: ServiceDefinition, methods: Sequence[MethodDefinition], names: TypeNames
) -> dict[str, Any]:
    return {
        "name": definition.name,
        "version": definition.version,
        "alias": list(definition.names.alias),
        "rpcx": definition.names.rpcx,
        "grpc": definition.names.grpc,
        "aliases": list(definition.names.of_service()[1:]),
        "documentation": definition.documentation,
        "methods": [_Method(method, names).described() for method in methods],
        "types": describe_types(methods, names),
    }


def signature_text(definition: MethodDefinition) -> str:
    """Return a method's signature as source: `mul(a: int, b: int) -> int`."""
    return _Method(definition, _names_for([definition])).signature()


def nearest_name(name: str, names: Iterable[str]) -> str | None:
    """Return the name in `names` that is most similar to `name`; None if no name is similar."""
    return NameIndex(names).nearest(name)


class _Method:
    """Describes one method, given the names of classes in the description."""

    def __init__(self, definition: MethodDefinition, names: TypeNames) -> None:
        self._definition = definition
        self._names = names
        try:
            known = definition.types()
            self._parameters: list[Any] = list(known.parameters)
            self._message, self._result = known.message, known.result
        except ConfigError:  # The type is unknown at run time, so the source of the annotation is shown.
            self._parameters = [parameter.annotation for parameter in definition.parameters]
            self._message = self._result = Any
            if definition.signature.result is not UNANNOTATED:
                self._result = definition.signature.result
            self._is_known = False
        else:
            self._is_known = True

    def described(self) -> dict[str, Any]:
        definition = self._definition
        return {
            "name": definition.name,
            "full_name": definition.full_name,
            "alias": list(definition.options.alias or ()),
            "aliases": list(definition.aliases),
            "attribute": definition.attribute,
            "kind": definition.kind,
            "signature": self.signature(),
            "parameters": list(map(self._described_parameter, definition.parameters, self._parameters)),
            "stream": self._stream(),
            "renamed": dict(definition.renamed),
            **self._described_result(),
            "idempotent": definition.idempotent,
            "safe": definition.safe,
            "tool": definition.tool,
            "http": None if definition.options.http is None else str(definition.options.http),
            "timeout": definition.timeout,
            "codec": definition.codec,
            "documentation": definition.documentation,
        }

    def signature(self) -> str:
        definition = self._definition
        parts: list[str] = []
        was_positional_only = False
        was_by_position = True
        for parameter, kind in self._all_parameters():
            if was_positional_only and parameter.by_name:
                parts.append("/")
            if was_by_position and not parameter.by_position:
                parts.append("*")
            was_positional_only, was_by_position = not parameter.by_name, parameter.by_position
            default = "" if parameter.is_required else f" = {default_text(parameter.default, self._names)}"
            parts.append(f"{parameter.name}: {kind}{default}")
        if was_positional_only:
            parts.append("/")
        return f"{definition.name}({', '.join(parts)}) -> {self._described_result()['result']}"

    def _all_parameters(self) -> list[tuple[Parameter, str]]:
        signature = self._definition.signature
        texts = map(self._names.text, self._parameters)
        pairs = list(zip(self._definition.parameters, texts, strict=True))
        if signature.stream is not None:
            message = _STREAM.format(self._names.text(self._message))
            pairs.insert(signature.stream_position, (signature.stream, message))
        return pairs

    def _described_parameter(self, parameter: Parameter, kind: Any) -> dict[str, Any]:
        default = None if parameter.is_required else default_text(parameter.default, self._names)
        return {
            "name": parameter.name,
            **describe_type(kind, self._names),
            "required": parameter.is_required,
            "default": default,
            "by_position": parameter.by_position,
            "by_name": parameter.by_name,
        }

    def _stream(self) -> dict[str, Any] | None:
        signature = self._definition.signature
        if signature.stream is None:
            return None
        kind = describe_type(self._message, self._names)
        upload = {"upload": True} if self._definition.takes_upload else {}
        return {"name": signature.stream.name, **kind, "position": signature.stream_position, **upload}

    def _described_result(self) -> dict[str, str]:
        found = describe_type(self._result, self._names, "result", "full_result")
        is_stream = self._is_known and self._definition.signature.has_stream_result
        return {key: _STREAM.format(text) for key, text in found.items()} if is_stream else found
