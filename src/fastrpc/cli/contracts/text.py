"""Write a contract as Python source: a `typing.Protocol` under `@service`, and the classes of its payloads.

A server's description becomes source that is imported, so no text is copied from it: names must be Python identifiers,
types are parsed and rewritten, defaults and texts are written as literals. Everything else is left out, with a comment
or a warning.
"""

from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Final, NamedTuple

from fastrpc.cli.contracts.classes import ClassWriter, comment, problem_in, written_classes
from fastrpc.cli.contracts.defaults import written_default
from fastrpc.cli.contracts.names import Names, is_name, literal
from fastrpc.cli.contracts.type_tree import ANY, read_type
from fastrpc.rpc.described_services import (
    MethodDescription,
    ParameterDescription,
    ServiceDescription,
    StreamDescription,
)
from fastrpc.rpc.schema.type_names import BUILTIN

__all__ = ["WrittenContract", "contract_text", "written_contract"]

_LONGEST_LINE: Final = 110


class WrittenContract(NamedTuple):
    """The source of a module, and its differences from the server."""

    text: str
    warnings: list[str]


def contract_text(services: Sequence[ServiceDescription], *, is_sync: bool = False) -> str:
    """Return the source of a module with a contract for each service.

    Args:
        is_sync: whether to write `def` methods, whose types are right for `SyncClient.bind`.
    """
    return written_contract(services, is_sync=is_sync).text


def written_contract(services: Sequence[ServiceDescription], *, is_sync: bool = False) -> WrittenContract:
    """Return the source of a contract and its differences from the server."""
    writer = _Writer(services, is_sync)
    return WrittenContract(writer.text(), writer.warnings())


class _Writer:
    """Writes one module."""

    def __init__(self, services: Sequence[ServiceDescription], is_sync: bool) -> None:
        self._services = services
        self._is_sync = is_sync
        classes, self._left_out = written_classes(services)
        self._names = Names(classes)

    def warnings(self) -> list[str]:
        """Return the differences from the server."""
        return [*self._left_out, *self._names.warnings]

    def text(self) -> str:
        """Return the whole source."""
        protocol = self._names.use("Protocol", "typing")
        classes = ClassWriter(self._names).texts()
        contracts = [self._contract(service, protocol) for service in self._services]
        needs_msgspec = any("msgspec." in text for text in (*classes, *contracts))
        head = ['"""Contracts written by `fastrpc contract`."""', "", *self._names.imports()]
        head += ["", *(["import msgspec", ""] if needs_msgspec else []), "import fastrpc"]
        aliases = self._names.aliases()
        parts = ["\n".join(head), *classes, *(["\n".join(aliases)] if aliases else []), *contracts]
        return "\n\n\n".join(parts) + "\n"

    # Services

    def _contract(self, service: ServiceDescription, protocol: str) -> str:
        options = [literal(service.name)]
        if service.version is not None:
            options.append(f"version={literal(service.version)}")
        options += _alias(service.alias)
        if service.rpcx == "go":
            options.append('rpcx="go"')
        if service.grpc == "pascal":
            options.append('grpc="pascal"')
        lines = [f"@fastrpc.service({', '.join(options)})"]
        lines.append(f"class {self._class_name(service.name)}({protocol}):")
        lines += _documentation(service.documentation)
        for method in service.methods:
            lines += ["", *self._method(method)] if len(lines) > 2 else self._method(method)
        if all(not line or line.lstrip().startswith("#") for line in lines[2:]):
            lines.append("    pass")
        return "\n".join(lines)

    def _class_name(self, service: str) -> str:
        words = "".join(character if character.isalnum() else " " for character in service).split()
        name = "".join(word[:1].upper() + word[1:] for word in words)
        if not is_name(name):
            name = "Contract"
        return self._names.free(name, "Service")

    def _method(self, method: MethodDescription) -> list[str]:
        self._names.at(method.full_name)
        attribute = self._attribute(method)
        streams = method.kind in {"server_stream", "both_ways"}
        word = "def" if self._is_sync or streams else "async def"
        parameters = list(self._parameters(method))
        result = self._result(method)
        line = f"    {word} {attribute}(self{''.join(f', {one}' for one in parameters)}) -> {result}:"
        if len(line) > _LONGEST_LINE:
            inner = "".join(f"        {one},\n" for one in ("self", *parameters))
            line = f"    {word} {attribute}(\n{inner}    ) -> {result}:"
        body = _documentation(method.documentation, indent=8)
        lines = [self._decorator(method, attribute), line if body else f"{line} ...", *body]
        names = [one.name for one in method.parameters]
        problem = problem_in(lines, names if method.stream is None else [*names, method.stream.name])
        if problem is not None:
            self._names.warn(f"it cannot be written: {comment(problem)}; it is left out")
            return [f"    # {comment(method.name)} cannot be written in Python: {comment(problem)}"]
        return lines

    def _attribute(self, method: MethodDescription) -> str:
        attribute = method.attribute or method.name
        if not is_name(attribute):
            attribute = "".join(one if one.isalnum() and one.isascii() else "_" for one in f"m_{attribute}")
        # A class body resolves names in itself first: after a method `list` the name no longer means the type.
        while attribute in BUILTIN or self._names.is_type(attribute):
            attribute += "_"
        return attribute

    def _decorator(self, method: MethodDescription, attribute: str) -> str:
        options = [literal(method.name)] if method.name != attribute else []
        if method.safe or method.idempotent:
            options.append("safe=True" if method.safe else "idempotent=True")
        if method.tool:
            options.append("tool=True")
        if method.timeout is not None and isfinite(method.timeout):
            options.append(f"timeout={literal(method.timeout)}")
        if method.codec is not None:
            options.append(f"codec={literal(method.codec)}")
        if method.renamed:
            options.append(f"renamed={literal(method.renamed)}")
        if method.http is not None:
            options.append(f"http={literal(method.http)}")
        options += _alias(method.alias)
        return f"    @fastrpc.method({', '.join(options)})" if options else "    @fastrpc.method"

    def _parameters(self, method: MethodDescription) -> Iterator[str]:
        parts: list[tuple[ParameterDescription, str]] = [
            (parameter, self._names.type(read_type(parameter.exact))) for parameter in method.parameters
        ]
        if method.stream is not None:
            kind = self._stream(method.stream)
            parts.insert(
                method.stream.position, (ParameterDescription(method.stream.name, kind, required=True), kind)
            )
        was_positional_only, was_by_position = False, True
        for parameter, kind in parts:
            if was_positional_only and parameter.by_name:
                yield "/"
            if was_by_position and not parameter.by_position:
                yield "*"
            was_positional_only, was_by_position = not parameter.by_name, parameter.by_position
            default = "" if parameter.required else f" = {self._default(parameter.default)}"
            yield f"{parameter.name}: {kind}{default}"
        if was_positional_only:
            yield "/"

    def _stream(self, stream: StreamDescription) -> str:
        if stream.upload:
            return "fastrpc.Upload"
        iterator = self._names.use("AsyncIterator", "collections.abc")
        return f"{iterator}[{self._names.type(read_type(stream.exact))}]"

    def _result(self, method: MethodDescription) -> str:
        tree = read_type(method.exact_result)
        if tree.name != "AsyncIterator" or method.kind not in {"server_stream", "both_ways"}:
            return self._names.type(tree)
        stream = self._names.use("Iterator" if self._is_sync else "AsyncIterator", "collections.abc")
        return f"{stream}[{self._names.type(tree.arguments[0] if tree.arguments else ANY)}]"

    def _default(self, text: str | None) -> str:
        """Return a default for readers of the source: the server applies its own default to an omitted argument."""
        found = written_default(text, self._names)
        # fastrpc warns of a mutable default, which one call could change for all others.
        return "..." if found is None or found.factory is not None else found.text


def _alias(names: Sequence[str]) -> list[str]:
    """Return the option with the aliases; no option if there are no aliases."""
    return [f"alias=({', '.join(map(literal, names))},)"] if names else []


def _documentation(text: str, indent: int = 4) -> list[str]:
    """Return the first paragraph of a text as a docstring, escaped so that the text cannot end it."""
    lines = [
        line.encode("ascii", "backslashreplace").decode().replace("\\", "\\\\").replace('"', "'")
        for line in text.strip().split("\n\n")[0].splitlines()
        if line.strip()
    ]
    if not lines or not all(line.isprintable() for line in lines):
        return []
    space = " " * indent
    if len(lines) == 1:
        return [f'{space}"""{lines[0].strip()}"""']
    return [f'{space}"""{lines[0].strip()}', *(f"{space}{line.strip()}" for line in lines[1:]), f'{space}"""']
