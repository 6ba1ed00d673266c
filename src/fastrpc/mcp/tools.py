"""The tools that a server offers: one for each method with `tool=True`."""

import re
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from fastrpc.errors import ConfigError
from fastrpc.rpc.definition import MethodDefinition
from fastrpc.rpc.marshals import codec_for
from fastrpc.rpc.schema.conversion import holds_arrays
from fastrpc.rpc.schema.json_schema import JsonSchema, SchemaSet, arguments_schema

__all__ = ["Tool", "tool_name", "tools_of"]

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")

_REFERENCES: Final = "#/$defs/"


class Tool(NamedTuple):
    """A method as a tool."""

    name: str
    method: MethodDefinition
    #: The tool's entry in `tools/list`, without the result.
    about: dict[str, Any]
    #: The schema of the tool's result; None without a result.
    result: JsonSchema | None

    @property
    def gives_object(self) -> bool:
        """Whether every result is an object, as revisions before 2026-07-28 require."""
        return self.result is not None and self.result.get("type") == "object"

    def described(self, *, only_objects: bool) -> dict[str, Any]:
        """Return the entry of `tools/list`."""
        if self.result is None or (only_objects and not self.gives_object):
            return self.about
        return {**self.about, "outputSchema": self.result}


def tool_name(method: MethodDefinition) -> str:
    """Return the name of a method's tool, `service_method`.

    Raises:
        ConfigError: the name is too long for a tool.
    """
    name = f"{method.service}_{method.name}".replace(".", "_")
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{method.full_name} cannot be a tool: the name {name!r} is longer than 64 characters",
            hint="give the service or the method a shorter name, or leave tool=True out",
        )
    return name


def tools_of(methods: Iterable[MethodDefinition]) -> dict[str, Tool]:
    """Return the tools among these methods by name.

    Raises:
        ConfigError: two tools have the same name, a name is too long, or JSON does not carry the types of a tool.
    """
    tools: dict[str, Tool] = {}
    for method in methods:
        if not method.tool:
            continue
        tool = _tool(method)
        other = tools.setdefault(tool.name, tool)
        if other is not tool:
            raise ConfigError(
                f"{other.method.full_name} and {method.full_name} are one tool, {tool.name!r}",
                hint="give one of the two another name",
            )
    return tools


def _tool(method: MethodDefinition) -> Tool:
    known = method.types()
    if codec_for(method, "json") == "protobuf" or holds_arrays([*known.parameters, known.result]):
        raise ConfigError(
            f"{method.full_name} cannot be a tool: JSON does not carry its types", hint="leave tool=True out"
        )
    schemas = SchemaSet(_REFERENCES)
    arguments = _whole(arguments_schema(method, schemas), schemas)
    about: dict[str, Any] = {"name": tool_name(method), "inputSchema": arguments}
    if method.documentation:
        about["description"] = method.documentation
    hints = {"readOnlyHint": method.safe, "idempotentHint": method.idempotent}
    about["annotations"] = {
        "title": method.full_name,
        **{name: True for name, is_so in hints.items() if is_so},
    }
    return Tool(about["name"], method, about, _result_schema(known.result))


def _result_schema(kind: Any) -> JsonSchema | None:
    if kind is None or kind is type(None):
        return None
    schemas = SchemaSet(_REFERENCES)
    found = schemas.result_schema_of(kind)
    reference = found.get("$ref")
    if reference is not None:
        # Readers of a tool's schema look for the type at its root.
        found = {**schemas.components[reference.removeprefix(_REFERENCES)]}
    return _whole(found, schemas)


def _whole(found: JsonSchema, schemas: SchemaSet) -> JsonSchema:
    """Return a self-contained schema."""
    found = schemas.settle(found)
    return {**found, "$defs": schemas.components} if schemas.components else found
