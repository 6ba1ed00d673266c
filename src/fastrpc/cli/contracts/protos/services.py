"""The class of a service: a client binds it, and the class of a server extends it."""

from typing import Any

from fastrpc.cli.contracts.names import literal
from fastrpc.cli.contracts.protos.files import ProtoFiles
from fastrpc.cli.contracts.protos.layout import WIDTH, Group, behind, docstring, flat, statement
from fastrpc.cli.contracts.protos.lost import Lost, deprecation
from fastrpc.cli.contracts.protos.naming import Naming, method_names, python_names
from fastrpc.cli.contracts.protos.types import FieldTypes

__all__ = ["ServiceWriter"]

#: google.protobuf.MethodOptions.IdempotencyLevel
_LEVELS = {1: "safe=True", 2: "idempotent=True"}


class ServiceWriter:
    """Writes the services of one module.

    Args:
        is_sync: whether to write `def` methods, for `SyncClient.bind`.
    """

    def __init__(self, files: ProtoFiles, naming: Naming, lost: Lost, *, is_sync: bool) -> None:
        self._files = files
        self._naming = naming
        self._lost = lost
        self._is_sync = is_sync
        self._types = FieldTypes(naming)

    def service(self, descriptor: Any) -> list[str]:
        """Return the lines of a service."""
        part = self._files.part(descriptor.full_name)
        derived = method_names(descriptor)
        package = descriptor.full_name.removesuffix(descriptor.name)
        name = descriptor.full_name if derived is None else f"{package}{derived[descriptor.name]}"
        options = [literal(name), *([] if derived is None else ['grpc="pascal"'])]
        lines = self._lost.options(descriptor.full_name, part.proto.options, 0)
        lines += deprecation(part.proto.options, 0)
        lines += statement(0, "@", Group(f"{self._use('service', 'fastrpc')}(", options, ")"))
        lines.append(f"class {self._naming.service(descriptor)}({self._use('Protocol', 'typing')}):")
        body = docstring(part.comment, 4)
        names = python_names((one.name for one in descriptor.methods), self._naming)
        for method, own in zip(descriptor.methods, names, strict=True):
            wire = method.name if derived is None else derived[method.name]
            body += [*([""] if body else []), *self._method(method, own, wire)]
        return [*lines, *(body or ["    pass"])]

    def _method(self, method: Any, name: str, wire: str) -> list[str]:
        part = self._files.part(method.full_name)
        options = [literal(wire)] if name != wire else []
        level = _LEVELS.get(part.proto.options.idempotency_level)
        options += [level] if level is not None else []
        lines = self._lost.options(method.full_name, part.proto.options, 4)
        lines += deprecation(part.proto.options, 4)
        mark = self._use("method", "fastrpc")
        lines += statement(4, "@", Group(f"{mark}(", options, ")") if options else mark)
        word = "def" if self._is_sync or method.server_streaming else "async def"
        body = docstring(part.comment, 8)
        group = Group(f"{word} {name}(", ("self", self._parameter(method)), ")")
        result, end = self._result(method), ":" if body else ": ..."
        head = statement(4, "", group, f" -> {flat(result)}{end}")
        if len(head[-1]) > WIDTH:
            head[-1:] = statement(4, ") -> ", result, end)
        return [*lines, *head, *body]

    def _parameter(self, method: Any) -> Group | str:
        if method.client_streaming:
            return behind("requests: ", self._types.stream(method.input_type, "AsyncIterator"))
        return behind("request: ", self._types.message(method.input_type))

    def _result(self, method: Any) -> Group | str:
        if not method.server_streaming:
            is_empty = method.output_type.full_name == "google.protobuf.Empty"
            return "None" if is_empty else self._types.message(method.output_type)
        return self._types.stream(method.output_type, "Iterator" if self._is_sync else "AsyncIterator")

    def _use(self, name: str, module: str) -> str:
        return self._naming.imported.use(name, module)
