"""The classes of messages and enums, nested as in the file."""

from collections.abc import Collection, Sequence
from typing import Any

from fastrpc.cli.contracts.names import literal
from fastrpc.cli.contracts.protos.files import ProtoFiles
from fastrpc.cli.contracts.protos.layout import Group, comment_lines, docstring, statement
from fastrpc.cli.contracts.protos.lost import Lost, deprecation, is_group
from fastrpc.cli.contracts.protos.naming import Naming, enum_prefix
from fastrpc.cli.contracts.protos.types import FieldTypes, is_entry
from fastrpc.rpc.protobuf.names import written_member

__all__ = ["TypeWriter"]


class TypeWriter:
    """Writes the classes of one module."""

    def __init__(self, files: ProtoFiles, naming: Naming, lost: Lost) -> None:
        self._files = files
        self._naming = naming
        self._lost = lost
        #: The full names of classes that are complete: defaults may use them.
        self._written: set[str] = set()
        self._packages = {files.protos[name].package for name in files.main}

    # Enums

    def enum(self, descriptor: Any, indent: int = 0, hidden: Collection[str] = ()) -> list[str]:
        """Return the lines of an enum.

        Args:
            hidden: names that mean something else in the surrounding class.
        """
        space, name = " " * indent, self._naming.classes[descriptor.full_name].rpartition(".")[2]
        proto = self._files.part(descriptor.full_name).proto
        is_plain = descriptor.full_name in self._naming.plain_enums
        lines = self._lost.options(descriptor.full_name, proto.options, indent)
        if all(value.number for value in descriptor.values):
            lines += self._lost.note(
                descriptor.full_name, "its values have no 0, and fastrpc proto writes one", indent
            )
        lines += deprecation(proto.options, indent)
        lines += self._declaration(descriptor, proto, indent, ['prefix=""'] if is_plain else [], hidden)
        lines.append(f"{space}class {name}({self._naming.imported.use('IntEnum', 'enum', hidden)}):")
        body = docstring(self._files.comment(descriptor.full_name), indent + 4)
        lines += [*body, ""] if body else []
        for value in sorted(descriptor.values, key=lambda one: one.index):
            lines += self._value(descriptor, value, is_plain, indent + 4)
        self._written.add(descriptor.full_name)
        return lines

    def _value(self, descriptor: Any, value: Any, is_plain: bool, indent: int) -> list[str]:
        name = self._naming.members[descriptor.full_name][value.name]
        part = self._files.part(f"{descriptor.full_name}.{value.name}")
        place = f"{descriptor.full_name}.{value.name}"
        lines = comment_lines(part.comment, indent, "#:")
        lines += deprecation(part.proto.options, indent)
        lines += self._lost.options(place, part.proto.options, indent)
        written = written_member(name) if is_plain else f"{enum_prefix(descriptor.name)}{name}"
        if written != value.name:
            lines += self._lost.note(place, f"its name, which is {written}", indent)
        return [*lines, f"{' ' * indent}{name} = {value.number}"]

    # Messages

    def message(self, descriptor: Any, indent: int = 0, hidden: Collection[str] = ()) -> list[str]:
        """Return the lines of a message and of its nested types.

        Args:
            hidden: names that mean something else in the surrounding class.
        """
        space, name = " " * indent, self._naming.classes[descriptor.full_name].rpartition(".")[2]
        part = self._files.part(descriptor.full_name)
        lines = self._lost.message(descriptor, indent)
        lines += deprecation(part.proto.options, indent)
        lines += self._declaration(descriptor, part.proto, indent, [], hidden)
        lines.append(f"{space}@{self._naming.imported.use('dataclass', 'dataclasses', hidden)}")
        lines.append(f"{space}class {name}:")
        body = docstring(part.comment, indent + 4)
        nested = [one for one in descriptor.nested_types if not is_entry(one) and not _is_of_group(one)]
        names = self._names_in(descriptor)
        inner = [*(self.enum(one, indent + 4, names) for one in descriptor.enum_types)]
        inner += [self.message(one, indent + 4, names) for one in nested]
        for one in inner:
            body += ["", *one] if body else one
        fields = self._fields(descriptor, indent + 4)
        body += ["", *fields] if fields and body else fields
        self._written.add(descriptor.full_name)
        return [*lines, *(body or [f"{space}    pass"])]

    def _fields(self, descriptor: Any, indent: int) -> list[str]:
        names = self._naming.fields[descriptor.full_name]
        types = FieldTypes(self._naming, self._names_in(descriptor))
        lines: list[str] = []
        for field in descriptor.fields:
            if not is_group(field):
                lines += self._field(field, names[field.name], types, indent)
        return lines

    def _names_in(self, descriptor: Any) -> set[str]:
        """Return the names in the body of a message."""
        nested = [*descriptor.nested_types, *descriptor.enum_types]
        classes = (self._naming.classes.get(one.full_name, "").rpartition(".")[2] for one in nested)
        return {*self._naming.fields[descriptor.full_name].values(), *classes}

    def _field(self, field: Any, name: str, types: FieldTypes, indent: int) -> list[str]:
        part = self._files.part(field.full_name)
        lines = comment_lines(part.comment, indent, "#:")
        lines += deprecation(part.proto.options, indent)
        lines += self._lost.field(field, indent)
        oneof = field.containing_oneof
        is_member = oneof is not None and not part.proto.proto3_optional
        options = [f"oneof={literal(oneof.name)}"] if is_member else []
        options += [f"name={literal(field.name)}"] if name != field.name else []
        default = types.default(field) or self._enum_default(field, types)
        return lines + statement(indent, f"{name}: ", types.annotation(field, options), f" = {default}")

    def _enum_default(self, field: Any, types: FieldTypes) -> str:
        """Return the default of an enum: a member, or a function while its class is incomplete."""
        enum, number = field.enum_type, field.default_value
        value = next(one for one in enum.values if one.number == number)
        member = self._naming.members[enum.full_name][value.name]
        path = self._naming.classes[enum.full_name]
        if enum.full_name in self._written:
            if enum.containing_type is not None and enum.containing_type is field.containing_type:
                return f"{path.rpartition('.')[2]}.{member}"
            if _outermost(enum).full_name in self._written and path.partition(".")[0] not in types.hidden:
                return f"{path}.{member}"
        return f"{types.use('field', 'dataclasses')}(default_factory=lambda: {path}.{member})"

    # Both

    def _declaration(
        self, descriptor: Any, proto: Any, indent: int, options: Sequence[str], hidden: Collection[str]
    ) -> list[str]:
        """Return the lines of the decorator for facts that the class body does not state; maybe no lines."""
        is_enum = hasattr(descriptor, "values")
        # In descriptors, the end of a reserved range is inclusive for an enum and exclusive for a message.
        ranges = [(one.start, one.end + is_enum) for one in proto.reserved_range]
        reserved = [str(start) if end == start + 1 else f"range({start}, {end})" for start, end in ranges]
        if not is_enum:
            reserved += [str(one.number) for one in descriptor.fields if is_group(one)]
        reserved += map(literal, proto.reserved_name)
        given = list(options)
        if reserved:
            given.append(f"reserved=({', '.join(reserved)}{',' if len(reserved) == 1 else ''})")
        is_outer = descriptor.containing_type is None
        is_imported = is_outer and descriptor.file.name not in self._files.main
        # If there are several packages, each class states its package.
        is_told = is_outer and len(self._packages) > 1
        if is_imported or is_told or self._naming.is_renamed(descriptor):
            given.insert(0, f"name={literal(descriptor.full_name)}")
        if is_imported:
            given.insert(1, f"file={literal(descriptor.file.name)}")
        if not given:
            return []
        used = self._naming.imported.use("proto", "fastrpc.grpc", hidden)
        return statement(indent, "@", Group(f"{used}(", given, ")"))


def _outermost(descriptor: Any) -> Any:
    while descriptor.containing_type is not None:
        descriptor = descriptor.containing_type
    return descriptor


def _is_of_group(message: Any) -> bool:
    owner = message.containing_type
    return owner is not None and any(
        is_group(field) and field.message_type is message for field in owner.fields
    )
